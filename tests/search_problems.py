"""Objectives with gradients and Hessians for the batch optimizers, and the loop that drives them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from mr_gradient.optimizers.base import Evaluation, pack, unpack

DIGITS = Path(__file__).resolve().parent.parent / "data" / "digits.csv"


@functools.cache
def digits():
    """x (1797, 64) scaled to [0, 1], y (1797,)."""
    table = np.loadtxt(DIGITS, delimiter=",", skiprows=1)
    return table[:, :-1] / 16, table[:, -1].astype(int)


def parabola(condition=100.0, size=3, seed=0):
    """f(w) = (w - m)^T A (w - m) / 2, eigenvalues of A from 1 to ``condition`` along turned axes."""
    generator = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(generator.normal(size=(size, size)))
    A = axes @ np.diag(np.geomspace(1, condition, size)) @ axes.T
    minimum = generator.normal(size=size)

    def evaluate(w):
        return Evaluation((w - minimum) @ A @ (w - minimum) / 2, A @ (w - minimum), A)
    evaluate.minimum = minimum
    return evaluate


def rosenbrock(w):
    """Rosenbrock 1960; its Hessian is indefinite where b > a^2 + 0.005."""
    a, b = w
    return Evaluation((1 - a) ** 2 + 100 * (b - a * a) ** 2,
                      np.array([-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)]),
                      np.array([[2 - 400 * b + 1200 * a * a, -400 * a], [-400 * a, 200.0]]))


class Softmax:
    """Mean log loss + l2 / 2 |W|^2; the vector is W (classes, features), then b (classes,)."""

    def __init__(self, x, y, l2, dtype=np.float64, hessian=False):
        self.x, self.y, self.l2, self.dtype = x.astype(dtype), y, l2, dtype
        self.classes, self.wants_hessian = int(y.max()) + 1, hessian
        self.split = self.classes * x.shape[1]
        self.size = self.split + self.classes

    def probabilities(self, w):
        W, b = w[:self.split].reshape(self.classes, -1), w[self.split:]
        z = self.x @ W.T + b
        z -= z.max(axis=1, keepdims=True)
        return z, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    def __call__(self, w):
        n, w = len(self.y), w.astype(self.dtype)
        z, p = self.probabilities(w)
        loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(n), self.y]
        penalized = w[:self.split].astype(np.float64)
        objective = loss.sum(dtype=np.float64) / n + self.l2 / 2 * penalized @ penalized
        error = p.copy()
        error[np.arange(n), self.y] -= 1
        gradient = np.concatenate([(error.T @ self.x).ravel(), error.sum(axis=0)]) / n
        gradient[:self.split] += self.l2 * w[:self.split]
        return Evaluation(objective, gradient.astype(self.dtype),
                          self.hessian(p) if self.wants_hessian else None)

    def hessian(self, p):
        n, k, wide = len(self.y), self.classes, np.column_stack([self.x, np.ones(len(self.y))])
        blocks = np.empty((k, wide.shape[1], k, wide.shape[1]))
        for i in range(k):
            for j in range(k):
                curvature = p[:, i] * ((i == j) - p[:, j]) / n
                blocks[i, :, j] = (wide.T * curvature) @ wide
        order = np.arange(k * wide.shape[1]).reshape(k, -1)
        order = np.concatenate([order[:, :-1].ravel(), order[:, -1]])
        full = blocks.reshape(k * wide.shape[1], -1)[np.ix_(order, order)]
        full[np.arange(self.split), np.arange(self.split)] += self.l2
        return full


class Logistic:
    """Mean logistic loss + l2 / 2 |w|^2, y in {0, 1}; the vector is w (features,), then b."""

    def __init__(self, x, y, l2, dtype=np.float64):
        self.x = np.column_stack([x, np.ones(len(y))]).astype(dtype)
        self.y, self.l2, self.dtype, self.size = y.astype(dtype), l2, dtype, x.shape[1] + 1

    def __call__(self, w):
        n, w = len(self.y), w.astype(self.dtype)
        z = self.x @ w
        penalty = self.l2 * np.append(np.ones(self.size - 1), 0)
        loss = (np.logaddexp(0, z) - self.y * z).sum(dtype=np.float64) / n
        p = 0.5 * (1 + np.tanh(z / 2))
        gradient = self.x.T @ (p - self.y) / n + penalty * w
        hessian = (self.x.T.astype(np.float64) * (p * (1 - p))) @ self.x / n + np.diag(penalty)
        wide = w.astype(np.float64)
        return Evaluation(loss + penalty @ wide ** 2 / 2, gradient.astype(self.dtype), hessian)


def random_logistic(seed=0, rows=400, features=12, l2=1e-3, dtype=np.float64):
    """Features of unlike size and mean, labels with noise."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, features)) * np.geomspace(0.2, 5, features)
    x += generator.normal(size=features)
    w = generator.normal(size=features) / np.geomspace(0.2, 5, features)
    y = x @ w - np.median(x @ w) + generator.logistic(size=rows) > 0
    return Logistic(x, y, l2, dtype)


class Run(NamedTuple):
    """``trace``: parameters and objective after each job; ``points`` evaluated in each."""

    parameters: np.ndarray
    state: Any
    reason: str
    points: list
    trace: list

    @property
    def jobs(self):
        return len(self.points)

    @property
    def accepted(self):
        return self.state.progress.accepted

    @property
    def objective(self):
        return self.state.objective


@threadpool_limits.wrap(limits=1)
def drive(search, problem, start, jobs=1000, resume=False, until=-np.inf):
    """One job after the other until the search ends; with ``resume``, killed after each.

    Writes in place into parameters or state raise.
    """
    parameters, points, trace = np.asarray(start).copy(), [], []
    state = search.init(parameters)
    while not search.reason(state) and len(points) < jobs:
        for array in (parameters, *pack(state).values()):
            array.setflags(write=False)
        with np.errstate(all="ignore"):
            asked = search.points(state, parameters)
            evaluations = [problem(point) for point in asked]
        parameters, state = search.update(evaluations, state, parameters)
        if resume:
            state = unpack(search.init(np.asarray(start)),
                           {name: array.copy() for name, array in pack(state).items()})
            parameters = parameters.copy()
        points.append(asked)
        trace.append((parameters, state.objective))
        if state.objective <= until:
            break
    return Run(parameters, state, search.reason(state), points, trace)


def assert_resumable(search, problem, start):
    """The bits of every job are those of a run that is killed after each."""
    whole, resumed = drive(search, problem, start), drive(search, problem, start, resume=True)
    assert whole.reason
    assert whole.reason == resumed.reason
    assert len(whole.points) == len(resumed.points)
    for ours, theirs in zip(whole.points, resumed.points):
        np.testing.assert_array_equal(ours, theirs)
    for (ours, objective), (theirs, other) in zip(whole.trace, resumed.trace):
        np.testing.assert_array_equal(ours, theirs)
        assert objective == other
    arrays = pack(resumed.state)
    for name, array in pack(whole.state).items():
        np.testing.assert_array_equal(array, arrays[name])
