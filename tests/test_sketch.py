"""The quantile sketch: its own bound holds, is small, and the answer depends on the pieces alone."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_rows import damaged, through_text

from mr_gradient.dataset.transforms.sketch import Sketch
from mr_gradient.errors import DataError

pytestmark = pytest.mark.fast


def sketch_of(values):
    sketch = Sketch()
    sketch.add(np.asarray(values, np.float64))
    return sketch


def tree(sketches):
    while len(sketches) > 1:
        sketches = [sketches[i].merge(sketches[i + 1]) if i + 1 < len(sketches) else sketches[i]
                    for i in range(0, len(sketches), 2)]
    return sketches[0]


def rank_error(values, found):
    """Distance of the middle rank from the ranks that ``found`` has in ``values``."""
    ordered = np.sort(values)
    low, high = np.searchsorted(ordered, found, "left"), np.searchsorted(ordered, found, "right")
    return max(0, low - len(values) / 2, len(values) / 2 - high)


@pytest.mark.parametrize("order", ["random", "rising", "falling", "few", "organ pipe"])
@pytest.mark.parametrize("pieces", [1, 37])
def test_the_median_is_within_its_bound(order, pieces):
    values = np.random.default_rng(1).lognormal(size=300_000)
    values = {"random": values, "rising": np.sort(values), "falling": -np.sort(values),
              "few": np.floor(values),
              "organ pipe": np.concatenate([np.sort(values), -np.sort(-values)])}[order]
    sketch = tree([sketch_of(part) for part in np.array_split(values, pieces)])
    assert sketch.count == len(values)
    assert sketch.error() < 0.01 * len(values)
    assert rank_error(values, sketch.median()) <= sketch.error()
    assert len(json.dumps(sketch.to_json())) < 1 << 16


@pytest.mark.parametrize("pieces", [1, 100])
def test_ten_million_values_within_one_percent(pieces):
    values = np.random.default_rng(0).normal(size=10_000_000)
    sketch = tree([sketch_of(part) for part in np.array_split(values, pieces)])
    assert sketch.error() < 0.01 * len(values)
    assert rank_error(values, sketch.median()) <= sketch.error()
    assert len(json.dumps(sketch.to_json())) < 1 << 16


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=30), min_size=1, max_size=6))
def test_few_values_give_the_median_itself(parts):
    values = np.concatenate(parts)
    found = tree([sketch_of(part) for part in parts]).median()
    if len(values):
        assert found == pytest.approx(np.median(values), rel=1e-15, abs=1e-300)
    else:
        assert np.isnan(found)


def test_merging_changes_neither_and_json_keeps_every_bit():
    generator = np.random.default_rng(3)
    left, right = (sketch_of(generator.normal(size=20_001)) for _ in range(2))
    before = [json.dumps(each.to_json()) for each in (left, right)]
    both = left.merge(right)
    assert [json.dumps(each.to_json()) for each in (left, right)] == before
    read = [Sketch.from_json(through_text(each.to_json())) for each in (left, right)]
    assert read[0].merge(read[1]).to_json() == both.to_json()


def test_the_sign_of_zero_does_not_show():
    assert sketch_of([0.0, -0.0, 0.0]).to_json() == sketch_of([-0.0, 0.0, -0.0]).to_json()


@given(damaged(through_text(sketch_of(np.arange(7000.0)).to_json())))
def test_damaged_json_is_a_data_error(value):
    with contextlib.suppress(DataError):
        Sketch.from_json(value)
