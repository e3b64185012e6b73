"""The losses against their textbook formulas in 60-digit arithmetic, where nothing overflows."""

from decimal import Context, Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.models.losses import LOSSES, probabilities

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


EXACT = {"squared": exact_squared, "logistic": exact_logistic, "softmax": exact_softmax}


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
    y = {"squared": generator.normal(size=rows), "logistic": generator.integers(0, 2, rows),
         "softmax": generator.integers(0, 4, rows)}[loss]
    return z, y, generator.uniform(0.1, 3, rows)


def extreme(loss, dtype):
    """Every pair of huge, small and zero outputs under every label."""
    if loss == "softmax":
        rows = [((a, b, 0.0), label) for a in HUGE for b in HUGE for label in range(3)]
    else:
        rows = [((a,), label) for a in HUGE for label in range(2)]
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
    if loss != "squared":
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
    if loss == "squared":
        assert sums["squared_error"] == pytest.approx(sum(w * (a[0] - b) ** 2 for a, b, w in rows),
                                                      rel=TOLERANCE[dtype])
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
