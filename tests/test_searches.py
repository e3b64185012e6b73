"""What all searches have in common: the registry, first-order optimizers as searches, packing."""

import numpy as np
import pytest
from search_problems import Softmax, digits, drive, parabola, random_logistic

from mr_gradient import optimizers
from mr_gradient.errors import UsageError
from mr_gradient.optimizers.base import EachGradient, Evaluation, pack, unpack
from mr_gradient.optimizers.lbfgs import LBFGS
from mr_gradient.optimizers.newton import Newton
from mr_gradient.optimizers.owlqn import OWLQN
from mr_gradient.optimizers.sgd import Momentum

pytestmark = pytest.mark.fast

EXAMPLES = {"lbfgs": LBFGS(), "owlqn": OWLQN(0.01, penalized=((0, 12),)), "newton": Newton(),
            "momentum": EachGradient(Momentum(0.1))}
every_search = pytest.mark.parametrize("search", EXAMPLES.values(), ids=EXAMPLES)


def test_the_registry_makes_searches_of_both_kinds():
    options = {"memory": 7, "learning_rate": 0.3, "momentum": 0.5, "l1": 0.1, "penalized": ((0, 2),),
               "gradient_tolerance": None}
    assert optimizers.search("lbfgs", options) == LBFGS(memory=7)
    assert optimizers.search("owlqn", options) == OWLQN(0.1, memory=7, penalized=((0, 2),))
    assert optimizers.search("newton", options) == Newton()
    assert optimizers.search("momentum", options) == EachGradient(optimizers.create("momentum",
                                                                                    options))
    with pytest.raises(UsageError, match=r"--optimizer bfgs: must be one of gd, .*lbfgs, owlqn"):
        optimizers.search("bfgs", options)


def test_a_first_order_optimizer_as_a_search_takes_the_same_steps():
    problem, optimizer = parabola(), Momentum(4 / 121, (9 / 11) ** 2)
    search, w = EachGradient(optimizer), np.zeros(3)
    v, state, other = w, search.init(w), optimizer.init(w)
    for _ in range(20):
        points = search.points(state, w)
        np.testing.assert_array_equal(points, [w])
        w, state = search.update([problem(point) for point in points], state, w)
        v, other = optimizer.update(problem(v).gradient, other, v)
        np.testing.assert_array_equal(w, v)
        assert search.reason(state) == ""
    assert not search.wants_hessian


@every_search
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_updates_are_pure_and_keep_the_type(search, dtype):
    """Each update twice from arrays that cannot be written to."""
    problem = random_logistic(0, dtype=dtype)
    parameters = np.zeros(13, dtype)
    state = search.init(parameters)
    for _ in range(8):
        for array in (parameters, *pack(state).values()):
            array.setflags(write=False)
        points = search.points(state, parameters)
        assert all(point.dtype == dtype for point in points)
        evaluations = [problem(point) for point in points]
        new, after = search.update(evaluations, state, parameters)
        again, after_again = search.update(evaluations, state, parameters)
        np.testing.assert_array_equal(new, again)
        arrays, others = pack(after), pack(after_again)
        assert arrays.keys() == others.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, others[name])
        assert new.dtype == dtype
        parameters, state = new, after


@pytest.mark.parametrize("name", ["lbfgs", "owlqn", "newton"])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_search_ends_whatever_it_is_told(name, seed, dtype):
    """Objectives, gradients and Hessians drawn at random, some of them not finite."""
    generator = np.random.default_rng(seed)

    def liar(w):
        bad = generator.choice([0.0, np.nan, np.inf, -np.inf], p=[0.94, 0.02, 0.02, 0.02])
        hessian = generator.normal(size=(12, 12))
        return Evaluation(generator.exponential() + bad,
                          generator.normal(size=12).astype(dtype), hessian + hessian.T)

    search = {**EXAMPLES, "owlqn": OWLQN(0.1, penalized=((0, 9),))}[name]
    run = drive(search, liar, np.ones(12, dtype), jobs=2000)
    assert run.reason
    assert np.isfinite(run.parameters).all()


@every_search
def test_the_state_goes_through_its_packing_with_its_types(search):
    problem, parameters = random_logistic(0), np.zeros(13)
    state = search.init(parameters)
    for _ in range(5):
        found = unpack(search.init(np.zeros(13)), pack(state))
        assert type(found) is type(state)
        for one, other in zip(found, state):
            assert type(one) is type(other)
        points = search.points(state, parameters)
        parameters, state = search.update([problem(point) for point in points], state, parameters)


def test_gradients_of_another_type_leave_the_parameters_theirs():
    problem, search = random_logistic(0), LBFGS()
    parameters = np.zeros(13, np.float32)
    state = search.init(parameters)
    for _ in range(6):
        points = search.points(state, parameters)
        parameters, state = search.update([problem(point) for point in points], state, parameters)
        assert {array.dtype for array in (parameters, state.gradient, state.direction,
                                          *state.curvature.steps)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", ["lbfgs", "owlqn"])
def test_one_evaluation_object_may_serve_again(name):
    """A driver may reuse the array of its gradient: the state keeps its own."""
    problem, search = random_logistic(0), EXAMPLES[name]
    buffer, parameters = np.zeros(13), np.zeros(13)
    state = search.init(parameters)
    found = problem(parameters)
    buffer[:] = found.gradient
    parameters, state = search.update([Evaluation(found.objective, buffer)], state, parameters)
    buffer[:] = 0
    np.testing.assert_array_equal(state.gradient, found.gradient)


def test_the_softmax_of_the_tests_has_the_derivatives_that_it_says():
    """Central differences; all that the searches are tested with rests on it."""
    x, y = digits()
    problem = Softmax(x[:40, 10:15], y[:40], 0.1, hessian=True)
    w = np.random.default_rng(0).normal(size=problem.size)
    found = problem(w)
    for i in range(0, problem.size, 7):
        e = 1e-5 * (np.arange(problem.size) == i)
        up, down = problem(w + e), problem(w - e)
        assert found.gradient[i] == pytest.approx((up.objective - down.objective) / 2e-5, abs=1e-8)
        np.testing.assert_allclose(found.hessian[i], (up.gradient - down.gradient) / 2e-5, atol=1e-8)
