"""L-BFGS: its direction against the paper's recursion, its search, its ends."""

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

from mr_gradient.errors import UsageError
from mr_gradient.optimizers import curvature, line_search
from mr_gradient.optimizers.base import pack
from mr_gradient.optimizers.lbfgs import LBFGS
from mr_gradient.optimizers.line_search import Bracket, Trial

pytestmark = pytest.mark.fast

TIGHT = LBFGS(gradient_tolerance=1e-10, objective_tolerance=0)


def two_loop(pairs, g):
    """Nocedal and Wright's algorithm 7.4 with H_k^0 from (7.20): r = H g."""
    q, alpha = g.copy(), {}
    for i in reversed(range(len(pairs))):
        s, y = pairs[i]
        rho = 1 / (y @ s)
        alpha[i] = rho * (s @ q)
        q = q - alpha[i] * y
    s, y = pairs[-1]
    r = (s @ y) / (y @ y) * q
    for i, (s, y) in enumerate(pairs):
        rho = 1 / (y @ s)
        beta = rho * (y @ r)
        r = r + s * (alpha[i] - beta)
    return r


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("size", [7, 40_000])
def test_direction_is_that_of_the_two_loop_recursion(size, count):
    """Also where pairs have been dropped, and over several chunks of the vectors."""
    generator, memory = np.random.default_rng(count), 4
    remembered, pairs = curvature.empty(memory), []
    for _ in range(count):
        s = generator.normal(size=size)
        y = s * generator.uniform(0.5, 2, size=size)
        remembered = curvature.remember(remembered, s, y)
        pairs = [*pairs, (s, y)][-memory:]
    g = generator.normal(size=size)
    assert len(remembered.steps) == len(pairs)
    np.testing.assert_allclose(curvature.direction(remembered, g), -two_loop(pairs, g),
                               rtol=1e-9, atol=1e-12)


def test_remembered_products_are_those_of_the_vectors():
    generator = np.random.default_rng(0)
    remembered = curvature.empty(3)
    for _ in range(5):
        s = generator.normal(size=50)
        remembered = curvature.remember(remembered, s, 2 * s + 0.1 * generator.normal(size=50))
    vectors = np.array([*remembered.steps, *remembered.changes])
    np.testing.assert_allclose(remembered.products, vectors @ vectors.T, rtol=1e-12)


@pytest.mark.parametrize("change", [-1.0, 0.0, float("nan")])
def test_a_pair_without_positive_curvature_is_left_out(change):
    s = np.ones(3)
    remembered = curvature.remember(curvature.empty(3), s, s)
    assert curvature.remember(remembered, s, change * s) is remembered


def test_sums_in_float64_of_vectors_in_float32():
    """A sum in float32 would lose the ones beside 2**24 and more."""
    ones = np.ones(2 ** 17, np.float32)
    large = np.full(2 ** 17, 2.0 ** 12, np.float32)
    large[1::2] = 1
    assert curvature.dot(large, large) == 2 ** 16 * 2.0 ** 24 + 2 ** 16
    assert curvature.combine(np.array([1.0, 2 ** -30]), [ones, ones]).dtype == np.float32


@pytest.mark.parametrize(("problem", "start", "minimum", "jobs"), [
    (parabola(), np.zeros(3), parabola().minimum, 20),
    (parabola(100, 30), np.zeros(30), parabola(100, 30).minimum, 110),
    (rosenbrock, np.array([-1.2, 1.0]), np.ones(2), 55)], ids=["parabola", "large", "rosenbrock"])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_minimum_is_found(problem, start, minimum, jobs, steps):
    """scipy's L-BFGS-B takes 14, 98 and 47 evaluations at the same memory and tolerance."""
    run = drive(LBFGS(gradient_tolerance=1e-9, objective_tolerance=0, steps=steps), problem, start)
    assert run.reason == "the gradient is within its tolerance"
    np.testing.assert_allclose(run.parameters, minimum, rtol=0, atol=1e-8)
    assert run.jobs < jobs


@pytest.mark.parametrize("problem", [
    random_logistic(0), random_logistic(1, l2=1e-5), random_logistic(2, rows=60, features=100),
    Softmax(*digits(), 1e-4)], ids=["random", "weak penalty", "wide", "digits"])
def test_at_most_11_jobs_for_10_steps(problem):
    run = drive(LBFGS(memory=30, gradient_tolerance=1e-6, objective_tolerance=0), problem,
                np.zeros(problem.size))
    assert run.reason == "the gradient is within its tolerance"
    assert run.jobs <= 1.1 * run.accepted + 1  # the 1 is the first job, which has no step


@pytest.mark.parametrize(("problem", "start"), [
    (rosenbrock, np.array([-1.2, 1.0])),
    (random_logistic(0), np.zeros(13)),
    (random_logistic(0, dtype=np.float32), np.zeros(13, np.float32))],
    ids=["rosenbrock", "logistic", "float32"])
