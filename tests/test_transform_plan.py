"""The plan: defaults, features of raw rows, labels, and its JSON."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_rows import damaged, source_of, table, through_text

from mr_gradient.dataset.columns import Numbers, Rows, Sparse, Words
from mr_gradient.dataset.transforms.plan import Plan, make_plan
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import Statistics
from mr_gradient.errors import DataError, UsageError

pytestmark = pytest.mark.fast

ROWS = table({
    "x": [1.0, None, 4.0, 2.5], "flag": [0.0, 1.0, 1.0, 0.0], "same": [3.0] * 4,
    "none": [None] * 4, "city": ["a", "b", None, "a"], "w": [1.0, 0.0, 2.0, 1.0],
    "g": ["p", "q", "p", "q"], "label": ["10", "9", "10", "9"]})
SPEC = {"target": "label", "weight": "w", "group": "g"}


def fitted(rows, spec, width=0, dtype="float64"):
    spec, source = Spec.from_dict(spec), source_of(rows, width, dtype)
    statistics = Statistics(spec.measures(source))
    statistics.add(rows)
    return make_plan(source, statistics, spec)


def matrix_plan(matrix, spec=None):
    return fitted(table({}, matrix), spec or {}, matrix.shape[1])


def test_defaults_and_the_table():
    plan = fitted(ROWS, SPEC)
    shown = {row["column"]: (row["kind"], row["missing"], row["range"], row["transforms"],
                             row["features"], row["why"]) for row in plan.describe()}
    assert shown == {
        "x": ("number", 1, "1 to 4", "impute mean, standardize", 1, "inferred"),
        "flag": ("whole", 0, "0 to 1", "pass", 1, "inferred: zeros and ones"),
        "same": ("whole", 0, "3 to 3", "standardize", 1, "inferred: constant"),
        "none": ("whole", 4, "", "drop", 0, "inferred: no values"),
        "city": ("word", 1, "2 words", "one_hot", 3, "inferred: 2 categories")}
    assert list(plan.feature_names()) == ["x", "flag", "same", "city=a", "city=b", "city=(missing)"]
    found = plan.apply(ROWS)
    assert found.sparse is None
    assert found.dense[:, 1:].tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1],
                                           [0, 0, 1, 0, 0]]
    assert plan.labels.classes == ("9", "10")
    assert plan.target(ROWS).tolist() == [1, 0, 1, 0]
    assert plan.weight(ROWS).tolist() == [1.0, 0.0, 2.0, 1.0]
    assert plan.columns == ("x", "flag", "same", "city")


def test_sparse_features_stand_after_dense_ones():
    words = [f"word {i}" for i in range(150)]
    rows = table({"word": words, "x": [float(i) for i in range(150)], "few": ["a", "b"] * 75})
    plan = fitted(rows, {"crosses": [{"columns": ["word", "few"], "bits": 30}]})
    names = plan.feature_names()
    assert plan.dense_width == 1
    assert len(names) == 1 + 2**18 + 2 + 2**30
    assert (names[0], names[1], names[2**18 + 1], names[-1]) == (
        "x", "word#0", "few=a", f"word*few#{2**30 - 1}")
    assert names[2**18:2**18 + 3] == (f"word#{2**18 - 1}", "few=a", "few=b")
    found = plan.apply(rows, np.float32)
    assert found.dense.dtype == np.float32
    assert found.sparse.width == plan.sparse_width == len(names) - 1
    assert np.diff(found.sparse.indptr).tolist() == [3] * 150
    assert (np.diff(found.sparse.indices.reshape(150, 3)) > 0).all()


def test_long_texts_are_read_word_by_word():
    """Hashed whole, no two of them would have a feature in common."""
    texts = [f"a text about something, and this is its number {i}" for i in range(150)]
    plan = fitted(table({"text": texts}), {})
    row, = plan.describe()
    assert (row["transforms"], row["why"]) == ("ngrams of 1 to 1 words, 2^18",
                                               "inferred: texts of 49 letters")
    shared = np.diff(plan.apply(table({"text": texts[:2]})).sparse.indptr)
    assert shared.tolist() == [10, 10]


def test_many_one_hot_features_are_sparse():
    rows = table({f"w{j}": [str(j) + chr(65 + i) for i in range(50)] for j in range(6)})
    plan = fitted(rows, {})
    assert plan.dense_width == 0
    assert plan.sparse_width == 300
    assert plan.apply(rows).dense is None


@given(st.lists(st.tuples(st.none() | st.floats(-1e6, 1e6), st.none() | st.sampled_from("abc")),
                min_size=1, max_size=40), st.integers(0, 40))
def test_rows_are_alike_in_any_batch(pairs, cut):
    rows = table({"x": [pair[0] for pair in pairs] + [1.0],
                  "w": [pair[1] for pair in pairs] + ["a"]})
    plan = fitted(rows, {"columns": {"x": [{"impute": "median"}, "standardize"]}})
    whole = plan.apply(rows).dense
    assert np.isfinite(whole).all()
    for start, stop in ((0, min(cut, len(pairs))), (min(cut, len(pairs)), len(pairs))):
        part = Rows({"x": Numbers(rows.columns["x"].values[start:stop]),
                     "w": Words(rows.columns["w"].codes[start:stop], rows.columns["w"].words)},
                    None, rows.number[start:stop], rows.line[start:stop])
        assert plan.apply(part).dense.tobytes() == whole[start:stop].tobytes()


def test_images_stay_uint8():
    images = np.random.default_rng(0).integers(0, 200, (50, 12)).astype(np.uint8)
    images[0, 0] = 200
    plan = matrix_plan(images)
    assert (plan.dtype, plan.scale) == ("uint8", 1 / 200)
    assert plan.apply(table({}, images)).dense is images
    assert plan.apply(table({}, images.astype(np.float32))).dense.dtype == np.uint8
    assert plan.describe()[0]["transforms"] == "scale by 0.005, kept as uint8"
    with pytest.raises(DataError, match=r"line 3: features must be whole numbers.*found 0.5"):
        plan.apply(table({}, np.array([[1.0] * 12, [0.5] * 12])))
    assert matrix_plan(np.zeros((3, 2), np.uint8)).scale == 1.0


def test_images_beside_a_column_are_scaled_at_once():
    images = np.arange(8, dtype=np.uint8).reshape(4, 2)
    rows = table({"x": [0.0, 1.0, 1.0, 0.0]}, images)
    plan = fitted(rows, {}, 2, "uint8")
    assert plan.scale == 1.0
    assert (plan.apply(rows).dense[:, 1:] == images * (1 / 7)).all()


@pytest.mark.parametrize("kind", [None, "standardize", "min_max", "pass"])
def test_matrices_of_numbers(kind):
    matrix = np.random.default_rng(0).normal(size=(30, 3))
    matrix[0, 0], matrix[:, 2] = np.nan, 0.1
    plan = matrix_plan(matrix, {"matrix": kind} if kind else {})
    filled = np.where(np.isnan(matrix), np.nanmean(matrix, axis=0), matrix)
    expected = {"pass": filled, "min_max": (filled - filled.min(axis=0))
                / np.where(np.ptp(filled, axis=0) == 0, 1, np.ptp(filled, axis=0))}.get(
        kind, (filled - filled.mean(axis=0)) / np.where(np.ptp(filled, axis=0) == 0, 1,
                                                        filled.std(axis=0)))
    assert plan.apply(table({}, matrix)).dense == pytest.approx(expected, rel=1e-12, abs=1e-12)
    with pytest.raises(DataError, match="must be 3 dense ones, found 2"):
        plan.apply(table({}, matrix[:, :2]))
    assert Plan.from_json(through_text(plan.to_json())) == plan


def test_a_sparse_matrix_passes():
    sparse = Sparse(np.array([0, 1, 3]), np.array([4, 0, 2]), np.array([1.0, 2.0, 0.5]), 5)
    rows = table({"label": [1.0, -1.0]}, sparse)
    plan = fitted(rows, {"target": "label"}, 5)
    assert plan.apply(rows).sparse.values.tolist() == [1.0, 2.0, 0.5]
    assert plan.target(rows).tolist() == [1, 0]
    assert plan.labels.classes == ("-1", "1")
    wide = Sparse(sparse.indptr, np.array([4, 0, 7]), sparse.values, 8)
    with pytest.raises(DataError, match=r"line 3: feature index must be below 5, .* found 7"):
        plan.apply(table({"label": [1.0, -1.0]}, wide))
    with pytest.raises(UsageError, match="would make sparse features dense"):
        fitted(rows, {"target": "label", "matrix": "standardize"}, 5)


@pytest.mark.parametrize(("labels", "asked", "kind", "classes"), [
    ([1.0, 0.0, 3.0, 10.0], "auto", "class", ("0", "1", "3", "10")),
    ([1.5, 0.0, 3.0, 10.0], "auto", "value", ()),
    ([1.5, 0.0, 3.0, 10.0], "class", "class", ("0", "1.5", "3", "10")),
    ([1.0, 0.0, 3.0, 10.0], "value", "value", ()),
    (["b", "a", "10", "9"], "auto", "class", ("10", "9", "a", "b")),
    (["nan", "1", "0", "2"], "auto", "class", ("0", "1", "2", "nan")),
])
def test_the_kind_of_the_target(labels, asked, kind, classes):
    rows = table({"x": [1.0, 2.0, 3.0, 4.0], "y": labels})
    plan = fitted(rows, {"target": "y", "target_type": asked})
    assert (plan.labels.kind, plan.labels.classes) == (kind, classes)
    found = plan.target(rows)
    assert found.tolist() == ([classes.index(str(each).replace(".0", "")) for each in labels]
                              if kind == "class" else labels)


@pytest.mark.parametrize(("labels", "asked", "message"), [
    (["a", "a"], "auto", "two classes or more, found only 'a'"),
    (["a", None], "auto", "missing in 1 rows"),
    (["a", "b"], "value", "must be a number in every row"),
    ([1.0, float("inf")], "auto", "found inf in 1 rows"),
    ([], "auto", "no rows"),
])
def test_targets_that_cannot_be(labels, asked, message):
    rows = table({"x": [1.0] * len(labels), "y": labels})
    with pytest.raises(DataError, match=message):
        fitted(rows, {"target": "y", "target_type": asked})


def test_what_prediction_refuses():
    plan = fitted(ROWS, SPEC)
    wrong = table({"label": ["9", "8"], "w": [1.0, -1.0], "x": ["a", "b"]})
    with pytest.raises(DataError, match=r"line 3, target 'label': .*\(9, 10\), found '8'"):
        plan.target(wrong)
    with pytest.raises(DataError, match=r"line 3, weight 'w': .* found -1.0"):
        plan.weight(wrong)
    with pytest.raises(DataError, match="column 'x': must be numbers"):
        plan.apply(wrong)
    with pytest.raises(DataError, match="column 'x': the rows have no such column; found y"):
        plan.apply(table({"y": [1.0]}))
    with pytest.raises(DataError, match="the label is missing"):
        plan.target(table({"label": ["9", None]}))
    plan = fitted(table({"x": [1.0, 2.0]}), {})
    assert plan.weight(ROWS) is None
    with pytest.raises(UsageError, match="without a target"):
        plan.target(ROWS)


def test_statistics_of_other_options_are_refused():
    spec, source = Spec.from_dict({"columns": {"x": [{"impute": "median"}]}}), source_of(ROWS)
    statistics = Statistics(Spec().measures(source))
    statistics.add(ROWS)
    with pytest.raises(DataError, match="counted for other options"):
        make_plan(source, statistics, spec)
    with pytest.raises(DataError, match="no column is left"):
        fitted(table({"x": [1.0]}), {"columns": {"x": "drop"}})


def test_empty_batches():
    for rows in (ROWS, table({"word": [f"{i}" for i in range(120)] + ["z"]})):
        plan = fitted(rows, {})
        none = table({name: type(each)(*((each.values[:0],) if hasattr(each, "values") else (
            each.codes[:0], []))) for name, each in rows.columns.items()}, count=0)
        found = plan.apply(none)
        assert found.dense is None or found.dense.shape == (0, plan.dense_width)
        assert found.sparse is None or found.sparse.indptr.tolist() == [0]


def whole_plan():
    rows = table({**ROWS.columns, "text": [f"t {i}" for i in range(4)], "h": ["a", "b", "c", None]},
                 np.random.default_rng(0).normal(size=(4, 2)))
    return rows, fitted(rows, SPEC | {
        "columns": {"text": {"ngrams": {"n": 2}}, "h": "hash",
                    "x": [{"clip": {"low": 0}}, "log1p", "standardize", {"clip": {"high": 1}}]},
        "crosses": [{"columns": ["city", "h"]}]}, 2)


def test_json_keeps_every_bit():
    rows, plan = whole_plan()
    read = Plan.from_json(json.loads(json.dumps(plan.to_json(), allow_nan=False)))
    assert read == plan
    assert json.dumps(read.to_json()) == json.dumps(plan.to_json())
    first, second = plan.apply(rows), read.apply(rows)
    assert first.dense.tobytes() == second.dense.tobytes()
    assert first.sparse.indices.tobytes() == second.sparse.indices.tobytes()


@given(damaged(through_text(whole_plan()[1].to_json())))
def test_damaged_json_is_a_data_error(value):
    try:
        plan = Plan.from_json(value)
    except DataError:
        return
    plan.to_json()
    plan.describe()
    len(plan.feature_names())
