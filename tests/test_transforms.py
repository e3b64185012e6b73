"""Each transform against its closed form, scikit-learn, and the cases at the edge."""

import math

import numpy as np
import pytest
from table_rows import source_of, table, through_text

from mr_gradient.dataset.columns import Numbers, Sparse
from mr_gradient.dataset.transforms.elementwise import clip, log1p
from mr_gradient.dataset.transforms.plan import make_plan
from mr_gradient.dataset.transforms.sparse_rows import beside, from_entries, one_a_row
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import Statistics
from mr_gradient.dataset.transforms.steps import part_from_json, part_to_json
from mr_gradient.dataset.transforms.text_steps import NGrams
from mr_gradient.dataset.transforms.word_steps import Hash, OneHot
from mr_gradient.errors import DataError, UsageError

fast = pytest.mark.fast
X = [3.0, None, -1.0, 10.0, 4.5, 0.25]


def fitted(rows, spec, width=0):
    spec, source = Spec.from_dict(spec), source_of(rows, width)
    statistics = Statistics(spec.measures(source))
    statistics.add(rows)
    return make_plan(source, statistics, spec)


def applied(values, steps):
    rows = table({"x": values})
    return fitted(rows, {"columns": {"x": steps}}).apply(rows).dense[:, 0]


def dense(sparse):
    found = np.zeros((len(sparse.indptr) - 1, sparse.width))
    row = np.repeat(np.arange(len(found)), np.diff(sparse.indptr))
    assert (np.diff(sparse.indices)[np.diff(row) == 0] > 0).all()
    np.add.at(found, (row, sparse.indices), sparse.values)
    return found


def filled(value):
    return np.array([value if each is None else each for each in X])


KNOWN = np.array([each for each in X if each is not None])
MEAN, MEDIAN = KNOWN.mean(), np.median(KNOWN)


def standard(values):
    return (values - values.mean()) / values.std()


def log(values):
    return np.log1p(np.clip(values, 0, 5))


@fast
@pytest.mark.parametrize(("steps", "expected"), [
    ("standardize", standard(filled(MEAN))),
    ("pass", filled(MEAN)),
    ([{"impute": "median"}, "standardize"], standard(filled(MEDIAN))),
    ([{"impute": 7}, "min_max"], (filled(7) + 1) / 11),
    ([{"impute": {"constant": -6}}, "min_max"], (filled(-6) + 6) / 16),
    ("min_max", (filled(MEAN) + 1) / 11),
    ([{"clip": {"low": 0, "high": 5}}, "log1p", "standardize"],
     standard(np.array([log(KNOWN).mean() if each is None else log(each) for each in X]))),
    ([{"impute": "median"}, {"clip": {"low": 0, "high": 5}}, "log1p", "standardize"],
     standard(log(filled(MEDIAN)))),
    ([{"clip": {"low": 0, "high": 5}}, {"impute": "mean"}, "log1p", "min_max"],
     np.log1p(np.array([np.clip(KNOWN, 0, 5).mean() if each is None else min(max(each, 0), 5)
                        for each in X])) / np.log1p(5)),
    (["standardize", {"clip": {"low": -1, "high": 1}}], np.clip(standard(filled(MEAN)), -1, 1)),
])
def test_number_chains_in_closed_form(steps, expected):
    assert applied(X, steps) == pytest.approx(expected, rel=1e-12, abs=1e-14)


@fast
@pytest.mark.parametrize("values", [[0.1] * 7, [0.1, None, 0.1], [5.0], [None, None]])
def test_constant_missing_and_single_columns_become_zeros(values):
    assert not applied(values, "standardize").any()
    assert not applied(values, "min_max").any()


@fast
def test_a_large_mean_keeps_its_scale():
    noise = np.random.default_rng(0).normal(size=5000)
    found = applied((1e9 + noise).tolist(), "standardize")
    assert found.std() == pytest.approx(1, rel=1e-9)


@fast
def test_missing_and_infinite_at_prediction_only_get_the_mean():
    plan = fitted(table({"x": [1.0, 2.0, 6.0]}), {"columns": {"x": "pass"}})
    found = plan.apply(table({"x": [None, 1.0, math.inf]})).dense
    assert found.tolist() == [[3.0], [1.0], [3.0]]