def test_a_run_killed_after_every_job_has_the_same_bits(problem, start):
    assert_resumable(LBFGS(memory=4), problem, start)


def test_every_accepted_point_fulfils_the_strong_wolfe_conditions():
    """(3.7) with c1 = 1e-4, c2 = 0.9, from the points alone. Far from rounding."""
    run = drive(LBFGS(gradient_tolerance=1e-3), rosenbrock, np.array([-1.2, 1.0]))
    before = np.array([-1.2, 1.0])
    accepted = 0
    for parameters, _ in run.trace[1:]:
        if not np.array_equal(parameters, before):
            p, start, end = parameters - before, rosenbrock(before), rosenbrock(parameters)
            assert end.objective <= start.objective + 1e-4 * start.gradient @ p
            assert abs(end.gradient @ p) <= 0.9 * abs(start.gradient @ p)
            accepted += 1
        before = parameters
    assert accepted == run.accepted > 20


def test_a_rejected_step_leaves_the_parameters_and_asks_for_several():
    run = drive(LBFGS(first=5, trials=3), rosenbrock, np.array([-1.2, 1.0]))
    counts = [len(points) for points in run.points]
    assert counts[:2] == [1, 5]
    assert set(counts[2:]) == {1, 3}
    for index in range(2, run.jobs):
        if counts[index] == 3:
            assert run.trace[index - 1][0] is run.trace[index - 2][0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_gradient_at_the_start_and_constant_functions_end_after_one_job(dtype):
    start = np.ones(4, dtype)
    run = drive(LBFGS(), lambda w: Evaluation(3.0, np.zeros(4, dtype)), start)
    assert (run.jobs, run.reason) == (1, "the gradient is within its tolerance")
    np.testing.assert_array_equal(run.parameters, start)
    assert LBFGS().points(run.state, run.parameters) == []
    assert LBFGS().update([], run.state, run.parameters) == (run.parameters, run.state)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("edge", [1.5, 1e-3])
def test_a_step_to_where_the_objective_is_not_finite_is_shortened(bad, edge):
    """-log(edge - w) - log(w + 1): finite between -1 and the edge, and its minimum between."""
    def barrier(w):
        if not -1 < w[0] < edge:
            return Evaluation(bad, np.array([bad]))
        return Evaluation(-np.log(edge - w[0]) - np.log(w[0] + 1),
                          np.array([1 / (edge - w[0]) - 1 / (w[0] + 1)]))

    run = drive(TIGHT, barrier, np.array([-0.999]))
    np.testing.assert_allclose(run.parameters, [(edge - 1) / 2], rtol=0, atol=1e-9)
    assert all(np.isfinite(objective) for _, objective in run.trace)
    assert run.jobs < 40


def test_a_gradient_that_is_not_finite_counts_as_a_step_too_long():
    def problem(w):
        return Evaluation(w @ w / 2, w if np.abs(w).max() < 2 else w * np.nan)

    run = drive(TIGHT, problem, np.full(3, 1.9))
    np.testing.assert_allclose(run.parameters, np.zeros(3), atol=1e-9)


@pytest.mark.parametrize("evaluation", [
    Evaluation(math.nan, np.ones(2)), Evaluation(math.inf, np.ones(2)),
    Evaluation(1.0, np.array([1.0, math.nan]))], ids=["nan", "inf", "gradient"])
def test_a_start_that_is_not_finite_ends_at_once(evaluation):
    run = drive(LBFGS(), lambda w: evaluation, np.zeros(2))
    assert (run.jobs, run.reason) == (1, "the objective or its gradient is not finite at the start")


@pytest.mark.parametrize("problem", [
    lambda w: Evaluation(w.sum(), np.ones(3)),
    lambda w: Evaluation(-w @ w, -2 * w),
    lambda w: Evaluation(-np.exp(w[0]), np.array([-np.exp(w[0]), 0, 0])),
    lambda w: Evaluation(w[0] ** 3, np.array([3 * w[0] ** 2, 0, 0]))],
    ids=["linear", "concave", "exponential", "cubic"])
def test_an_objective_without_lower_bound_ends(problem):
    run = drive(LBFGS(gradient_tolerance=1e-10, objective_tolerance=0), problem, np.full(3, 0.7))
    assert run.reason
    assert run.jobs < 100
    assert np.isfinite(run.parameters).all()
    assert run.objective < -1000


def test_linear_objectives_are_said_to_have_no_lower_bound():
    run = drive(LBFGS(), lambda w: Evaluation(w.sum(), np.ones(3)), np.ones(3))
    assert run.reason == "the objective has no lower bound along the last direction"


@pytest.mark.parametrize("l2", [1e-2, 1e-4, 0.0])
@pytest.mark.parametrize("seed", range(3))
def test_float32_ends_near_the_optimum_without_endless_search(seed, l2):
    """Both tolerances out of reach: what ends it is rounding."""
    exact = drive(TIGHT, random_logistic(seed, l2=l2), np.zeros(13))
    problem = random_logistic(seed, l2=l2, dtype=np.float32)
    run = drive(LBFGS(gradient_tolerance=0, objective_tolerance=0), problem,
                np.zeros(13, np.float32))
    assert run.reason
    assert run.jobs < 3 * exact.jobs + 20
    at_end = random_logistic(seed, l2=l2)(run.parameters.astype(np.float64)).objective
    assert at_end <= exact.objective * (1 + 1e-6)
    assert run.parameters.dtype == np.float32


@pytest.mark.parametrize("seed", range(5))
def test_noise_in_the_objective_does_not_stop_the_gradient(seed):
    """Hager and Zhang's case: the objective is constant up to rounding, its slope is not."""
    problem, generator = parabola(), np.random.default_rng(seed)

    def noisy(w):
        found, noise = problem(w), generator.uniform(-1, 1)
        return Evaluation(1e3 * (1 + 1e-15 * noise) + 1e-14 * found.objective,
                          1e-14 * found.gradient)

    largest = np.abs(noisy(np.zeros(3)).gradient).max()
    search = LBFGS(gradient_tolerance=largest * 1e-3, objective_tolerance=0)
    run = drive(search, noisy, np.zeros(3))
    assert run.reason == "the gradient is within its tolerance"


def test_separable_data_without_penalty_end():
    x = np.array([[-2.0], [-1.0], [1.0], [3.0]])
    run = drive(LBFGS(gradient_tolerance=1e-6), Logistic(x, x[:, 0] > 0, 0.0), np.zeros(2))
    assert run.reason == "the gradient is within its tolerance"
    assert run.jobs < 60


def test_state_holds_each_pair_once_and_shares_it():
    problem = random_logistic(0)
    run = drive(LBFGS(memory=3), problem, np.zeros(13), jobs=8)
    before = pack(run.state)
    assert [name for name in before if name.startswith("curvature.steps")] == [
        f"curvature.steps.{i}" for i in range(3)]
    points = LBFGS(memory=3).points(run.state, run.parameters)
    _, state = LBFGS(memory=3).update([problem(point) for point in points], run.state,
                                      run.parameters)
    assert state.progress.accepted == run.accepted + 1
    assert state.curvature.steps[0] is run.state.curvature.steps[1]


def test_the_lowest_of_the_acceptable_trials_is_chosen():
    bracket = line_search.begin(1.0, -1.0)
    trials = [Trial(0.5, 0.6, -0.5), Trial(1.0, 0.4, 0.1), Trial(2.0, 0.3, 0.95),
              Trial(4.0, math.nan, 0.0)]
    assert line_search.choose(bracket, trials, 0.0) == 1  # at 2 the slope is too large
    assert line_search.choose(bracket, trials, 0.25) == 1
    assert line_search.choose(bracket, trials[2:], 0.0) is None


def test_a_bracket_keeps_a_step_that_is_acceptable_between_its_ends():
    bracket = line_search.narrow(line_search.begin(1.0, -1.0), [
        Trial(1.0, 0.2, -0.95), Trial(0.5, 0.6, -0.97), Trial(4.0, math.inf, math.nan)])
    assert (bracket.low_step, bracket.high_step, bracket.rounds) == (1.0, 4.0, 1)
    steps = line_search.next_steps(bracket, 3)
    assert len(set(steps)) == 3
    assert all(1 < step < 4 for step in steps)
    bracket = line_search.narrow(bracket, [Trial(2.0, 0.1, 3.0)])
    assert (bracket.low_step, bracket.high_step) == (2.0, 1.0)
    assert 1 < line_search.next_steps(bracket, 1)[0] < 2


def test_the_cubic_through_a_cubics_ends_has_its_minimum():
    """f(t) = t^3 / 3 - t has its minimum at 1."""
    def at(t):
        return Trial(t, t ** 3 / 3 - t, t * t - 1)
    bracket = Bracket(0.0, -1.0, *at(0.0), *at(2.5), rounds=1)
    assert line_search.next_steps(bracket, 1)[0] == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize(("options", "message"), [
    ({"memory": 0}, "--memory 0: must be"), ({"trials": 0}, "--trials 0: must be"),
    ({"steps": 0}, "--steps 0: must be"), ({"steps": 6}, "--steps 6: must be at most 5"),
    ({"gradient_tolerance": -1}, "--gradient-tolerance -1: must be")])
def test_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        LBFGS(**options)
