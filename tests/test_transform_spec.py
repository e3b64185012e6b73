"""What users write: what is accepted, and the message for what is not."""

import pytest
from table_rows import source_of, table

from mr_gradient.dataset.columns import Source
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import CLASSES, Measures, Series
from mr_gradient.errors import UsageError

pytestmark = pytest.mark.fast

SOURCE = source_of(table({"age": [1.0], "city": ["a"], "id": [1.0], "text": ["a b"], "label": ["x"],
                          "w": [1.0], "g": ["p"]}))
YAML = """
target: label
weight: w
group: g
columns:
  age: [{impute: median}, log1p, standardize]
  city: {one_hot: {cap: 20000}}
  id: drop
  text: {ngrams: {n: 2, bits: 18}}
crosses: [{columns: [age, city], bits: 20}]
"""


def test_a_whole_file(tmp_path):
    path = tmp_path / "transforms.yaml"
    path.write_text(YAML)
    spec = Spec.from_yaml(str(path))
    assert spec.columns["age"] == (("impute", {"with": "median"}), ("log1p", {}), ("standardize", {}))
    assert spec.columns["text"][0][1] == {"n": 2, "shortest": 1, "of": "words", "bits": 18,
                                          "signed": True, "seed": 0}
    assert spec.crosses == ({"columns": ["age", "city"], "bits": 20, "signed": True, "seed": 0},)
    measures = spec.measures(SOURCE)
    assert set(measures.series) == {Series("age"), Series("age", (("log1p",),)), Series("id"),
                                    Series("w")}
    assert measures.medians == (Series("age"),)
    assert dict(measures.counted)["city"] == 20_000
    assert dict(measures.counted)["label"] == CLASSES


def test_nothing_asked_measures_the_usual():
    assert Spec.from_dict({}).measures(SOURCE) == Measures.of(SOURCE)
    assert Spec.from_dict({"target": "label"}).measures(SOURCE) == Measures.of(SOURCE, "label")


@pytest.mark.parametrize(("value", "message"), [
    ([], "transforms: must be a mapping"),
    ({"colums": {}}, "no such key 'colums'; did you mean 'columns'"),
    ({"target": 3}, "target: must be the name of a column; found 3"),
    ({"target": "lable"}, "target: no such column 'lable'; did you mean 'label'"),
    ({"target_type": "clas"}, "target_type: must be one of auto"),
    ({"columns": []}, None),
    ({"columns": [1]}, "columns: must be a mapping"),
    ({"columns": {True: "drop"}}, "quote it in YAML"),
    ({"columns": {"agee": "drop"}}, "columns: no such column 'agee'; did you mean 'age'"),
    ({"columns": {"zzzz": "drop"}}, "known are age, city"),
    ({"columns": {"age": "standardise"}}, "transform 'standardise'; did you mean 'standardize'"),
    ({"columns": {"age": None}}, "must be a transform"),
    ({"columns": {"age": []}}, "must be a transform, a list of them, or drop"),
    ({"columns": {"age": {"clip": {"lo": 1}}}}, "no such option 'lo'; did you mean 'low'"),
    ({"columns": {"age": {"clip": {}}}}, "needs low, high"),
    ({"columns": {"age": {"clip": {"low": 2, "high": 1}}}}, "low below high"),
    ({"columns": {"age": {"clip": {"low": "a"}}}}, "low must be a number; found 'a'"),
    ({"columns": {"age": "impute"}}, "needs 'with'"),
    ({"columns": {"age": {"impute": "mode"}}}, "mean, median or a number; found 'mode'"),
    ({"columns": {"age": {"impute": {"constant": "a"}}}}, "mean, median or a number"),
    ({"columns": {"age": {"impute": float("nan")}}}, "mean, median or a number"),
    ({"columns": {"age": {"standardize": 3}}}, "must have options"),
    ({"columns": {"age": {"standardize": {"x": 3}}}}, "it has none"),
    ({"columns": {"city": "standardize"}}, "standardize needs numbers, and the column holds words"),
    ({"columns": {"city": {"one_hot": {"cap": 0}}}}, "cap must be a whole number from 1"),
    ({"columns": {"city": {"hash": {"bits": True}}}}, "bits must be a whole number"),
    ({"columns": {"city": {"hash": {"bits": 40}}}}, "from 1 to 30; found 40"),
    ({"columns": {"city": ["one_hot", "hash"]}}, "must be the only transform"),
    ({"columns": {"text": "ngrams"}}, "needs 'n'"),
    ({"columns": {"text": {"ngrams": {"n": 2, "of": ["words"]}}}}, "of must be one of words"),
    ({"columns": {"text": {"ngrams": {"n": 2, "shortest": 3}}}}, "shortest must be at most n"),
    ({"crosses": {}}, None),
    ({"crosses": "age"}, "crosses: must be a list"),
    ({"crosses": [{"columns": ["age"]}]}, "two or more different columns"),
    ({"crosses": [{"columns": ["age", ["b"]]}]}, "two or more different columns"),
    ({"crosses": [{"columns": ["age", "cty"]}]}, "did you mean 'city'"),
    ({"target": "label", "crosses": [{"columns": ["age", "label"]}]}, "is the target"),
    ({"target": "label", "columns": {"label": "hash"}}, "is the target"),
    ({"target": "label", "weight": "label"}, "must be different columns"),
    ({"weight": "city"}, "weight: city: must hold numbers"),
    ({"matrix": "scale"}, "no matrix"),
    ({"matrix": ["scale"]}, "matrix: must be one of"),
])
def test_what_is_wrong_is_named(value, message):
    if message is None:
        Spec.from_dict(value).check(SOURCE)
        return
    with pytest.raises(UsageError, match=message):
        Spec.from_dict(value).check(SOURCE)


@pytest.mark.parametrize(("text", "message"), [
    ("columns: [", "must be YAML"), ("a: !!python/object:os.system {}", "must be YAML"),
    ("colums: {}", "did you mean 'columns'")])
def test_files_that_are_not(tmp_path, text, message):
    path = tmp_path / "transforms.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        Spec.from_yaml(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_absent_and_not_utf8(tmp_path):
    path = tmp_path / "transforms.yaml"
    path.write_text("")
    assert Spec.from_yaml(str(path)) == Spec()
    path.write_bytes(b"target: \xff")
    with pytest.raises(UsageError, match="must be YAML"):
        Spec.from_yaml(str(path))
    with pytest.raises(UsageError, match="No such file"):
        Spec.from_yaml(str(tmp_path / "none.yaml"))


def test_a_matrix_is_asked_for_as_a_whole():
    Spec.from_dict({"matrix": "min_max"}).check(Source("npy", {}, 5))
