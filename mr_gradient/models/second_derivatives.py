"""Second derivatives of the losses by the outputs: the weights of Newton's Hessian.

The Hessian of the loss sum of a linear model is sum over examples of d x x^T, d being the second
derivative of the example's weighted loss: X^T diag(d) X (McCullagh and Nelder 1989, section 2.5). It
is never negative, so the Hessian of a convex model stays positive semidefinite.
"""

from __future__ import annotations

import numpy as np

from mr_gradient.models.losses import poisson_rate


def second_derivative(loss: str, z: np.ndarray, y: np.ndarray, weight: np.ndarray | None,
                      huber_delta: float = 1.0) -> np.ndarray:
    """d (n,), in the type of ``z`` (n, 1), for every loss of one output; ``z`` is left as it is.

    squared 1, logistic p (1 - p), poisson exp(z); huber 1 where |z - y| <= delta and squared_hinge 2
    within the margin, else 0: there the generalized second derivative (Mangasarian 2002).
    """
    t = z[:, 0]
    if loss == "squared":
        d = np.ones_like(t)
    elif loss == "huber":
        d = (np.abs(t - y) <= huber_delta).astype(t.dtype)
    elif loss == "poisson":
        d = poisson_rate(t)
    elif loss == "squared_hinge":
        d = np.where(np.where(y != 0, t, -t) < 1, 2, 0).astype(t.dtype)
    elif loss == "logistic":
        e = np.exp(-np.abs(t))  # p (1 - p) does not change with the sign of z
        d = e / np.square(1 + e)
    else:
        raise ValueError(f"{loss}: has no second derivative by one output")
    if weight is not None:
        d *= weight.astype(t.dtype)
    return d


def softmax_second_derivative(p: np.ndarray, first: int, second: int,
                              weight: np.ndarray | None) -> np.ndarray:
    """d (n,) by the outputs of two classes, from their probabilities p (n, classes).

    p_i (1 - p_i) of a class with itself, else -p_i p_j (Boehning 1992, "Multinomial logistic
    regression algorithm"); 1 - p_i is summed from the others, so that it keeps its digits near 1.
    """
    if first == second:
        d = p[:, first] * (p[:, :first].sum(axis=1) + p[:, first + 1:].sum(axis=1))
    else:
        d = -p[:, first] * p[:, second]
    if weight is not None:
        d *= weight.astype(p.dtype)
    return d
