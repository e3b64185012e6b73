"""Names of features: tuples, ranges of numbered names, and both through JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset import names
from mr_gradient.dataset.names import FeatureNames, Numbered
from mr_gradient.dataset.schema import Schema, schema_from_json

pytestmark = pytest.mark.fast

PARTS = st.lists(st.one_of(st.text(max_size=3), st.builds(
    Numbered, st.sampled_from(["x", "hash"]), st.integers(0, 5))), max_size=6)


def listed(parts):
    """The names, written out by hand."""
    found = []
    for part in parts:
        found += [part] if isinstance(part, str) else [f"{part[0]}{i}" for i in range(part[1])]
    return found


@given(PARTS, st.integers(-40, 40), st.integers(-40, 40))
def test_ranges_behave_like_the_tuple_of_their_names(parts, start, stop):
    expected, found = tuple(listed(parts)), FeatureNames(tuple(parts))
    assert len(found) == len(expected)
    assert tuple(found) == expected
    assert tuple(found[i] for i in range(len(found))) == expected
    assert found[start:stop] == expected[start:stop]
    assert [found[-i] for i in range(1, len(found) + 1)] == list(reversed(expected))
    for index in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            found[index]


@given(PARTS)
def test_json_gives_the_same_names_back(parts):
    given_names = names.from_json([part if isinstance(part, str) else part._asdict()
                                   for part in parts])
    again = names.from_json(json.loads(json.dumps(names.to_json(given_names))))
    assert again == given_names
    assert hash(again) == hash(given_names)
    assert list(again) == listed(parts)


def test_few_names_are_a_tuple_and_many_take_little_room():
    assert names.numbered("x", 3) == ("x0", "x1", "x2")
    assert isinstance(names.numbered("x", names.MAX_LISTED), tuple)
    many = Schema(names.numbered("x", 1 << 20), "y", "value", (), "float32", 1.0, "csr", 39)
    text = json.dumps(many.to_json())
    assert len(text) < 200
    assert '"features": {"prefix": "x", "count": 1048576}' in text
    assert schema_from_json(json.loads(text)) == many
    assert (many.width, len(many.features), many.features[-1]) == (1 << 20, 1 << 20, "x1048575")
    assert many.features != names.numbered("y", 1 << 20)


def test_a_schema_without_a_layout_is_dense():
    value = Schema(("a",), "y", "value", (), "float32", 1.0).to_json()
    del value["layout"], value["nonzeros"]
    assert schema_from_json(value).layout == "dense"


@pytest.mark.parametrize("change", [
    {"layout": "csc"}, {"nonzeros": -1}, {"nonzeros": 1.5}, {"features": [1]},
    {"features": {"prefix": "x"}}, {"features": {"prefix": "x", "count": -1}},
    {"features": [{"prefix": 3, "count": 1}]}, {"features": {"prefix": "x", "count": 1 << 62}}])
def test_a_damaged_schema_is_refused(change):
    value = Schema(("a",), "y", "value", (), "float32", 1.0).to_json()
    with pytest.raises((TypeError, ValueError)):
        schema_from_json(value | change)
