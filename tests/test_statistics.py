"""Statistics of pieces, merged along the tree, are those of the whole."""

import contextlib
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_rows import damaged, source_of, table, through_text

from mr_gradient.dataset.columns import Numbers, Rows, Sparse
from mr_gradient.dataset.transforms.counts import WordCounts, as_words
from mr_gradient.dataset.transforms.statistics import Measures, Series, Statistics
from mr_gradient.errors import DataError

pytestmark = pytest.mark.fast

NUMBERS = st.one_of(st.none(), st.just(0.0), st.integers(-5, 5).map(float), st.floats(-1e9, 1e9))
ROWS = st.lists(st.tuples(NUMBERS, st.sampled_from([None, "a", "b", "é", "10", "9"])), max_size=60)
LOG = Series("x", (("clip", 0.0, 100.0), ("log1p",)))
MEASURES = Measures((Series("x"), LOG), (Series("x"),), (("w", 4), ("x", 50)), 2)


def rows_of(pairs):
    x, words = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    matrix = np.array([[value or 0.0, 3.0] for value in x]).reshape(-1, 2)
    return table({"x": Numbers(np.array([np.nan if each is None else each for each in x])),
                  "w": words if any(words) else as_words(Numbers(np.full(len(x), np.nan)))},
                 matrix, len(x))


def piece(pairs):
    statistics = Statistics(MEASURES)
    statistics.add(rows_of(pairs))
    return statistics


def tree(pieces):
    while len(pieces) > 1:
        pieces = [pieces[i].merge(pieces[i + 1]) if i + 1 < len(pieces) else pieces[i]
                  for i in range(0, len(pieces), 2)]
    return pieces[0]


@given(ROWS, st.lists(st.integers(0, 60), max_size=6))
def test_any_split_gives_the_whole(pairs, cuts):
    edges = [0, *sorted(min(cut, len(pairs)) for cut in cuts), len(pairs)]
    parts = [pairs[a:b] for a, b in itertools.pairwise(edges)]
    found, whole = tree([piece(part) for part in parts]), piece(pairs)
    assert json.dumps(found.to_json()) == json.dumps(tree([piece(part) for part in parts]).to_json())
    assert found.rows == len(pairs)
    for name in ("missing", "infinite", "zeros", "minimum", "maximum", "whole", "count"):
        assert (getattr(found.numbers, name) == getattr(whole.numbers, name)).all(), name
    assert {name: each.to_json() for name, each in found.counts.items()} == (
        {name: each.to_json() for name, each in whole.counts.items()})
    values = np.array([value for value, _ in pairs if value is not None])
    if len(values):
        size = np.abs(values).max()
        assert abs(found.numbers.mean[0] - math.fsum(values) / len(values)) <= 1e-12 * size
        mean = math.fsum(values) / len(values)
        m2 = math.fsum((value - mean) ** 2 for value in values)
        assert abs(found.numbers.m2[0] - m2) <= 1e-12 * len(values) * size**2
        assert found.sketches[Series("x")].median() == pytest.approx(np.median(values), rel=1e-15)
        assert found.numbers.zeros[0] == (values == 0).sum()
    if pairs:
        assert found.matrix.mean[1] == 3.0
        assert found.matrix.m2[1] == 0.0


@pytest.mark.parametrize("columns", [1, 40])
def test_where_batches_end_does_not_show(columns):
    """Not in the last bit of a mean, nor in what a sketch keeps: readers differ in their batches."""
    random = np.random.default_rng(4)
    values = random.normal(size=(20_000, columns))
    values[random.random(values.shape) < 0.1] = np.nan
    names = [f"c{i}" for i in range(columns)]
    measures = Measures(tuple(map(Series, names)), tuple(map(Series, names[:2])))

    def counted(edges):
        statistics = Statistics(measures)
        for start, stop in itertools.pairwise(edges):
            statistics.add(table({name: Numbers(values[start:stop, i].copy())
                                  for i, name in enumerate(names)}))
        return statistics.to_json()

    whole = counted([0, 20_000])
    for count in (1, 3, 500):
        edges = [0, *sorted(random.integers(0, 20_000, count).tolist()), 20_000]
        assert counted(edges) == whole


@pytest.mark.parametrize("width", [1, 3, 100])
def test_the_variance_survives_a_large_mean(width):
    noise = np.random.default_rng(0).normal(size=(20_000, width))
    values = 1e9 + noise
    columns = {f"c{i}": Numbers(values[:, i].copy()) for i in range(width)}
    rows = table(columns, values)
    statistics = Statistics(Measures.of(source_of(rows, width)))
    statistics.add(rows)
    exact = []
    for column in (values - 1e9).T[:3].tolist():
        mean = math.fsum(column) / len(column)
        exact.append(math.fsum((each - mean) ** 2 for each in column))
    for moments in (statistics.numbers, statistics.matrix):
        assert moments.m2[:3] == pytest.approx(exact, rel=1e-9)


