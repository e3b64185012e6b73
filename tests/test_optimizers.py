"""Every optimizer over the same table of problems, and against the formula in its paper."""

from typing import NamedTuple

import numpy as np
import pytest

from mr_gradient import optimizers
from mr_gradient.errors import DataError, UsageError
from mr_gradient.optimizers.base import pack, unpack
from mr_gradient.optimizers.sgd import GradientDescent, Momentum

pytestmark = pytest.mark.fast


class Problem(NamedTuple):
    """A function to minimize, given by its gradient, and where its minimum is."""

    gradient: object
    start: np.ndarray
    minimum: np.ndarray


def parabola():
    """f(w) = (w - m)^T A (w - m) / 2, A with eigenvalues 1, 10 and 100 along turned axes."""
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    A = axes @ np.diag([1.0, 10.0, 100.0]) @ axes.T
    minimum = np.array([3.0, -1.0, 0.5])
    return Problem(lambda w: A @ (w - minimum), np.zeros(3), minimum)


def rosenbrock():
    """f(a, b) = (1 - a)^2 + 100 (b - a^2)^2 (Rosenbrock 1960), from his starting point."""
    return Problem(lambda w: np.array([-2 * (1 - w[0]) - 400 * w[0] * (w[1] - w[0] ** 2),
                                       200 * (w[1] - w[0] ** 2)]),
                   np.array([-1.2, 1.0]), np.ones(2))


def logistic_regression():
    """Mean logistic loss with penalty 0.05 |w|^2; Newton's method knows the minimum."""
    generator = np.random.default_rng(1)
    x = generator.normal(size=(200, 5)) * [1, 2, 3, 0.5, 1]
    y = (x @ [1, -1, 0.5, 2, 0] + generator.normal(size=200) > 0).astype(float)

    def gradient(w):
        return x.T @ (1 / (1 + np.exp(-x @ w)) - y) / 200 + 0.1 * w

    w = np.zeros(5)
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x.T * (p * (1 - p))) @ x / 200 + 0.1 * np.eye(5)
        w = w - np.linalg.solve(hessian, gradient(w))
    return Problem(gradient, np.zeros(5), w)


PROBLEMS = {"parabola": parabola(), "rosenbrock": rosenbrock(), "logistic": logistic_regression()}
# Optimizer -> problem -> (options, iterations). The rates for the parabola are the best possible:
# 2 / (1 + 100) converges by 99/101 an iteration, Polyak's by 9/11.
SETTINGS = {
    "gd": {"parabola": ({"learning_rate": 2 / 101}, 1200),
           "rosenbrock": ({"learning_rate": 1.2e-3}, 40_000),
           "logistic": ({"learning_rate": 0.5}, 500)},
    "momentum": {"parabola": ({"learning_rate": 4 / 121, "momentum": (9 / 11) ** 2}, 150),
                 "rosenbrock": ({"learning_rate": 1e-3, "momentum": 0.9}, 8000),
                 "logistic": ({"learning_rate": 0.1, "momentum": 0.8}, 500)},
}
EXAMPLES = {"gd": GradientDescent(0.1), "momentum": Momentum(0.1, 0.9)}
every_optimizer = pytest.mark.parametrize("optimizer", EXAMPLES.values(), ids=EXAMPLES)
every_problem = pytest.mark.parametrize("problem", PROBLEMS)


def minimize(optimizer, problem, iterations):
    """All points, (iterations + 1, size)."""
    points, state = [problem.start], optimizer.init(problem.start)
    for _ in range(iterations):
        point, state = optimizer.update(problem.gradient(points[-1]), state, points[-1])
        points.append(point)
    return np.array(points)


@every_problem
@pytest.mark.parametrize("name", optimizers.REGISTRY)
def test_the_minimum_is_found(name, problem):
    options, iterations = SETTINGS[name][problem]
    last = minimize(optimizers.create(name, options), PROBLEMS[problem], iterations)[-1]
    np.testing.assert_allclose(last, PROBLEMS[problem].minimum, rtol=0, atol=1e-6)


def test_momentum_pays_on_the_ill_conditioned_parabola():
    problem = PROBLEMS["parabola"]
    plain = minimize(optimizers.create("gd", SETTINGS["gd"]["parabola"][0]), problem, 150)[-1]
    assert np.linalg.norm(plain - problem.minimum) > 0.01


@every_problem
def test_gradient_descent_is_cauchys(problem):
    """x_{k+1} = x_k - alpha grad f(x_k)."""
    (options, _), f = SETTINGS["gd"][problem], PROBLEMS[problem]
    alpha, x = options["learning_rate"], [f.start]
    for k in range(200):
        x.append(x[k] - alpha * f.gradient(x[k]))
    np.testing.assert_array_equal(minimize(GradientDescent(**options), f, 200), x)


