"""Newton's method: few jobs, and Hessians that are not positive definite."""

import math

import numpy as np
import pytest
from search_problems import (
    Evaluation,
    Logistic,
    Softmax,
    assert_resumable,
    digits,
    drive,
    parabola,
    random_logistic,
    rosenbrock,
)

from mr_gradient.optimizers.newton import Newton, newton_step

pytestmark = pytest.mark.fast

TIGHT = Newton(gradient_tolerance=1e-10, objective_tolerance=0)


def irls(x, y, l2, iterations=25):
    """Iteratively reweighted least squares, Green 1984: beta = (X'WX + P)^-1 X'W z."""
    X, beta = np.column_stack([x, np.ones(len(y))]), np.zeros(x.shape[1] + 1)
    P = len(y) * l2 * np.diag(np.append(np.ones(x.shape[1]), 0))
    for _ in range(iterations):
        mu = 1 / (1 + np.exp(-X @ beta))
        W = mu * (1 - mu)
        z = X @ beta + (y - mu) / W
        beta = np.linalg.solve((X.T * W) @ X + P, (X.T * W) @ z)
    return beta


@pytest.mark.parametrize("seed", range(3))
def test_logistic_regression_is_iteratively_reweighted_least_squares(seed):
    problem = random_logistic(seed)
    run = drive(TIGHT, problem, np.zeros(13))
    assert run.reason == "the gradient is within its tolerance"
    assert run.jobs <= 10
    np.testing.assert_allclose(run.parameters, irls(problem.x[:, :-1], problem.y, 1e-3), rtol=1e-7)


@pytest.mark.parametrize("size", [3, 64, 65, 200])
def test_a_parabola_takes_one_step(size):
    problem = parabola(1e4, size)
    run = drive(TIGHT, problem, np.zeros(size))
    assert (run.jobs, run.accepted) == (2, 1)
    np.testing.assert_allclose(run.parameters, problem.minimum, rtol=0, atol=1e-9)


def test_rosenbrocks_valley_with_its_indefinite_hessians():
    start = np.array([0.0, 1.0])
    assert np.linalg.eigvalsh(rosenbrock(start).hessian).min() < 0
    run = drive(TIGHT, rosenbrock, start)
    np.testing.assert_allclose(run.parameters, [1, 1], rtol=0, atol=1e-9)
    assert run.jobs < 40


def test_softmax_with_its_free_shift_of_the_intercepts():
    """No penalty on the intercepts: one constant added to all changes nothing, the Hessian is
    singular; so it is in the pixels that are always 0, without a penalty."""
    x, y = digits()
    problem = Softmax(x[:400, 2:24], y[:400], 1e-3, hessian=True)
    run = drive(TIGHT, problem, np.zeros(problem.size))
    assert run.reason == "the gradient is within its tolerance"
    assert run.jobs <= 12


def test_equal_and_empty_columns_do_no_harm():
    problem = random_logistic(0, l2=0.0)
    x = problem.x[:, :-1]
    wide = Logistic(np.column_stack([x, x[:, 0], np.zeros(len(x))]), problem.y, 0.0)
    run, plain = drive(TIGHT, wide, np.zeros(15)), drive(TIGHT, problem, np.zeros(13))
    assert run.reason == "the gradient is within its tolerance"
    assert run.jobs <= plain.jobs + 1
    assert run.objective == pytest.approx(plain.objective, rel=1e-12)
    assert run.parameters[13] == 0
    assert np.abs(run.parameters).max() < 10 * np.abs(plain.parameters).max()


def test_separable_data_without_penalty_end():
    x = np.array([[-2.0], [-1.0], [1.0], [3.0]])
    run = drive(Newton(gradient_tolerance=1e-8), Logistic(x, x[:, 0] > 0, 0.0), np.zeros(2))
    assert run.reason == "the gradient is within its tolerance"
    assert run.jobs < 30