@fast
@pytest.mark.parametrize(("values", "steps", "error", "message"), [
    ([-2.0, 1.0], "log1p", DataError, "log1p needs numbers above -1, found -2"),
    ([1.0, math.inf], "standardize", DataError, "found inf in 1 rows"),
    ([1e308, 1e308, -1e308, 1e308], "standardize", DataError, "too large to be averaged"),
    ([1.0], [{"impute": -4}, "log1p"], UsageError, "log1p needs a number above -1"),
    ([1.0], ["standardize", "log1p"], UsageError, "log1p must come before standardize"),
    ([1.0], ["standardize", "min_max"], UsageError, "choose one"),
    ([1.0], ["standardize", {"impute": 0}], UsageError, "impute must come once"),
])
def test_number_chains_that_cannot_be(values, steps, error, message):
    with pytest.raises(error, match=message):
        applied(values, steps)


@fast
def test_infinite_numbers_can_be_clipped():
    assert applied([1.0, math.inf, 3.0], [{"clip": {"high": 4}}, "min_max"]).tolist() == [
        0.0, 1.0, 2 / 3]


@fast
def test_log1p_and_clip():
    generator = np.random.default_rng(0)
    x = np.concatenate([np.expm1(generator.uniform(-36, 700, 20_000)), generator.uniform(-1, 1, 20_000),
                        [0.0, 5e-324, 1e-17, 1.7e308, -1 + 2**-53]])
    expected = np.log1p(x)
    assert np.abs(log1p(x) - expected).max() <= (2 * np.spacing(np.abs(expected))).max()
    assert (np.abs(log1p(x) - expected) <= 2 * np.spacing(np.abs(expected))).all()
    assert np.isnan(log1p(np.array([-1.0, -2.0, np.nan]))).all()
    assert log1p(np.array([np.inf])) == np.inf
    assert clip(np.array([-3.0, np.nan, 9.0]), 0, 5) == pytest.approx([0, np.nan, 5], nan_ok=True)


@fast
@pytest.mark.parametrize("sparse", [False, True])
def test_one_hot(sparse):
    rows = table({"w": ["b", "a", "b", None, "c", "b", "a"]})
    plan = fitted(rows, {"columns": {"w": {"one_hot": {"cap": 2}}}})
    one_hot = plan.parts[0]
    assert one_hot.categories == ("a", "b")
    assert list(one_hot.names()) == ["w=a", "w=b", "w=(other)", "w=(missing)"]
    one_hot = OneHot("w", one_hot.categories, True, True, sparse)
    found = one_hot.apply(table({"w": ["a", "new", None, "b"]}))
    expected = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]
    assert (dense(found) if sparse else found).tolist() == expected
    # Without the extra features an unseen category and a missing one are all zeros.
    bare = OneHot("w", ("a", "b"), False, False, sparse)
    found = bare.apply(table({"w": ["new", None, "b"]}))
    assert (dense(found) if sparse else found).tolist() == [[0, 0], [0, 0], [0, 1]]


@fast
def test_numbers_can_be_categories():
    rows = table({"x": [10.0, 9.0, 2.5, 9.0, None]})
    plan = fitted(rows, {"columns": {"x": "one_hot"}})
    assert plan.parts[0].categories == ("2.5", "9", "10")
    assert plan.apply(rows).dense.argmax(axis=1).tolist() == [2, 1, 0, 1, 3]


@fast
def test_crosses_hash_the_combination():
    rows = table({"a": ["x", "y", "x", None], "b": [1.0, 1.0, 1.0, 2.0]})
    cross = Hash(("a", "b"), 20)
    found = cross.apply(rows)
    assert np.diff(found.indptr).tolist() == [1, 1, 1, 1]
    assert found.indices[0] == found.indices[2]
    assert len(set(found.indices.tolist())) == 3
    # Not the batch's other rows, but the values alone decide.
    again = cross.apply(table({"a": ["z", "x"], "b": [5.0, 1.0]}))
    assert again.indices[1] == found.indices[0]
    assert again.values[1] == found.values[0]


