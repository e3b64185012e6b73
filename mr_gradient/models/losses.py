"""Losses of a model's outputs: sums over examples, and their gradients, without overflow.

Each function takes outputs ``z`` (n, k) that it may overwrite, labels ``y`` (n,) and sample weights
(n,) or None, and returns ``(sums, dz)``: weighted float64 sums, and the gradient of the loss sum
with respect to ``z``, or None when no gradient is wanted.
"""

from __future__ import annotations

import functools

import numpy as np


@functools.lru_cache(maxsize=16)
def constant(value: float, size: int, dtype: np.dtype) -> np.ndarray:
    """A read-only array of one value: on a chunk, numpy's scalars cost twice what arrays do."""
    array = np.full(size, value, dtype)
    array.flags.writeable = False
    return array


def squared(z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, gradient: bool) -> tuple:
    """loss = (z - y)^2 / 2, z (n, 1)."""
    error = z
    error[:, 0] -= y
    flat = error[:, 0]
    if weight is None:
        total = float(np.sum(np.square(flat, dtype=np.float64)))
    else:
        total = float(np.sum(np.square(flat, dtype=np.float64) * weight))
        error *= weight.astype(z.dtype)[:, None]
    return {"loss": total / 2, "squared_error": total}, error if gradient else None


def logistic(z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, gradient: bool) -> tuple:
    """loss = log(1 + exp(t)) with t = (1 - 2 y) z, y in {0, 1}, z (n, 1).

    One exponential e = exp(t) serves the loss, log1p(e), and its derivative, e / (1 + e). Above 80
    both have long reached their limits, t and 1, so t is capped there and nothing overflows.
    """
    t = z[:, 0]
    ones = constant(1, len(t), z.dtype)
    one_is_right = y.view(bool) if y.dtype == np.uint8 else y != 0
    right = np.greater(t, constant(0, len(t), z.dtype)) == one_is_right
    sign = np.subtract(ones, y + y, dtype=z.dtype)
    t *= sign
    large = np.maximum.reduce(t, initial=0) > 80
    e = np.exp(np.minimum(t, 80) if large else t)
    loss = np.log1p(e)
    if large:
        np.maximum(loss, t, out=loss)
    if weight is None:
        sums = {"loss": float(np.add.reduce(loss, dtype=np.float64)),
                "correct": float(np.count_nonzero(right))}
    else:
        sums = {"loss": float(np.sum(np.multiply(loss, weight, dtype=np.float64))),
                "correct": float(np.sum(weight[right], dtype=np.float64))}
    if not gradient:
        return sums, None
    np.multiply(sign, e, out=t)
    e += ones
    t /= e
    if weight is not None:
        t *= weight.astype(z.dtype)
    return sums, z


def softmax(z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, gradient: bool) -> tuple:
    """loss = log(sum_j exp(z_j)) - z_y, z (n, classes).

    Computed on the transposed copy (classes, n), where every reduction runs along memory.
    """
    rows = np.arange(len(y))
    t = np.ascontiguousarray(z.T)
    right = t.argmax(axis=0) == y
    t -= t.max(axis=0)
    chosen = t[y, rows]
    np.exp(t, out=t)
    total = t.sum(axis=0)
    loss = np.log(total)
    loss -= chosen
    if weight is None:
        sums = {"loss": float(np.sum(loss, dtype=np.float64)),
                "correct": float(np.count_nonzero(right))}
    else:
        sums = {"loss": float(np.sum(np.multiply(loss, weight, dtype=np.float64))),
                "correct": float(np.sum(weight[right], dtype=np.float64))}
    if not gradient:
        return sums, None
    t /= total
    t[y, rows] -= 1
    if weight is not None:
        t *= weight.astype(z.dtype)
    return sums, t.T


def probabilities(loss: str, z: np.ndarray) -> np.ndarray:
    """What a user wants to see of outputs ``z`` (n, k): (n, classes), or values (n,)."""
    if loss == "squared":
        return z[:, 0]
    if loss == "logistic":
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    z = z - z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    return z / z.sum(axis=1, keepdims=True)


LOSSES = {"squared": squared, "logistic": logistic, "softmax": softmax}
