"""Second derivatives against differences of the gradients, and Hessians against those of the loss."""

import numpy as np
import pytest

from mr_gradient.models.losses import LOSSES, probabilities, with_options
from mr_gradient.models.second_derivatives import second_derivative, softmax_second_derivative

pytestmark = pytest.mark.fast

ONE_OUTPUT = [loss for loss in LOSSES if loss != "softmax"]
DELTA, STEP = 0.8, 1e-6
every_loss = pytest.mark.parametrize("loss", ONE_OUTPUT)
weighted_or_not = pytest.mark.parametrize("weighted", [False, True])


def example(loss, rows=200):
    generator = np.random.default_rng(3)
    z = generator.normal(0, 2, (rows, 1))
    if loss in ("squared", "huber"):
        y = generator.normal(size=rows)
    elif loss == "poisson":
        y = generator.poisson(2, rows).astype(float)
    else:
        y = generator.integers(0, 2, rows)
    return z, y, generator.uniform(0.1, 3, rows)


@every_loss
@weighted_or_not
def test_it_is_the_slope_of_the_gradient(loss, weighted):
    z, y, weight = example(loss)
    weight = weight if weighted else None
    before = z.copy()
    d = second_derivative(loss, z, y, weight, DELTA)
    np.testing.assert_array_equal(z, before)
    function = with_options(loss, DELTA)
    up, down = (function(z + step, y, weight, True)[1].copy() for step in (STEP, -STEP))
    np.testing.assert_allclose(d, (up - down)[:, 0] / (2 * STEP), rtol=1e-6, atol=1e-8)
    if loss in ("huber", "squared_hinge"):
        assert 20 < np.count_nonzero(d) < 180  # both sides of the kink


@pytest.mark.parametrize("first", range(4))
@pytest.mark.parametrize("second", range(4))
@weighted_or_not
def test_that_of_softmax_is_the_slope_of_one_output_along_another(first, second, weighted):
    generator = np.random.default_rng(4)
    z, y = generator.normal(0, 2, (50, 4)), generator.integers(0, 4, 50)
    weight = generator.uniform(0.1, 3, 50) if weighted else None
    d = softmax_second_derivative(probabilities("softmax", z), first, second, weight)
    along = STEP * np.eye(4)[second]
    up, down = (LOSSES["softmax"](z + step, y, weight, True)[1] for step in (along, -along))
    np.testing.assert_allclose(d, (up - down)[:, first] / (2 * STEP), rtol=0, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_loss
def test_extreme_outputs_are_silent_finite_and_never_negative(loss, dtype):
    z = np.array([-1e4, -1e3, -89, -1, 0, 1, 89, 1e3, 1e4], dtype)[:, None]
    for label in (0, 1):
        with np.errstate(all="raise", under="ignore"):
            d = second_derivative(loss, z, np.full(9, label), np.linspace(0, 1, 9))
        assert d.dtype == dtype
        assert np.isfinite(d).all()
        assert (d >= 0).all()
    expected = {"squared": 1, "huber": 0, "poisson": 0, "logistic": 0, "squared_hinge": 0}[loss]
    assert second_derivative(loss, z[:1], np.zeros(1, int), None)[0] == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_keeps_its_digits_where_one_class_is_nearly_certain(dtype):
    """1 - p would be zero here; p (1 - p) is exp(-30) to first order."""
    p = probabilities("softmax", np.array([[30.0, 0.0]], dtype))
    for first, second, sign in ((0, 0, 1), (1, 1, 1), (0, 1, -1)):
        d = softmax_second_derivative(p, first, second, None)
        assert d.dtype == dtype
        assert d[0] == pytest.approx(sign * np.exp(-30), rel=1e-6)


def test_two_classes_of_softmax_are_logistic():
    z, y, weight = example("logistic")
    p = probabilities("softmax", np.concatenate([np.zeros_like(z), z], axis=1))
    np.testing.assert_allclose(softmax_second_derivative(p, 1, 1, weight),
                               second_derivative("logistic", z, y, weight), rtol=1e-12)


def test_softmax_has_none_by_one_output():
    with pytest.raises(ValueError, match="softmax"):
        second_derivative("softmax", np.zeros((2, 3)), np.zeros(2, int), None)
