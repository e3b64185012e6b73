"""Every optimizer against a rewrite in the symbols of its paper: plain Python, number by number."""

from math import sqrt

import numpy as np
import pytest
from optimizer_problems import PROBLEMS, minimize

from mr_gradient.optimizers.adaptive import Adagrad, Adam, AdamW, RMSProp
from mr_gradient.optimizers.sgd import GradientDescent, Momentum, Nesterov

pytestmark = pytest.mark.fast

ITERATIONS = 60
every_problem = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
every_momentum = pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])


def rate(problem):
    """A step at which no path blows up, so that rounding stays rounding."""
    return 1e-3 if problem is PROBLEMS["rosenbrock"] else 1e-2


def gradient(problem, point):
    return problem.gradient(np.array(point)).tolist()


def assert_same_path(optimizer, problem, expected):
    found = minimize(optimizer, problem, len(expected) - 1)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-13)
    assert not np.allclose(found[-1], found[0], rtol=1e-3)


@every_problem
def test_gradient_descent_is_cauchys(problem):
    """x_{k+1} = x_k - alpha grad f(x_k)."""
    alpha, x = rate(problem), [problem.start.tolist()]
    for _ in range(ITERATIONS):
        x.append([a - alpha * g for a, g in zip(x[-1], gradient(problem, x[-1]))])
    np.testing.assert_array_equal(minimize(GradientDescent(alpha), problem, ITERATIONS), x)


@every_problem
@every_momentum
def test_momentum_is_polyaks(problem, mu):
    """x_{k+1} = x_k - alpha grad f(x_k) + beta (x_k - x_{k-1}), x_{-1} = x_0: Polyak 1964.

    Ours keeps v_k = (x_{k-1} - x_k) / alpha instead of x_{k-1}: the same for a constant alpha.
    """
    alpha, beta, x = rate(problem), mu, [problem.start.tolist()]
    before = x[0]
    for _ in range(ITERATIONS):
        now = x[-1]
        x.append([a - alpha * g + beta * (a - b)
                  for a, b, g in zip(now, before, gradient(problem, now))])
        before = now
    assert_same_path(Momentum(alpha, mu), problem, x)


@every_problem
@every_momentum
def test_nesterov_is_sutskevers(problem, mu):
    """v_{t+1} = mu v_t - epsilon grad f(theta_t + mu v_t), theta_{t+1} = theta_t + v_{t+1}.

    Equations 3 and 4 of Sutskever et al. 2013; our parameters are theta_t + mu v_t.
    """
    epsilon, theta = rate(problem), problem.start.tolist()
    v, ahead = [0.0] * len(theta), [theta]
    for _ in range(ITERATIONS):
        point = [a + mu * b for a, b in zip(theta, v)]
        v = [mu * b - epsilon * g for b, g in zip(v, gradient(problem, point))]
        theta = [a + b for a, b in zip(theta, v)]
        ahead.append([a + mu * b for a, b in zip(theta, v)])
    assert_same_path(Nesterov(epsilon, mu), problem, ahead)


@every_problem
def test_adagrad_is_duchis(problem):
    """s_{t,i} = |g_{1:t,i}|_2, H_t = delta I + diag(s_t), x_{t+1} = x_t - eta H_t^-1 g_t."""
    eta, delta, x = 10 * rate(problem), 1e-6, [problem.start.tolist()]
    g = []
    for _ in range(ITERATIONS):
        g.append(gradient(problem, x[-1]))
        s = [sqrt(sum(each[i] ** 2 for each in g)) for i in range(len(x[0]))]
        x.append([a - eta * b / (delta + c) for a, b, c in zip(x[-1], g[-1], s)])
    assert_same_path(Adagrad(eta, epsilon=delta), problem, x)


@every_problem
@pytest.mark.parametrize("alpha", [0.0, 0.9, 0.99])
def test_rmsprop_is_hintons(problem, alpha):
    """MeanSquare(w, t) = alpha MeanSquare(w, t-1) + (1 - alpha) (dE/dw)^2; lecture 6.5, slide 29."""
    eta, epsilon, w = rate(problem), 1e-6, [problem.start.tolist()]
    mean_square = [0.0] * len(w[0])
    for _ in range(ITERATIONS):
        g = gradient(problem, w[-1])
        mean_square = [alpha * m + (1 - alpha) * b * b for m, b in zip(mean_square, g)]
        w.append([a - eta * b / (sqrt(m) + epsilon) for a, b, m in zip(w[-1], g, mean_square)])
    assert_same_path(RMSProp(eta, alpha, epsilon), problem, w)


def adam(problem, alpha, beta_1, beta_2, epsilon, lamda=0.0, decayed=()):
    """Algorithm 1 of Kingma and Ba 2015; with ``lamda`` algorithm 2 of Loshchilov and Hutter 2019,
    whose lambda is alpha * lamda, for the coordinates ``decayed``."""
    theta = [problem.start.tolist()]
    m, v = [0.0] * len(theta[0]), [0.0] * len(theta[0])
    for t in range(1, ITERATIONS + 1):
        g = gradient(problem, theta[-1])
        m = [beta_1 * a + (1 - beta_1) * b for a, b in zip(m, g)]
        v = [beta_2 * a + (1 - beta_2) * b ** 2 for a, b in zip(v, g)]
        m_hat = [a / (1 - beta_1 ** t) for a in m]
        v_hat = [a / (1 - beta_2 ** t) for a in v]
        theta.append([w - alpha * a / (sqrt(b) + epsilon) - (alpha * lamda * w if i in decayed else 0)
                      for i, (w, a, b) in enumerate(zip(theta[-1], m_hat, v_hat))])
    return theta


@every_problem
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9), (0.5, 0.5)])
def test_adam_is_kingmas_and_bas(problem, betas):
    expected = adam(problem, rate(problem), *betas, 1e-6)
    assert_same_path(Adam(rate(problem), *betas, 1e-6), problem, expected)


@every_problem
def test_adamw_is_loshchilovs_and_hutters(problem):
    alpha, size = rate(problem), len(problem.start)
    ranges = ((0, 1), (2, size - 1))  # the last is the intercept
    decayed = [i for start, stop in ranges for i in range(start, stop)]
    expected = adam(problem, alpha, 0.9, 0.999, 1e-6, 0.3, decayed)
    assert_same_path(AdamW(alpha, epsilon=1e-6, weight_decay=0.3, penalized=ranges), problem, expected)


def test_adamw_decays_nothing_but_what_is_penalized():
    """With a gradient of zero nothing else moves."""
    w = np.arange(1.0, 7.0, dtype=np.float32)
    optimizer = AdamW(0.5, weight_decay=0.5, penalized=((0, 2), (3, 5)))
    found, _ = optimizer.update(np.zeros_like(w), optimizer.init(w), w)
    np.testing.assert_array_equal(found, w * np.float32([0.75, 0.75, 1, 0.75, 0.75, 1]))


def test_the_first_step_of_adam_is_the_learning_rate_whatever_the_gradients_size():
    """Kingma and Ba 2015, section 2.1: this is what the correction of the bias is for."""
    for dtype, small in ((np.float32, 1e-12), (np.float64, 1e-20)):
        g = np.array([small, -1, 1e10], dtype)
        optimizer = Adam(0.25, epsilon=1e-37)
        found, _ = optimizer.update(g, optimizer.init(g), np.zeros_like(g))
        np.testing.assert_allclose(found, [-0.25, 0.25, -0.25], rtol=1e-5)
