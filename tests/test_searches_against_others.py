"""Optima of the searches against scipy's and scikit-learn's. Not fast: one Python has them."""

import numpy as np
import pytest
from search_problems import Softmax, digits, drive, random_logistic, rosenbrock
from threadpoolctl import threadpool_limits

from mr_gradient.optimizers.lbfgs import LBFGS
from mr_gradient.optimizers.newton import Newton
from mr_gradient.optimizers.owlqn import OWLQN


@pytest.fixture(autouse=True)
def _one_blas_thread():
    with threadpool_limits(1):
        yield


TIGHT = {"gradient_tolerance": 1e-9, "objective_tolerance": 0}


def scipys(problem, start, memory=20, tolerance=1e-9):
    from scipy.optimize import minimize

    return minimize(lambda w: problem(w)[:2], start, jac=True, method="L-BFGS-B",
                    options={"maxcor": memory, "gtol": tolerance, "ftol": 0, "maxiter": 5000,
                             "maxfun": 10_000})


PROBLEMS = {"rosenbrock": (rosenbrock, np.array([-1.2, 1.0])),
            "digits": (Softmax(*digits(), 1e-2), np.zeros(650)),
            **{f"random {seed}": (random_logistic(seed), np.zeros(13)) for seed in range(3)},
            "wide": (random_logistic(5, rows=50, features=120), np.zeros(121))}
every_problem = pytest.mark.parametrize(("problem", "start"), PROBLEMS.values(), ids=PROBLEMS)


@every_problem
def test_lbfgs_finds_scipys_minimum_in_no_more_evaluations(problem, start):
    expected = scipys(problem, start)
    run = drive(LBFGS(**TIGHT), problem, start)
    assert run.reason == "the gradient is within its tolerance"
    # Of "wide" the intercept, without a penalty, hardly matters: 2e-5 of it for a gradient of 1e-9.
    np.testing.assert_allclose(run.parameters, expected.x, rtol=0, atol=1e-4)
    assert run.objective == pytest.approx(expected.fun, rel=1e-12, abs=1e-18)
    assert run.jobs <= 1.25 * expected.nfev


@pytest.mark.parametrize("seed", range(3))
def test_newton_finds_scipys_minimum(seed):
    problem = random_logistic(seed)
    run = drive(Newton(**TIGHT), problem, np.zeros(13))
    assert run.objective == pytest.approx(scipys(problem, np.zeros(13)).fun, rel=1e-13)


def sparse_logistic(seed, l1, l2):
    """Ours and scikit-learn's objective and weights, which has C = 1 / (n l1) for sums of losses."""
    from sklearn.linear_model import LogisticRegression

    problem = random_logistic(seed, l2=l2)
    rows, strength = len(problem.y), l1 + l2
    theirs = LogisticRegression(C=1 / (rows * strength), l1_ratio=l1 / strength, solver="saga",
                                tol=1e-10, max_iter=100_000)
    theirs.fit(problem.x[:, :-1], problem.y)
    w = np.append(theirs.coef_[0], theirs.intercept_)
    run = drive(OWLQN(l1, penalized=((0, 12),), **TIGHT), problem, np.zeros(13))
    return run, problem(w).objective + l1 * np.abs(w[:-1]).sum(), w


@pytest.mark.parametrize("l1", [0.003, 0.03])
@pytest.mark.parametrize("l2", [0.0, 0.01], ids=["l1", "elastic net"])
@pytest.mark.parametrize("seed", range(2))
def test_owlqn_finds_the_optimum_of_scikit_learns_saga(seed, l1, l2):
    run, objective, w = sparse_logistic(seed, l1, l2)
    assert run.reason == "the gradient is within its tolerance"
    assert run.objective <= objective * (1 + 1e-12)
    assert run.objective == pytest.approx(objective, rel=1e-8)
    np.testing.assert_array_equal(run.parameters == 0, w == 0)


@pytest.mark.parametrize("l1", [1e-3, 1e-2])
def test_owlqn_finds_what_scipy_finds_with_split_variables(l1):
    """w = u - v with u, v >= 0 makes L1 smooth: another program for the same optimum."""
    from scipy.optimize import minimize

    problem = Softmax(*digits(), 1e-3)
    k, size = problem.split, problem.size

    def split(both):
        found = problem(both[:size] - np.append(both[size:], np.zeros(size - k)))
        return (found.objective + l1 * (both[:k].sum() + both[size:].sum()),
                np.concatenate([found.gradient[:k] + l1, found.gradient[k:],
                                l1 - found.gradient[:k]]))

    bounds = [(0, None)] * k + [(None, None)] * (size - k) + [(0, None)] * k
    expected = minimize(split, np.zeros(size + k), jac=True, method="L-BFGS-B", bounds=bounds,
                        options={"maxcor": 30, "gtol": 1e-7, "ftol": 0, "maxiter": 10_000,
                                 "maxfun": 20_000})
    run = drive(OWLQN(l1, memory=30, penalized=((0, k),), gradient_tolerance=1e-7,
                      objective_tolerance=0), problem, np.zeros(size))
    assert run.reason == "the gradient is within its tolerance"
    assert run.objective == pytest.approx(expected.fun, rel=1e-8)
    assert run.jobs < expected.nfev


def test_softmax_on_digits_has_scikit_learns_optimum():
    from sklearn.linear_model import LogisticRegression

    x, y = digits()
    problem = Softmax(x, y, 1e-2)
    theirs = LogisticRegression(C=1 / (len(y) * 1e-2), solver="newton-cholesky", tol=1e-10)
    theirs.fit(x, y)
    expected = problem(np.append(theirs.coef_.ravel(), theirs.intercept_)).objective
    run = drive(LBFGS(**TIGHT), problem, np.zeros(650))
    assert run.objective == pytest.approx(expected, rel=1e-11)