def test_a_step_that_is_too_long_is_shortened_by_several_at_once():
    """f = log cosh: from 3 the full step leads to -97, and ever farther."""
    def log_cosh(w):
        return Evaluation(np.log(np.cosh(w[0])), np.tanh(w), np.array([[1 / np.cosh(w[0]) ** 2]]))

    run = drive(Newton(gradient_tolerance=1e-10, objective_tolerance=0, trials=3), log_cosh,
                np.array([3.0]))
    assert [len(points) for points in run.points[:3]] == [1, 1, 3]
    np.testing.assert_allclose(run.parameters, [0], atol=1e-9)
    assert run.jobs < 12


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_to_where_the_objective_is_not_finite_is_shortened(bad):
    """Poisson's loss exp(z) - 5 z overflows far to the right."""
    def poisson(w):
        e = np.exp(w[0])
        if e > 1e6:
            return Evaluation(bad, np.array([bad]), np.array([[bad]]))
        return Evaluation(e - 5 * w[0], np.array([e - 5]), np.array([[e]]))

    run = drive(TIGHT, poisson, np.array([-8.0]))
    np.testing.assert_allclose(run.parameters, [np.log(5)], rtol=1e-9)
    assert run.jobs < 40


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_gradient_at_the_start_ends_after_one_job(dtype):
    run = drive(Newton(), lambda w: Evaluation(3.0, np.zeros(4), np.zeros((4, 4))),
                np.ones(4, dtype))
    assert (run.jobs, run.reason) == (1, "the gradient is within its tolerance")
    assert run.parameters.dtype == dtype


def test_a_start_that_is_not_finite_ends_at_once():
    run = drive(Newton(), lambda w: Evaluation(1.0, w, np.full((2, 2), math.nan)), np.ones(2))
    assert (run.jobs, run.reason) == (1, "the objective or its gradient is not finite at the start")


@pytest.mark.parametrize("problem", [
    lambda w: Evaluation(w.sum(), np.ones(3), np.zeros((3, 3))),
    lambda w: Evaluation(-w @ w, -2 * w, -2 * np.eye(3))], ids=["linear", "concave"])
def test_an_objective_without_lower_bound_ends(problem):
    run = drive(Newton(objective_tolerance=0), problem, np.ones(3))
    assert run.reason == "the objective has no lower bound along the last direction"
    assert run.jobs < 30
    assert np.isfinite(run.parameters).all()


@pytest.mark.parametrize("seed", range(3))
def test_float32_ends_near_the_optimum_without_endless_search(seed):
    exact = drive(TIGHT, random_logistic(seed), np.zeros(13))
    run = drive(Newton(gradient_tolerance=0, objective_tolerance=0),
                random_logistic(seed, dtype=np.float32), np.zeros(13, np.float32))
    assert run.reason
    assert run.jobs < exact.jobs + 30
    assert run.objective == pytest.approx(exact.objective, rel=2e-6)


@pytest.mark.parametrize(("problem", "start"), [
    (rosenbrock, np.array([-1.2, 1.0])),
    (random_logistic(0, dtype=np.float32), np.zeros(13, np.float32))], ids=["rosenbrock", "float32"])
def test_a_run_killed_after_every_job_has_the_same_bits(problem, start):
    assert_resumable(Newton(), problem, start)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200])
def test_the_step_solves_the_newton_equation(size):
    generator = np.random.default_rng(size)
    A = generator.normal(size=(size, size))
    units = np.geomspace(1e-6, 1e6, size)  # features in unlike units are no matter
    H, g = (A @ A.T + np.eye(size)) * units[:, None] * units, generator.normal(size=size) * units
    before = H.copy()
    np.testing.assert_allclose((H @ newton_step(H, g)) / units, -g / units, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(H, before)


@pytest.mark.parametrize("seed", range(5))
def test_the_step_leads_down_whatever_the_hessian(seed):
    generator = np.random.default_rng(seed)
    A, g = generator.normal(size=(6, 6)), generator.normal(size=6)
    for H in (A + A.T, -A @ A.T, np.zeros((6, 6)), np.outer(g, g), np.diag([1.0, -1, 0, 1e9, 1e-9, 2])):
        assert newton_step(H, g) @ g < 0
        assert np.isfinite(newton_step(H, g)).all()
