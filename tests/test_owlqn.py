"""OWL-QN: the paper's projections, exact zeros, its ends."""

import math

import numpy as np
import pytest
from search_problems import (
    Evaluation,
    Softmax,
    assert_resumable,
    digits,
    drive,
    parabola,
    random_logistic,
    rosenbrock,
)

from mr_gradient.errors import UsageError
from mr_gradient.optimizers.owlqn import OWLQN, pseudo_gradient

pytestmark = pytest.mark.fast

TIGHT = {"gradient_tolerance": 1e-9, "objective_tolerance": 0}


def paper_pseudo_gradient(x, g, C):
    """Andrew and Gao's equation 4: from the one-sided derivatives d- and d+ of f(x) + C |x|."""
    result = []
    for x_i, g_i, C_i in zip(x, g, C):
        sigma = np.sign(x_i)
        minus = g_i + (C_i * sigma if x_i else -C_i)
        plus = g_i + (C_i * sigma if x_i else C_i)
        result.append(minus if minus > 0 else plus if plus < 0 else 0.0)
    return np.array(result)


def paper_projection(x, y):
    """pi(x; y)_i = x_i where sigma(x_i) = sigma(y_i), else 0."""
    return np.where(np.sign(x) == np.sign(y), x, 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_pseudo_gradient_is_the_papers(seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=60) * generator.integers(0, 2, size=60)
    g, C = generator.normal(size=60), generator.uniform(0, 1, size=60)
    C[:20] = 0
    np.testing.assert_allclose(pseudo_gradient(g, x, C), paper_pseudo_gradient(x, g, C), rtol=1e-15)


def test_direction_and_points_are_the_papers_among_the_free_coordinates():
    """Points pi(x + alpha p; xi) with xi = sigma(x), or sigma(v) at 0 (equation 6). p = H v from the
    pairs' parts where x or v is not 0; there p is pi(p; v) at zeros, as in algorithm 1, step 2."""
    problem, C = random_logistic(3, features=30), np.append(np.full(30, 0.02), 0)
    search, zeros = OWLQN(0.02, penalized=((0, 30),), trials=3, **TIGHT), set()
    for jobs in range(3, 30):
        run = drive(search, problem, np.zeros(31), jobs=jobs)
        x, state = run.parameters, run.state
        v = -paper_pseudo_gradient(x, state.gradient, C)
        free = (x != 0) | (v != 0)
        pairs = [(s[free], y[free]) for s, y in zip(state.curvature.steps, state.curvature.changes)]
        p = np.zeros(31)
        p[free] = papers_two_loop([(s, y) for s, y in pairs if s @ y > 0], v[free])
        p = np.where(x == 0, paper_projection(p, v), p)
        np.testing.assert_allclose(state.direction, p, rtol=1e-6, atol=1e-9)
        xi = np.where(x == 0, np.sign(v), np.sign(x))
        steps = 0.5 ** (state.halvings + np.arange(3)) if state.halvings else [1.0]
        points = search.points(state, x)
        assert len(points) == len(steps)
        for step, point in zip(steps, points):
            expected = np.append(paper_projection(x + step * p, xi)[:-1], (x + step * p)[-1])
            np.testing.assert_allclose(point, expected, rtol=1e-6, atol=1e-9)
        zeros.add(np.count_nonzero(~free))
    assert len(zeros) > 3


def papers_two_loop(pairs, v):
    """H v, by Nocedal and Wright's algorithm 7.4."""
    q, alphas = v.copy(), []
    for s, y in reversed(pairs):
        alphas.append((s @ q) / (y @ s))
        q = q - alphas[-1] * y
    s, y = pairs[-1]
    q = q * (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(alphas)):
        q = q + s * (alpha - (y @ q) / (y @ s))
    return q


def soft(w, threshold):
    return np.sign(w) * np.maximum(np.abs(w) - threshold, 0)


def test_a_diagonal_parabola_has_its_soft_thresholds_as_minimum():
    """Coordinate by coordinate: argmin a (w - m)^2 / 2 + c |w| is soft(m, c / a); zeros are exact."""
    a, m = np.geomspace(0.5, 50, 20), np.linspace(-2, 2, 20)
    run = drive(OWLQN(1.0, penalized=((0, 8), (10, 20)), **TIGHT),
                lambda w: Evaluation(a @ (w - m) ** 2 / 2, a * (w - m)), np.zeros(20))
    expected = soft(m, 1.0 / a)
    expected[8:10] = m[8:10]
    assert run.reason == "the gradient is within its tolerance"
    np.testing.assert_allclose(run.parameters, expected, rtol=0, atol=1e-8)
    np.testing.assert_array_equal(run.parameters == 0, expected == 0)
    assert 2 <= np.count_nonzero(expected == 0) <= 12


def test_scaled_variables_have_the_optimum_of_the_model():
    """w = scale * u: searched in u, the penalty and the minimum are those of w."""
    problem = random_logistic(4)
    scale = np.append(np.geomspace(4, 0.2, 12), 1.0)

    def scaled(u):
        found = problem(scale * u)
        return Evaluation(found.objective, scale * found.gradient)

    plain = drive(OWLQN(0.01, penalized=((0, 12),), **TIGHT), problem, np.zeros(13))
    run = drive(OWLQN(0.01, penalized=((0, 12),), scale=scale, **TIGHT), scaled, np.zeros(13))
    assert plain.reason == run.reason == "the gradient is within its tolerance"
    assert run.objective == pytest.approx(plain.objective, rel=1e-12)
    np.testing.assert_allclose(scale * run.parameters, plain.parameters, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(run.parameters == 0, plain.parameters == 0)


@pytest.mark.parametrize("l1", [0.0, 1e-3, 1e-2, 1.0])
def test_the_optimum_fulfils_its_conditions(l1):
    """|g_i| <= l1 where w_i is 0, g_i = -l1 sigma(w_i) elsewhere, g_i = 0 without a penalty."""
    problem = Softmax(*digits(), 1e-3)
    run = drive(OWLQN(l1, penalized=((0, 640),), gradient_tolerance=1e-6, objective_tolerance=0,
                      memory=30), problem, np.zeros(650))
    assert run.reason == "the gradient is within its tolerance"
    w, g = run.parameters, problem(run.parameters).gradient
    strength = np.append(np.full(640, l1), np.zeros(10))
    assert (np.abs(g)[w == 0] <= strength[w == 0] + 1e-6).all()
    np.testing.assert_allclose(g[w != 0], -(strength * np.sign(w))[w != 0], rtol=0, atol=1e-6)
    assert run.jobs <= 1.1 * run.accepted + 1
    if l1 == 1.0:
        assert not w[:640].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_killed_after_every_job_has_the_same_bits(dtype):
    assert_resumable(OWLQN(0.01, memory=4, penalized=((0, 12),)), random_logistic(0, dtype=dtype),
                     np.zeros(13, dtype))


def test_objectives_of_accepted_points_only_fall():
    run = drive(OWLQN(0.5, penalized=((0, 2),), **TIGHT), rosenbrock, np.array([-1.2, 1.0]))
    objectives = [objective for _, objective in run.trace]
    assert np.diff(objectives).max() <= 1e-14
    assert run.reason
    start, end = np.array([-1.2, 1.0]), run.parameters
    assert run.objective == pytest.approx(rosenbrock(end).objective + 0.5 * np.abs(end).sum())
    assert run.objective < rosenbrock(start).objective + 0.5 * np.abs(start).sum()


def test_a_start_where_zero_is_best_ends_at_once():
    run = drive(OWLQN(1e3, penalized=((0, 3),)), parabola(), np.zeros(3))
    assert (run.jobs, run.reason) == (1, "the gradient is within its tolerance")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_step_to_where_the_objective_is_not_finite_is_shortened(bad):
    def barrier(w):
        if not -1 < w[0] < 1.5:
            return Evaluation(bad, np.array([bad]))
        return Evaluation(-np.log(1.5 - w[0]) - np.log(w[0] + 1),
                          np.array([1 / (1.5 - w[0]) - 1 / (w[0] + 1)]))

    run = drive(OWLQN(0.0, penalized=((0, 1),), **TIGHT), barrier, np.array([-0.999]))
    np.testing.assert_allclose(run.parameters, [0.25], rtol=0, atol=1e-8)
    run = drive(OWLQN(1.0, penalized=((0, 1),), **TIGHT), barrier, np.array([-0.999]))
    np.testing.assert_array_equal(run.parameters, [0.0])


@pytest.mark.parametrize("problem", [
    lambda w: Evaluation(2 * w.sum(), np.full(3, 2.0)), lambda w: Evaluation(-w @ w, -2 * w)],
    ids=["linear", "concave"])
def test_an_objective_without_lower_bound_ends(problem):
    run = drive(OWLQN(0.1, penalized=((0, 3),)), problem, np.ones(3))
    assert run.reason == "the objective has no lower bound along the last direction"
    assert run.jobs < 30
    assert run.objective < -1000


@pytest.mark.parametrize("seed", range(3))
def test_float32_ends_near_the_optimum_without_endless_search(seed):
    exact = drive(OWLQN(0.01, penalized=((0, 12),), **TIGHT), random_logistic(seed), np.zeros(13))
    run = drive(OWLQN(0.01, gradient_tolerance=0, objective_tolerance=0, penalized=((0, 12),)),
                random_logistic(seed, dtype=np.float32), np.zeros(13, np.float32))
    assert run.reason
    assert run.jobs < 3 * exact.jobs + 20
    assert run.objective == pytest.approx(exact.objective, rel=2e-6)


@pytest.mark.parametrize(("options", "message"), [
    ({"l1": -1.0}, "--l1 -1.0: must be"), ({"memory": 0}, "--memory 0: must be")])
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        OWLQN(**{"l1": 0.1, "penalized": (), **options})
