"""The problems that every optimizer must solve, and the path that it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

DIGITS = Path(__file__).resolve().parent.parent / "data/digits.csv"


class Problem(NamedTuple):
    """A function to minimize, given by its gradient, and where its minimum is."""

    gradient: Callable[[np.ndarray], np.ndarray]
    start: np.ndarray
    minimum: np.ndarray


def parabola() -> Problem:
    """f(w) = (w - m)^T A (w - m) / 2, A with eigenvalues 1, 10 and 100 along turned axes."""
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    A = axes @ np.diag([1.0, 10.0, 100.0]) @ axes.T
    minimum = np.array([3.0, -1.0, 0.5])
    return Problem(lambda w: A @ (w - minimum), np.zeros(3), minimum)


def rosenbrock() -> Problem:
    """f(a, b) = (1 - a)^2 + 100 (b - a^2)^2 (Rosenbrock 1960), from his starting point."""
    return Problem(lambda w: np.array([-2 * (1 - w[0]) - 400 * w[0] * (w[1] - w[0] ** 2),
                                       200 * (w[1] - w[0] ** 2)]),
                   np.array([-1.2, 1.0]), np.ones(2))


def logistic_regression() -> Problem:
    """Is a digit 5 or more? Mean logistic loss with penalty 0.05 |w|^2; Newton knows the minimum."""
    table = np.loadtxt(DIGITS, delimiter=",", skiprows=1)
    x = np.column_stack([table[:, :64] / 16, np.ones(len(table))])
    y = (table[:, 64] >= 5).astype(float)

    def probability(w: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(x @ w)))

    def gradient(w: np.ndarray) -> np.ndarray:
        return (probability(w) - y) @ x / len(y) + 0.1 * w

    w = np.zeros(65)
    for _ in range(20):
        p = probability(w)
        hessian = (x.T * (p * (1 - p))) @ x / len(y) + 0.1 * np.eye(65)
        w = w - np.linalg.solve(hessian, gradient(w))
    return Problem(gradient, np.zeros(65), w)


PROBLEMS = {"parabola": parabola(), "rosenbrock": rosenbrock(), "logistic": logistic_regression()}


def minimize(optimizer: object, problem: Problem, iterations: int) -> np.ndarray:
    """All points, (iterations + 1, size)."""
    points, state = [problem.start], optimizer.init(problem.start)
    for _ in range(iterations):
        point, state = optimizer.update(problem.gradient(points[-1]), state, points[-1])
        points.append(point)
    return np.array(points)
