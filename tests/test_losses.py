"""The losses against their textbook formulas in 60-digit arithmetic, where nothing overflows."""

from __future__ import annotations

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.errors import DataError
from mr_gradient.models.losses import LOSSES, has_probabilities, probabilities, with_options

pytestmark = pytest.mark.fast

DIGITS = Context(prec=60, Emax=10**9, Emin=-10**9)
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}
HUGE = [-1e4, -1e3, -89.0, -1.0, -1e-4, 0.0, 1e-4, 1.0, 89.0, 1e3, 1e4]
every_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_loss = pytest.mark.parametrize("loss", LOSSES)


def exact_squared(z, label):
    """Loss and derivative of one example, as the other two rewrites: (z - y)^2 / 2."""
    error = z[0] - Decimal(label)
    return error * error / 2, [error]


def exact_logistic(z, label):
    """log(1 + exp(z)) - y z."""
    growth = z[0].exp()
    return (1 + growth).ln() - label * z[0], [growth / (1 + growth) - label]


def exact_softmax(z, label):
    """log(sum of exp(z_j)) - z_y."""
    growths = [each.exp() for each in z]
    total = sum(growths)
    return total.ln() - z[label], [growth / total - (number == label)
                                   for number, growth in enumerate(growths)]


def exact_huber(z, label):
    """The squared error of small errors, a straight line for large ones; delta is 1."""
    error = z[0] - Decimal(label)
    if abs(error) <= 1:
        return error * error / 2, [error]
    return abs(error) - Decimal("0.5"), [Decimal(1).copy_sign(error)]


def exact_poisson(z, label):
    """exp(z) - y z."""
    rate = z[0].exp()
    return rate - Decimal(label) * z[0], [rate - Decimal(label)]


def exact_squared_hinge(z, label):
    """max(0, 1 - s z)^2 with s = 1 for label 1 and -1 for label 0."""
    sign = 1 if label == 1 else -1
    margin = max(Decimal(0), 1 - sign * z[0])
    return margin * margin, [-2 * sign * margin]


EXACT = {"squared": exact_squared, "huber": exact_huber, "poisson": exact_poisson,
         "logistic": exact_logistic, "squared_hinge": exact_squared_hinge, "softmax": exact_softmax}
OF_VALUES = ("squared", "huber", "poisson")


def exact(loss, z, y, weight):
    """Weighted loss sum and gradient (n, k), example by example."""
    with localcontext(DIGITS):
        total, rows = Decimal(0), []
        for row, label, factor in zip(z.tolist(), y.tolist(), weight.tolist()):
            value, derivative = EXACT[loss]([Decimal(each) for each in row], label)
            total += Decimal(factor) * value
            rows.append([float(Decimal(factor) * each) for each in derivative])
        return float(total), np.array(rows)


def example(loss, dtype, rows=40, seed=0):
    """Outputs, labels and weights of a scale at which no example drowns the others."""
    generator = np.random.default_rng(seed)
    z = generator.normal(0, 3, (rows, 4 if loss == "softmax" else 1)).astype(dtype)
    if loss == "poisson":
        y = generator.poisson(2, rows).astype(float)
    elif loss in OF_VALUES:
        y = generator.normal(size=rows)
    else:
        y = generator.integers(0, 4 if loss == "softmax" else 2, rows)
    return z, y, generator.uniform(0.1, 3, rows)


def extreme(loss, dtype):
    """Every pair of huge, small and zero outputs under every label."""
    if loss == "softmax":
        rows = [((a, b, 0.0), label) for a in HUGE for b in HUGE for label in range(3)]
    else:
        rows = [((a,), label) for a in HUGE for label in range(2)
                if loss != "poisson" or a < (88 if dtype == np.float32 else 350)]
    return np.array([z for z, _ in rows], dtype), np.array([label for _, label in rows])