@fast
def test_ngrams_count():
    text = NGrams("t", 2, 1, "words", 20, signed=False)
    assert list(text.grams("The cat. The CAT")) == ["the", "cat", "the", "cat", "the cat", "cat the",
                                                    "the cat"]
    found = text.apply(table({"t": ["the cat the cat", None, "", "cat"]}))
    assert sorted(found.values.tolist()) == [1.0, 1.0, 2.0, 2.0, 2.0]
    assert np.diff(found.indptr).tolist() == [4, 0, 0, 1]
    assert list(NGrams("t", 3, 3, "characters", 8).grams("abcd")) == ["abc", "bcd"]
    assert len(text.apply(table({"t": [None, None, "a"]})).indices) == 1


@fast
def test_sparse_rows_side_by_side():
    generator = np.random.default_rng(0)
    parts, plain = [], []
    for width in (3, 5, 4):
        row, index = generator.integers(0, 6, 20), generator.integers(0, width, 20)
        parts.append(from_entries(row, index, np.ones(20), 6, width))
        plain.append(np.zeros((6, width)))
        np.add.at(plain[-1], (row, index), 1.0)
    parts.append(one_a_row(np.array([1, -1, 0, 1, 1, 0]), np.full(6, 2.0), 2))
    plain.append(2.0 * np.array([[0, 1], [0, 0], [1, 0], [0, 1], [0, 1], [1, 0]]))
    assert dense(beside(parts, 6)).tolist() == np.hstack(plain).tolist()
    empty = Sparse(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0), 3)
    assert beside([empty, empty], 0).width == 6


@fast
@pytest.mark.parametrize("part", [Hash(("a", "b"), 20, False, 7), OneHot("w", ("a", "é"), True, False),
                                  NGrams("t", 3, 2, "characters", 12, True, 5)])
def test_parts_through_json(part):
    assert part_from_json(through_text(part_to_json(part))) == part


def test_against_scikit_learn_standardize_and_one_hot():
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    generator = np.random.default_rng(0)
    x = generator.lognormal(size=(5000, 4)) * 10.0 ** np.arange(4)
    x[generator.random(x.shape) < 0.1] = np.nan
    rows = table({f"x{i}": Numbers(x[:, i].copy()) for i in range(4)})
    for name, scaler in (("standardize", StandardScaler()), ("min_max", MinMaxScaler())):
        for impute in ("mean", "median"):
            steps = [{"impute": impute}, name]
            found = fitted(rows, {"columns": dict.fromkeys(rows.columns, steps)}).apply(rows).dense
            expected = make_pipeline(SimpleImputer(strategy=impute), scaler).fit_transform(x)
            assert found == pytest.approx(expected, rel=1e-11, abs=1e-12)
    words = [f"{i:03}" for i in generator.integers(0, 50, 1000)]
    rows = table({"w": words})
    expected = OneHotEncoder(sparse_output=False).fit_transform(np.array(words)[:, None])
    assert (fitted(rows, {}).apply(rows).dense == expected).all()


def test_against_scikit_learn_hashing():
    from sklearn.feature_extraction import FeatureHasher

    words = [f"word{i % 300}" for i in range(1000)]
    rows = table({"w": words, "v": words[::-1]})
    found = sum(dense(Hash((name,), 8).apply(rows)) for name in ("w", "v"))
    expected = FeatureHasher(256).transform([{"w": a, "v": b} for a, b in zip(words, words[::-1])])
    assert (found == expected.toarray()).all()


def test_logarithms_of_counts_are_looked_up_and_the_same():
    values = np.concatenate([np.arange(70_000.0), [-0.5, -0.0, 1e300, -1, -2, np.nan, np.inf, 0.25]])
    one_by_one = np.array([log1p(np.array([value, 0.5, 0.5]))[0] for value in values])
    assert log1p(values).tobytes() == one_by_one.tobytes()
    np.testing.assert_allclose(one_by_one[:70_000], np.log1p(np.arange(70_000.0)), rtol=1e-15)