def test_a_constant_column_has_no_variance():
    rows = table({"x": Numbers(np.full(100_003, 0.1)), "y": [0.1] * 100_003})
    statistics = Statistics(Measures.of(source_of(rows)))
    statistics.add(rows)
    statistics.add(rows)
    assert statistics.numbers.mean.tolist() == [0.1, 0.1]
    assert statistics.numbers.m2.tolist() == [0.0, 0.0]


def test_missing_infinite_and_empty():
    rows = table({"x": [None, math.inf, -math.inf, 2.0], "y": [None] * 4})
    statistics = Statistics(Measures.of(source_of(rows)))
    statistics.add(rows)
    numbers = statistics.numbers
    assert numbers.missing.tolist() == [1, 4]
    assert numbers.infinite.tolist() == [2, 0]
    assert numbers.minimum.tolist() == [2.0, math.inf]
    assert numbers.mean.tolist() == [2.0, 0.0]
    empty = Statistics(statistics.measures)
    empty.add(table({"x": [], "y": []}, count=0))
    for both in (empty.merge(statistics), statistics.merge(empty)):
        assert both.to_json() == statistics.to_json()


def test_minus_zero_is_zero():
    rows = table({"x": [-0.0, 0.0, -0.0]})
    statistics = Statistics(Measures.of(source_of(rows)))
    statistics.add(rows)
    assert "-0.0" not in json.dumps(statistics.to_json())


def test_the_cap_does_not_depend_on_the_order():
    words = [column["w"] for column in (
        table({"w": [f"{first}{i}" for i in range(3)]}).columns for first in "ab")]
    for order in (words, words[::-1]):
        left, right = WordCounts(5), WordCounts(5)
        left.add(order[0])
        right.add(order[1])
        assert left.counts is not None
        assert left.merge(right).counts is None
    kept = WordCounts(6)
    for each in words:
        kept.add(each)
    assert sum(kept.counts.values()) == kept.rows == 6
    assert kept.length == 12


def test_long_texts_are_not_kept():
    counts = WordCounts()
    counts.add(table({"w": ["x" * (5 << 20), "y"]}).columns["w"])
    assert counts.counts is None
    assert counts.length == (5 << 20) + 1


def test_sparse_features():
    sparse = Sparse(np.array([0, 2, 2, 3]), np.array([0, 3, 3]), np.array([1.0, 2.0, -4.0]), 5)
    statistics = Statistics(Measures(width=5))
    statistics.add(table({}, sparse, 3))
    both = statistics.merge(statistics)
    assert (both.matrix.nnz, both.matrix.largest_index, both.matrix.minimum) == (6, 3, -4.0)
    assert both.matrix.columns.tolist() == [2, 0, 0, 4, 0]
    assert Statistics.from_json(through_text(both.to_json())).to_json() == both.to_json()
    sparse.indices[1] = 5
    with pytest.raises(DataError, match="from 0 to 4, found 5"):
        statistics.add(table({}, sparse, 3))
    with pytest.raises(DataError, match="dense in all pieces"):
        statistics.add(table({}, np.zeros((3, 5)), 3))


@pytest.mark.parametrize("width", [2, 200])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32])
def test_a_matrix_of_any_type(width, dtype):
    matrix = np.random.default_rng(0).integers(0, 100, (700, width)).astype(dtype)
    statistics = Statistics(Measures(width=width))
    statistics.add(Rows({}, matrix, np.arange(700), np.arange(700)))
    plain = matrix.astype(np.float64)
    assert statistics.matrix.mean == pytest.approx(plain.mean(axis=0), rel=1e-13)
    assert statistics.matrix.m2 == pytest.approx(plain.var(axis=0) * 700, rel=1e-12)
    assert statistics.matrix.maximum.tolist() == plain.max(axis=0).tolist()
    assert statistics.matrix.whole.all()


def test_wrong_rows_are_named():
    statistics = Statistics(Measures((Series("x"),)))
    with pytest.raises(DataError, match="'x': the rows have no such column"):
        statistics.add(table({"y": [1.0]}))
    with pytest.raises(DataError, match="'x': must be numbers"):
        statistics.add(table({"x": ["a"]}))
    with pytest.raises(DataError, match="must all measure the same"):
        statistics.merge(Statistics(Measures()))


EXAMPLE = piece([(1.5, "a"), (None, None), (math.nan, "b")]).to_json()


@given(ROWS)
def test_json_keeps_every_bit(pairs):
    statistics = piece(pairs)
    read = Statistics.from_json(through_text(statistics.to_json()))
    assert read.to_json() == statistics.to_json()
    assert json.dumps(read.merge(read).to_json()) == (
        json.dumps(statistics.merge(statistics).to_json()))


@given(damaged(through_text(EXAMPLE)))
def test_damaged_json_is_a_data_error(value):
    with contextlib.suppress(DataError):
        Statistics.from_json(value).to_json()