@every_problem
@pytest.mark.parametrize("beta", [0.0, 0.5, None], ids=["0", "0.5", "of the table"])
def test_momentum_is_polyaks(problem, beta):
    """x_{k+1} = x_k - alpha grad f(x_k) + beta (x_k - x_{k-1}), x_{-1} = x_0: Polyak 1964.

    Ours keeps v_k = (x_{k-1} - x_k) / alpha instead of x_{k-1}: the same for a constant alpha.
    """
    (options, _), f = SETTINGS["momentum"][problem], PROBLEMS[problem]
    alpha, beta = options["learning_rate"], options["momentum"] if beta is None else beta
    x = [f.start, f.start - alpha * f.gradient(f.start)]
    for k in range(1, 100):
        x.append(x[k] - alpha * f.gradient(x[k]) + beta * (x[k] - x[k - 1]))
    np.testing.assert_allclose(minimize(Momentum(alpha, beta), f, 100), x, rtol=1e-9, atol=1e-12)


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_are_pure_and_keep_the_type(optimizer, dtype):
    generator = np.random.default_rng(0)
    parameters, gradient = generator.normal(size=(2, 7)).astype(dtype)
    state = optimizer.init(parameters)
    _, state = optimizer.update(gradient, state, parameters)
    for array in (parameters, gradient, *state):
        array.setflags(write=False)  # a write in place raises
    first, first_state = optimizer.update(gradient, state, parameters)
    second, second_state = optimizer.update(gradient, state, parameters)
    assert first.dtype == dtype
    assert not np.shares_memory(first, parameters)
    np.testing.assert_array_equal(first, second)
    for one, other, before in zip(first_state, second_state, state):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, other)
        assert not np.shares_memory(one, before)


@every_optimizer
def test_a_resumed_optimizer_goes_on_with_the_same_bits(optimizer):
    problem = PROBLEMS["logistic"]
    expected = minimize(optimizer, problem, 20)
    point, state = problem.start, optimizer.init(problem.start)
    for _ in range(20):
        point, state = optimizer.update(problem.gradient(point), state, point)
        state = unpack(optimizer.init(problem.start), pack(state))
    np.testing.assert_array_equal(point, expected[-1])


class State(NamedTuple):
    """What optimizers to come will keep: a vector, a matrix, counters, scalars."""

    velocity: np.ndarray
    pairs: np.ndarray
    step: int
    rate: float
    scale: np.float32


STATE = State(np.arange(3, dtype=np.float32), np.ones((2, 3)), 7, 0.1, np.float32(0.3))


def test_pack_and_unpack_are_inverse():
    arrays = pack(STATE)
    assert {name: array.shape for name, array in arrays.items()} == {
        "velocity": (3,), "pairs": (2, 3), "step": (), "rate": (), "scale": ()}
    zeros = State(np.zeros(3, np.float32), np.zeros((2, 3)), 0, 0.0, np.float32(0))
    found = unpack(zeros, arrays)
    for one, other in zip(found, STATE):
        assert type(one) is type(other)
        np.testing.assert_array_equal(one, other)
    found.velocity[0] = 5  # the state owns its arrays, also when they came from a mapped file
    assert STATE.velocity[0] == 0


@pytest.mark.parametrize(("change", "message"), [
    ({"velocity": None}, r"'velocity' must be float32\(3,\), found nothing"),
    ({"velocity": np.zeros(4, np.float32)}, r"must be float32\(3,\), found float32\(4,\)"),
    ({"velocity": np.zeros(3)}, r"must be float32\(3,\), found float64\(3,\)"),
    ({"pairs": np.zeros((3, 2))}, r"'pairs' must be float64\(2, 3\), found float64\(3, 2\)"),
    ({"step": np.zeros(1, np.int64)}, r"'step' must be int64\(\), found int64\(1,\)"),
    ({"rate": np.array(1)}, r"'rate' must be float64\(\), found int64\(\)")])
def test_unpack_refuses_another_state(change, message):
    arrays = {name: array for name, array in {**pack(STATE), **change}.items() if array is not None}
    with pytest.raises(DataError, match=message):
        unpack(STATE, arrays)


def test_create_takes_the_options_that_an_optimizer_has():
    options = {"learning_rate": 0.3, "momentum": 0.7, "depth": 3}
    assert optimizers.create("gd", options) == GradientDescent(0.3)
    assert optimizers.create("momentum", options) == Momentum(0.3, 0.7)
    with pytest.raises(UsageError, match="--optimizer adam: must be one of gd, momentum"):
        optimizers.create("adam", options)
