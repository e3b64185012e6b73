"""Metrics from mergeable sums: worked out by hand, over random splits, and where nothing is known."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.models import auc
from mr_gradient.models.metrics import MOST_CONFUSED, ClassMetrics, ValueMetrics, metrics_for
from mr_gradient.partial_gradient import Node, ordered_sum

pytestmark = pytest.mark.fast

KINDS = {"2 classes": ClassMetrics(2), "scores": ClassMetrics(2, probabilities=False),
         "4 classes": ClassMetrics(4, top=2), "20 classes": ClassMetrics(20),
         "many classes": ClassMetrics(MOST_CONFUSED + 1), "values": ValueMetrics(shift=3.0)}
every_kind = pytest.mark.parametrize("metrics", KINDS.values(), ids=KINDS)


def example(metrics, rows=300, seed=0):
    """Predictions that know something, labels, weights."""
    generator = np.random.default_rng(seed)
    weight = generator.uniform(0.1, 3, rows)
    if isinstance(metrics, ValueMetrics):
        y = generator.normal(5, 2, rows)
        return y + generator.normal(size=rows), y, weight
    y = generator.integers(0, metrics.classes, rows).astype(np.uint8)
    z = generator.normal(size=(rows, metrics.classes)) + 1.5 * np.eye(metrics.classes)[y]
    if not metrics.probabilities:
        return np.column_stack([-z[:, 1], z[:, 1]]), y, weight
    p = np.exp(z)
    return p / p.sum(axis=1, keepdims=True), y, weight


def sums_of(metrics, predicted, y, weight, loss=0.0):
    sums = metrics.zeros()
    metrics.add(sums, predicted, y, weight, loss)
    return sums


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        if value is None:
            assert other[name] is None
        else:
            np.testing.assert_allclose(value, other[name], rtol=1e-12, atol=1e-13, err_msg=name)


def test_classes_worked_out_by_hand():
    metrics = ClassMetrics(3, top=2)
    predicted = np.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25], [0.125, 0.375, 0.5],
                          [0.25, 0.5, 0.25]])
    y, weight = np.array([0, 1, 1, 2]), np.array([1.0, 2.0, 4.0, 8.0])
    found = metrics.finish(sums_of(metrics, predicted, y, weight, loss=30.0))
    assert found == {
        "examples": 4, "weight": 15.0, "loss": 2.0, "accuracy": 1 / 15,
        "log_loss": pytest.approx((np.log(2) + 2 * np.log(4) + 4 * np.log(8 / 3) + 8 * np.log(4)) / 15),
        # Of the two that are equal in the last row, class 0 comes first, and the label is 2.
        "top_2_accuracy": 7 / 15, "confusion": [[1, 0, 0], [2, 0, 4], [0, 8, 0]]}


def test_values_worked_out_by_hand():
    metrics = ValueMetrics()
    y, predicted = np.array([1.0, 2.0, 6.0]), np.array([2.0, 2.0, 4.0])
    found = metrics.finish(sums_of(metrics, predicted, y, None, loss=6.0))
    assert found == {"examples": 3, "weight": 3.0, "loss": 2.0, "rmse": np.sqrt(5 / 3), "mae": 1.0,
                     "r2": pytest.approx(1 - 5 / 14)}


@every_kind
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_random_parts_add_up_to_the_whole(metrics, weighted, seed):
    """As in a job: chunks within a split, splits along the tree; some are empty."""
    predicted, y, weight = example(metrics, seed=seed)
    weight = weight if weighted else None
    whole = metrics.finish(sums_of(metrics, predicted, y, weight, loss=7.0))
    generator = np.random.default_rng(seed)
    cuts = [0, *sorted(generator.integers(0, 301, 9)), 300]
    cuts[4] = cuts[3]
    nodes = []
    for split, (start, stop) in enumerate(itertools.pairwise(cuts)):
        sums, middle = metrics.zeros(), (start + stop) // 2
        for rows in (slice(start, middle), slice(middle, stop)):
            metrics.add(sums, predicted[rows], y[rows], None if weight is None else weight[rows],
                        7.0 * len(y[rows]) / 300)
        nodes.append(Node(split, 0, sums))
    assert_same(metrics.finish(ordered_sum(nodes).values), whole)
    sent = json.loads(json.dumps(sums_of(metrics, predicted, y, weight, 7.0).tolist(), allow_nan=False))
    assert metrics.finish(np.array(sent)) == whole
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


@every_kind
def test_weights_equal_repeated_rows(metrics):
    predicted, y, _ = example(metrics)
    times = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = metrics.finish(sums_of(metrics, predicted, y, times.astype(np.float32)))
    repeated = metrics.finish(sums_of(metrics, *(np.repeat(each, times, axis=0)
                                                 for each in (predicted, y)), None))
    assert weighted.pop("examples") == 300
    assert repeated.pop("examples") == times.sum()
    assert_same(weighted, repeated)


@every_kind
@pytest.mark.parametrize("weight", [None, 0.0], ids=["no rows", "weights of zero"])
def test_nothing_is_known_of_nothing(metrics, weight):
    rows = 0 if weight is None else 50
    predicted, y, _ = example(metrics)
    found = metrics.finish(sums_of(metrics, predicted[:rows], y[:rows],
                                   None if weight is None else np.zeros(rows)))
    assert found.pop("examples") == rows
    assert found.pop("weight") == 0
    confusion = found.pop("confusion", [[0.0]])
    assert not np.any(confusion)
    assert set(found.values()) == {None}


@every_kind
def test_one_example(metrics):
    predicted, y, weight = example(metrics)
    found = metrics.finish(sums_of(metrics, predicted[:1], y[:1], weight[:1], 3.0))
    assert found["examples"] == 1
    assert found["loss"] == pytest.approx(3.0 / weight[0])
    if isinstance(metrics, ValueMetrics):
        assert found["r2"] is None
        assert found["rmse"] == pytest.approx(found["mae"])
        assert found["mae"] == pytest.approx(abs(predicted[0] - y[0]))
    else:
        assert found["accuracy"] == float(predicted[0].argmax() == y[0])


def test_one_class_only_has_no_area():
    metrics = ClassMetrics(2)
    predicted, _, weight = example(metrics)
    for label in (0, 1):
        found = metrics.finish(sums_of(metrics, predicted, np.full(300, label), weight))
        assert found["auc"] is None
        assert found["auc_error"] is None
        assert found["confusion"][1 - label] == [0, 0]
        assert 0 < found["accuracy"] < 1


def test_r_squared_of_a_constant_of_the_mean_and_of_the_labels_themselves():
    constant, varied = np.full(1000, 0.1), np.random.default_rng(0).normal(size=1000)
    for shift in (0.0, 5.0):
        metrics = ValueMetrics(shift)
        assert metrics.finish(sums_of(metrics, constant + 1, constant, None))["r2"] is None
        found = metrics.finish(sums_of(metrics, np.full(1000, varied.mean()), varied, None))
        assert found["r2"] == pytest.approx(0, abs=1e-12)
        assert metrics.finish(sums_of(metrics, varied, varied, None))["r2"] == 1


def test_a_shift_saves_the_digits_of_r_squared():
    generator = np.random.default_rng(0)
    y = 1e8 + generator.normal(size=1000)
    predicted = y + generator.normal(size=1000)
    exact = 1 - np.sum((predicted - y) ** 2) / np.sum((y - y.mean()) ** 2)
    metrics = ValueMetrics(shift=1e8)
    assert metrics.finish(sums_of(metrics, predicted, y, None))["r2"] == pytest.approx(exact, rel=1e-9)


def test_certain_and_wrong_costs_a_finite_log_loss():
    for dtype, cost in ((np.float32, -np.log(2.0**-23)), (np.float64, -np.log(2.0**-52))):
        metrics = ClassMetrics(2)
        predicted = np.array([[1, 0], [0, 1]], dtype)
        with np.errstate(all="raise"):
            found = metrics.finish(sums_of(metrics, predicted, np.array([1, 1]), None))
        assert found["log_loss"] == pytest.approx(cost / 2)


def test_scores_have_no_log_loss_and_many_classes_no_confusion_matrix():
    assert "log_loss" not in ClassMetrics(2, probabilities=False).layout.ranges
    assert "confusion" not in ClassMetrics(MOST_CONFUSED + 1).layout.ranges
    assert ClassMetrics(1000).zeros().size < 10
    assert "top" not in ClassMetrics(5).layout.ranges
    assert metrics_for("class", 3) == ClassMetrics(3)
    assert metrics_for("class", 2, probabilities=False) == ClassMetrics(2, False)
    assert metrics_for("value", 0) == ValueMetrics()


def test_what_is_not_a_number_is_no_hit():
    metrics = ClassMetrics(6, top=2)
    predicted = np.full((3, 6), np.nan)
    found = metrics.finish(sums_of(metrics, predicted, np.array([5, 4, 3]), None))
    assert found["top_2_accuracy"] == 0
    assert np.isnan(found["log_loss"])
    two = ClassMetrics(2)
    assert np.isnan(two.finish(sums_of(two, np.full((2, 2), np.nan), np.arange(2), None))["log_loss"])


def exact_area(score, y, weight):
    """By its definition: over all pairs of a positive and a negative."""
    positive, negative = score[y == 1][:, None], score[y == 0][None]
    of_pair = weight[y == 1][:, None] * weight[y == 0][None]
    return float(np.sum(of_pair * ((positive > negative) + 0.5 * (positive == negative)))
                 / np.sum(of_pair))


SCORES = {
    "even": lambda g, y: g.uniform(size=len(y)) ** (1 + y),
    "rare": lambda g, y: 1 / (1 + np.exp(-g.normal(size=len(y)) - y + 9)),
    "nearly certain": lambda g, y: 1 / (1 + np.exp(-g.normal(size=len(y)) - y - 9)),
    "tied": lambda g, y: np.round(g.uniform(size=len(y)), 1),
    "in one bin": lambda g, y: 0.3 + 1e-9 * g.uniform(size=len(y)) + 1e-10 * y,
    "all equal": lambda g, y: np.full(len(y), 0.25),
    "zero or one": lambda g, y: g.integers(0, 2, len(y)).astype(float),
    "separated": lambda g, y: 0.1 + 0.8 * y,
    "reversed": lambda g, y: 0.9 - 0.8 * y,
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_exact_area_is_within_the_bound(name, dtype):
    generator = np.random.default_rng(2)
    y = generator.integers(0, 2, 1500)
    p, weight = SCORES[name](generator, y).astype(dtype), generator.uniform(0.1, 3, 1500)
    metrics = ClassMetrics(2)
    found = metrics.finish(sums_of(metrics, np.column_stack([1 - p, p]), y, weight))
    exact = exact_area(p, y, weight)
    assert abs(found["auc"] - exact) <= found["auc_error"] + 1e-12
    if name in ("even", "rare", "nearly certain"):
        assert found["auc_error"] < 2e-3
    if name in ("tied", "all equal", "zero or one", "separated", "reversed"):
        assert found["auc"] == pytest.approx(exact, abs=1e-12)  # equal scores share a bin: no error
    if name in ("separated", "reversed"):
        assert found["auc_error"] == 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_scores_of_any_size_have_an_area(scale):
    generator = np.random.default_rng(3)
    y = generator.integers(0, 2, 1500)
    z = scale * (generator.normal(size=1500) + y)
    metrics = ClassMetrics(2, probabilities=False)
    found = metrics.finish(sums_of(metrics, np.column_stack([-z, z]), y, None))
    assert abs(found["auc"] - exact_area(z, y, np.ones(1500))) <= found["auc_error"] + 1e-12
    assert found["auc_error"] < 2e-3


@given(st.lists(st.floats(0, 1) | st.floats(0, 1e-9) | st.sampled_from([0.5, 1.0]), min_size=2))
def test_bins_keep_the_order_of_probabilities(values):
    p = np.sort(np.array(values + [1 - each for each in values]))
    bins = auc.bins_of_probabilities(p)
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < auc.BINS


@given(st.lists(st.floats(-1e300, 1e300) | st.floats(-1, 1), min_size=2))
def test_bins_keep_the_order_of_scores(values):
    bins = auc.bins_of_scores(np.sort(np.array(values)))
    np.testing.assert_array_equal(auc.bins_of_scores(np.sort(-np.array(values)))[::-1],
                                  auc.BINS - 1 - bins - (np.sort(np.array(values)) == 0))
    assert (np.diff(bins) >= 0).all()
    assert bins.min() >= 0
    assert bins.max() < auc.BINS


def test_bins_use_the_whole_range_and_are_mirrored():
    p = np.array([0.0, 1e-20, 0.2, 0.5, 0.8, 1.0])
    bins = auc.bins_of_probabilities(p)
    assert bins[0] == bins[1] == 0
    assert bins[-1] == auc.BINS - 1
    assert bins[3] == auc.BINS // 2 - 1
    assert bins[2] + bins[4] in (auc.BINS - 1, auc.BINS)
