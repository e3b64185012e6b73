"""Schedules against values worked out by hand; clipping by the global norm."""

from math import cos, pi, sqrt

import numpy as np
import pytest

from mr_gradient import optimizers
from mr_gradient.errors import UsageError
from mr_gradient.optimizers.clipping import clip_by_global_norm, global_norm
from mr_gradient.optimizers.schedules import SCHEDULES, factor

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(("schedule", "options", "expected"), [
    ("constant", {}, {0: 1, 1: 1, 10**6: 1}),
    ("constant", {"warmup": 4}, {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 1, 99: 1}),
    ("step", {"iterations": 3, "drop": 0.5}, {0: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.25, 30: 2.0**-10}),
    ("step", {"iterations": 3, "drop": 0.5, "warmup": 2}, {0: 0.5, 1: 1, 4: 1, 5: 0.5, 8: 0.25}),
    ("cosine", {"iterations": 4}, {0: 1, 1: (1 + sqrt(0.5)) / 2, 2: 0.5, 3: (1 - sqrt(0.5)) / 2, 4: 0,
                                   5: 0, 10**6: 0}),
    ("cosine", {"iterations": 12, "warmup": 2}, {0: 0.5, 1: 1, 2: 1, 7: 0.5, 12: 0,
                                                 11: (1 + cos(0.9 * pi)) / 2}),
    ("inverse-sqrt", {}, {0: 1, 3: 0.5, 8: 1 / 3, 9_999: 0.01}),
    ("inverse-sqrt", {"warmup": 4}, {0: 0.25, 1: 0.5, 3: 1, 4: sqrt(4 / 5), 15: 0.5, 399: 0.1})])
def test_factors_worked_out_by_hand(schedule, options, expected):
    for t, value in expected.items():
        assert factor(schedule, t, **options) == pytest.approx(value, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_the_rate_never_rises_after_the_warm_up(schedule, warmup):
    factors = [factor(schedule, t, warmup, 40, 0.3) for t in range(60)]
    assert factors[max(warmup - 1, 0)] == 1
    assert all(0 <= each <= 1 for each in factors)
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)


@pytest.mark.parametrize("name", ["gd", "momentum", "nesterov", "adagrad", "rmsprop", "adam"])
def test_an_optimizer_takes_the_rate_of_its_update(name):
    """Its path is that of one whose learning rate somebody else sets before every update."""
    options = {"schedule": "cosine", "warmup": 3, "schedule_iterations": 10}
    scheduled = optimizers.create(name, {"learning_rate": 0.5, **options})
    w = by_hand = np.array([1.0, -2.0])
    state = state_by_hand = scheduled.init(w)
    for t in range(10):
        w, state = scheduled.update(w, state, w)
        fixed = optimizers.create(name, {"learning_rate": 0.5 * factor("cosine", t, 3, 10)})
        by_hand, state_by_hand = fixed.update(by_hand, state_by_hand, by_hand)
        np.testing.assert_array_equal(w, by_hand)
    assert state.step == 10
    after, _ = scheduled.update(w, state, w)
    np.testing.assert_array_equal(after, w)  # beyond its end cosine's rate is zero


@pytest.mark.parametrize(("options", "message"), [
    ({"schedule": "linear"}, "--schedule linear: must be one of constant, step, cosine, inverse-sqrt"),
    ({"warmup": -1}, "--warmup -1: must be at least 0"),
    ({"schedule_iterations": -2}, "--schedule-iterations -2: must be at least 0"),
    ({"schedule": "cosine"}, "--schedule-iterations 0: must be above --warmup 0"),
    ({"schedule": "cosine", "warmup": 9, "schedule_iterations": 9}, "must be above --warmup 9"),
    ({"schedule": "step"}, "--schedule-iterations 0: must be at least 1, for --schedule step"),
    ({"schedule_drop": 0.0}, "--schedule-drop 0.0: must be above 0 and at most 1"),
    ({"schedule_drop": 1.1}, "--schedule-drop 1.1: must be above 0"),
    ({"schedule_drop": float("nan")}, "--schedule-drop nan: must be above 0")])
def test_wrong_schedules_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        optimizers.create("gd", options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_long_gradient_keeps_its_direction_and_gets_the_limit_as_its_norm(dtype):
    g = np.random.default_rng(0).normal(size=200_001).astype(dtype)
    before = g.copy()
    norm = sqrt(sum(float(each) ** 2 for each in g))
    assert global_norm(g) == pytest.approx(norm, rel=1e-12)
    clipped = clip_by_global_norm(g, 2.5)
    assert clipped.dtype == dtype
    assert global_norm(clipped) == pytest.approx(2.5, rel=1e-6)
    np.testing.assert_allclose(clipped, g * (2.5 / norm), rtol=1e-6)
    np.testing.assert_array_equal(g, before)


def test_a_short_gradient_stays_as_it_is():
    g = np.array([3.0, -4.0])
    for limit in (0, 5, 5.1):
        assert clip_by_global_norm(g, limit) is g
    np.testing.assert_allclose(clip_by_global_norm(g, 2.5), g / 2, rtol=1e-15)
    for empty_or_zero in (np.zeros(0), np.zeros(3)):
        assert clip_by_global_norm(empty_or_zero, 1) is empty_or_zero


@pytest.mark.parametrize(("dtype", "large"), [(np.float32, 1e30), (np.float64, 1e300)])
def test_an_exploded_gradient_is_clipped_too(dtype, large):
    g = np.array([3 * large, -4 * large, 1], dtype)
    assert global_norm(g) == pytest.approx(5 * large, rel=1e-6)
    np.testing.assert_allclose(clip_by_global_norm(g, 1), [0.6, -0.8, 0], rtol=1e-6, atol=1e-25)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_for_the_driver_to_see(wrong):
    g = np.array([1.0, wrong, 2.0])
    assert clip_by_global_norm(g, 1) is g


def test_clipping_an_optimizers_gradient():
    g, w = np.array([30.0, 40.0]), np.zeros(2)
    clipped = optimizers.create("gd", {"learning_rate": 1.0, "clip_norm": 1.0})
    found, _ = clipped.update(g, clipped.init(w), w)
    np.testing.assert_allclose(found, [-0.6, -0.8], rtol=1e-15)
