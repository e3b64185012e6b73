"""Every optimizer over the same table of problems; its state in a checkpoint."""

from typing import NamedTuple

import numpy as np
import pytest
from optimizer_problems import PROBLEMS, minimize

from mr_gradient import optimizers
from mr_gradient.errors import DataError, UsageError
from mr_gradient.optimizers.adaptive import Adam
from mr_gradient.optimizers.base import pack, unpack
from mr_gradient.optimizers.first_order import FirstOrder
from mr_gradient.optimizers.sgd import GradientDescent, Momentum

pytestmark = pytest.mark.fast

NAN, INF = float("nan"), float("inf")


# Optimizer -> problem -> (options, iterations). Gradient descent's and momentum's rates for the
# parabola are the best possible: 2 / (1 + 100) converges by 99/101 an iteration, Polyak's by 9/11,
# and Nesterov's 1 / 100 by 9/10. Steps that do not shrink with the gradient need a schedule.
SETTINGS = {
    "gd": {"parabola": ({"learning_rate": 2 / 101}, 1200),
           "rosenbrock": ({"learning_rate": 1.2e-3}, 40_000),
           "logistic": ({"learning_rate": 0.5}, 300)},
    "momentum": {"parabola": ({"learning_rate": 4 / 121, "momentum": (9 / 11) ** 2}, 150),
                 "rosenbrock": ({"learning_rate": 1e-3, "momentum": 0.9}, 8000),
                 "logistic": ({"learning_rate": 0.2, "momentum": 0.8}, 200)},
    "nesterov": {"parabola": ({"learning_rate": 1 / 100, "momentum": 9 / 11}, 250),
                 "rosenbrock": ({"learning_rate": 1e-3, "momentum": 0.9}, 6000),
                 "logistic": ({"learning_rate": 0.2, "momentum": 0.8}, 200)},
    "adagrad": {"parabola": ({"learning_rate": 1.0}, 1000),
                "rosenbrock": ({"learning_rate": 0.5}, 20_000),
                "logistic": ({"learning_rate": 0.3}, 1000)},
    "rmsprop": {"parabola": ({"learning_rate": 0.1, "schedule": "cosine"}, 1000),
                "rosenbrock": ({"learning_rate": 2e-3, "schedule": "cosine"}, 40_000),
                "logistic": ({"learning_rate": 0.03, "schedule": "cosine"}, 1000)},
    "adam": {"parabola": ({"learning_rate": 0.3}, 1000),
             "rosenbrock": ({"learning_rate": 0.02}, 5000),
             "logistic": ({"learning_rate": 0.1, "schedule": "cosine"}, 1000)},
}
SETTINGS["adamw"] = {problem: ({**options, "weight_decay": 0.0, "penalized": ()}, iterations)
                     for problem, (options, iterations) in SETTINGS["adam"].items()}
FIRST_ORDER = [name for name, kind in optimizers.REGISTRY.items() if issubclass(kind, FirstOrder)]
#: All that an update can depend on is on.
OPTIONS = {"learning_rate": 0.1, "penalized": ((0, 2), (3, 4)), "weight_decay": 0.3,
           "schedule": "cosine", "schedule_iterations": 30, "warmup": 5, "clip_norm": 0.5}
EXAMPLES = {name: optimizers.create(name, OPTIONS) for name in FIRST_ORDER}
every_optimizer = pytest.mark.parametrize("optimizer", EXAMPLES.values(), ids=EXAMPLES)
every_problem = pytest.mark.parametrize("problem", PROBLEMS)


@every_problem
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_the_minimum_is_found(name, problem):
    options, iterations = SETTINGS[name][problem]
    options = {**options, "schedule_iterations": iterations}
    last = minimize(optimizers.create(name, options), PROBLEMS[problem], iterations)[-1]
    np.testing.assert_allclose(last, PROBLEMS[problem].minimum, rtol=0, atol=1e-6)


def test_momentum_pays_on_the_ill_conditioned_parabola():
    problem = PROBLEMS["parabola"]
    plain = minimize(optimizers.create("gd", SETTINGS["gd"]["parabola"][0]), problem, 150)[-1]
    assert np.linalg.norm(plain - problem.minimum) > 0.01


@every_optimizer
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_are_pure_and_keep_the_type(optimizer, dtype):
    generator = np.random.default_rng(0)
    parameters, gradient = generator.normal(size=(2, 7)).astype(dtype)
    state = optimizer.init(parameters)
    _, state = optimizer.update(gradient, state, parameters)
    for array in (parameters, gradient, *state[1:]):
        array.setflags(write=False)  # a write in place raises
    first, first_state = optimizer.update(gradient, state, parameters)
    second, second_state = optimizer.update(gradient, state, parameters)
    assert first.dtype == dtype
    assert not np.shares_memory(first, parameters)
    np.testing.assert_array_equal(first, second)
    assert first_state.step == 2
    for one, other, before in zip(first_state[1:], second_state[1:], state[1:]):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, other)
        assert not np.shares_memory(one, before)


@every_optimizer
def test_a_resumed_optimizer_goes_on_with_the_same_bits(optimizer):
    """The warm-up ends and the rate goes down meanwhile, and gradients are clipped."""
    problem = PROBLEMS["logistic"]
    expected = minimize(optimizer, problem, 20)
    assert len(np.unique(expected, axis=0)) == 21
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
    assert optimizers.create("adam", {"learning_rate": None}) == Adam(0.001)
    with pytest.raises(UsageError, match="--optimizer adan: must be one of gd, momentum"):
        optimizers.create("adan", options)
    with pytest.raises(TypeError, match="penalized"):  # else nobody would see what is not decayed
        optimizers.create("adamw", options)


@pytest.mark.parametrize(("name", "field", "values", "message"), [
    ("gd", "learning_rate", [0, -1, NAN, INF], "must be a finite number, above 0"),
    ("gd", "clip_norm", [-1, NAN, INF], "must be a finite number, at least 0"),
    ("momentum", "momentum", [-0.1, 1, NAN], "must be at least 0 and below 1"),
    ("nesterov", "momentum", [-0.1, 1, NAN], "must be at least 0 and below 1"),
    ("adagrad", "epsilon", [0, -1, 1e-40, NAN], "must be a finite number, at least 1e-37"),
    ("rmsprop", "epsilon", [0, 1e-40, INF], "must be a finite number, at least 1e-37"),
    ("rmsprop", "decay", [-0.1, 1, NAN], "must be at least 0 and below 1"),
    ("adam", "beta1", [-0.1, 1, NAN], "must be at least 0 and below 1"),
    ("adam", "beta2", [-0.1, 1, NAN], "must be at least 0 and below 1"),
    ("adamw", "epsilon", [0, NAN], "must be a finite number, at least 1e-37"),
    ("adamw", "weight_decay", [-1, NAN, INF], "must be a finite number, at least 0")])
def test_wrong_values_are_refused_by_the_name_of_the_option(name, field, values, message):
    option = "--" + field.replace("_", "-")
    for value in values:
        with pytest.raises(UsageError) as refused:
            optimizers.create(name, {field: value, "penalized": ()})
        assert str(refused.value) == f"{option} {value}: {message}"