@every_loss
@every_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_and_gradient_equal_the_formula(loss, dtype, weighted):
    z, y, weight = example(loss, dtype)
    total, derivative = exact(loss, z, y, weight if weighted else np.ones(len(y)))
    sums, dz = LOSSES[loss](z.copy(), y, weight if weighted else None, True)
    assert sums["loss"] == pytest.approx(total, rel=TOLERANCE[dtype])
    np.testing.assert_allclose(dz, derivative, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert dz.dtype == dtype


@every_loss
@every_dtype
def test_extreme_outputs_are_exact_and_silent(loss, dtype):
    z, y = extreme(loss, dtype)
    ones = np.ones(1)
    with np.errstate(all="raise", under="ignore"):
        for row, label in zip(z, y):
            total, derivative = exact(loss, row[None], label[None], ones)
            sums, dz = LOSSES[loss](row[None].copy(), label[None], None, True)
            assert sums["loss"] == pytest.approx(total, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
            np.testing.assert_allclose(dz, derivative, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        shown = probabilities(loss, z)
    assert np.isfinite(shown).all()
    if has_probabilities(loss):
        np.testing.assert_allclose(shown.sum(axis=1), 1, rtol=0, atol=1e-6)


@every_dtype
def test_logistic_is_symmetric(dtype):
    z, y = extreme("logistic", dtype)
    for row, label in zip(z, y):
        sums, dz = LOSSES["logistic"](row[None].copy(), label[None], None, True)
        mirrored, mirrored_dz = LOSSES["logistic"](-row[None], 1 - label[None], None, True)
        assert sums["loss"] == mirrored["loss"]
        np.testing.assert_allclose(mirrored_dz, -dz, rtol=0, atol=TOLERANCE[dtype])


@every_dtype
def test_softmax_does_not_know_the_order_or_the_origin_of_its_classes(dtype):
    z, y = extreme("softmax", dtype)
    sums, dz = LOSSES["softmax"](z.copy(), y, None, True)
    reversed_sums, reversed_dz = LOSSES["softmax"](z[:, ::-1].copy(), 2 - y, None, True)
    assert reversed_sums["loss"] == pytest.approx(sums["loss"], rel=TOLERANCE[dtype])
    np.testing.assert_allclose(reversed_dz[:, ::-1], dz, rtol=0, atol=TOLERANCE[dtype])
    small = np.round(np.random.default_rng(0).normal(size=(50, 3)), 1).astype(dtype)
    labels = np.arange(50) % 3
    moved, _ = LOSSES["softmax"](small + dtype(16), labels, None, False)
    here, _ = LOSSES["softmax"](small.copy(), labels, None, False)
    assert moved["loss"] == pytest.approx(here["loss"], rel=100 * TOLERANCE[dtype])


@every_dtype
def test_softmax_of_two_classes_is_logistic(dtype):
    z, y, weight = example("logistic", dtype)
    pair = np.concatenate([np.zeros_like(z), z], axis=1)
    expected, expected_dz = LOSSES["logistic"](z.copy(), y, weight, True)
    sums, dz = LOSSES["softmax"](pair, y, weight, True)
    assert sums == pytest.approx(expected, rel=TOLERANCE[dtype])
    np.testing.assert_allclose(dz[:, 1:], expected_dz, rtol=0, atol=10 * TOLERANCE[dtype])


@every_loss
@every_dtype
def test_the_second_sum_counts_what_is_right(loss, dtype):
    z, y, weight = example(loss, dtype)
    sums, _ = LOSSES[loss](z.copy(), y, weight, False)
    plain, _ = LOSSES[loss](z.copy(), y, None, False)
    rows = list(zip(z.tolist(), y.tolist(), weight.tolist()))
    if loss in OF_VALUES:
        shown = probabilities(loss, z).tolist()
        expected = sum(w * (a - b) ** 2 for a, (_, b, w) in zip(shown, rows))
        assert sums["squared_error"] == pytest.approx(expected, rel=TOLERANCE[dtype])
        if loss == "squared":
            assert plain["squared_error"] == 2 * plain["loss"]
        return
    chosen = [row.index(max(row)) if loss == "softmax" else int(row[0] > 0) for row, _, _ in rows]
    right = [guess == label for guess, (_, label, _) in zip(chosen, rows)]
    assert plain["correct"] == sum(right)
    assert 0 < plain["correct"] < len(rows)
    assert sums["correct"] == pytest.approx(
        sum(w for hit, (_, _, w) in zip(right, rows) if hit), rel=1e-14)


@every_loss
@given(times=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_weights_equal_repeated_rows(loss, times):
    z, y, _ = example(loss, np.float64, rows=len(times))
    weighted, dz = LOSSES[loss](z.copy(), y, np.array(times, float), True)
    expected, repeated_dz = LOSSES[loss](np.repeat(z, times, axis=0), np.repeat(y, times), None, True)
    assert weighted == pytest.approx(expected, rel=1e-13, abs=1e-13)
    np.testing.assert_allclose(dz.sum(axis=0), repeated_dz.sum(axis=0), rtol=1e-12, atol=1e-12)


@every_loss
@every_dtype
def test_no_gradient_gives_the_same_sums(loss, dtype):
    z, y, weight = example(loss, dtype)
    for factor in (None, weight):
        with_gradient, dz = LOSSES[loss](z.copy(), y, factor, True)
        without, nothing = LOSSES[loss](z.copy(), y, factor, False)
        assert with_gradient == without
        assert dz is not None
        assert nothing is None


@every_dtype
@pytest.mark.parametrize("delta", [0.01, 1.35, 1e3])
def test_huber_is_squared_within_delta_and_a_line_beyond(dtype, delta):
    z, y, weight = example("huber", dtype)
    sums, dz = with_options("huber", delta)(z.copy(), y, weight, True)
    error = np.abs(z[:, 0] - y)
    line = delta * (error - delta / 2)
    expected = float(np.sum(weight * np.where(error <= delta, error ** 2 / 2, line)))
    assert sums["loss"] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(np.abs(dz[:, 0]), weight * np.minimum(error, delta), rtol=1e-5)
    if delta == 1e3:
        assert sums == pytest.approx(LOSSES["squared"](z.copy(), y, weight, False)[0], rel=1e-6)


@every_dtype
def test_poisson_of_absurd_outputs_is_huge_but_neither_infinite_nor_nan(dtype):
    """Weight zero times infinity would be NaN, and would spoil the sum of the others."""
    z = np.array([[1e4], [1e30], [0.0]], dtype)
    with np.errstate(all="raise", under="ignore"):
        sums, dz = LOSSES["poisson"](z.copy(), np.zeros(3), np.array([0.0, 0.0, 1.0]), True)
        assert sums == {"loss": 1.0, "squared_error": 1.0}
        np.testing.assert_array_equal(dz, [[0], [0], [1]])
        assert LOSSES["poisson"](z.copy(), np.zeros(3), None, False)[0]["loss"] > 1e38
        assert np.isfinite(probabilities("poisson", z)).all()


def test_poisson_refuses_negative_labels():
    for weight in (None, np.ones(3)):
        with pytest.raises(DataError, match="label -2: --model poisson needs counts, at least 0"):
            LOSSES["poisson"](np.zeros((3, 1)), np.array([1.0, -2.0, 0.0]), weight, True)


@every_dtype
def test_scores_of_the_squared_hinge_are_the_decision_value_and_its_mirror(dtype):
    z = np.array([[-2.5], [0.25]], dtype)
    scores = probabilities("squared_hinge", z)
    np.testing.assert_array_equal(scores, np.array([[2.5, -2.5], [-0.25, 0.25]]))
    assert scores.dtype == dtype
    assert not has_probabilities("squared_hinge")


@every_loss
@every_dtype
@pytest.mark.parametrize("label_type", [np.uint8, np.int64, np.float32, np.float64])
def test_labels_of_any_type_and_no_examples_at_all(loss, dtype, label_type):
    if label_type == np.uint8 or loss == "softmax":
        label_type = np.uint8 if loss not in OF_VALUES else np.float32
    z, y, _ = example(loss, dtype)
    y = np.abs(np.round(y)).astype(label_type)
    expected, expected_dz = LOSSES[loss](z.copy(), y.astype(
        np.float64 if loss in OF_VALUES else np.int64), None, True)
    sums, dz = LOSSES[loss](z.copy(), y, None, True)
    assert sums == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(dz, expected_dz, rtol=1e-6, atol=1e-6)
    assert dz.dtype == dtype
    nothing, dz = LOSSES[loss](z[:0].copy(), y[:0], None, True)
    assert set(nothing.values()) == {0.0}
    assert dz.shape == z[:0].shape
