"""Losses of a model's outputs: sums over examples, and their gradients, without overflow.

Each function takes outputs ``z`` (n, k) that it may overwrite, labels ``y`` (n,) and sample weights
(n,) or None, and returns ``(sums, dz)``: weighted float64 sums, and the gradient of the loss sum
with respect to ``z``, or None when no gradient is wanted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from mr_gradient.errors import DataError


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
    sums = _sums(loss, right, weight)
    if not gradient:
        return sums, None
    np.multiply(sign, e, out=t)
    e += ones
    t /= e
    if weight is not None:
        t *= weight.astype(z.dtype)
    return sums, z


def _sums(loss: np.ndarray, right: np.ndarray, weight: np.ndarray | None) -> dict[str, float]:
    """Sums over examples (n,), in float64, of their losses and of which were ``right``."""
    if weight is None:
        return {"loss": float(np.add.reduce(loss, dtype=np.float64)),
                "correct": float(np.count_nonzero(right))}
    return {"loss": float(np.sum(np.multiply(loss, weight, dtype=np.float64))),
            "correct": float(np.sum(weight[right], dtype=np.float64))}


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
    sums = _sums(loss, right, weight)
    if not gradient:
        return sums, None
    t /= total
    t[y, rows] -= 1
    if weight is not None:
        t *= weight.astype(z.dtype)
    return sums, t.T


def _weighted_sum(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Of float64 values (n,)."""
    return float(np.add.reduce(values if weight is None else values * weight))


def _derivative(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """dz (n, 1) from the derivatives (n,) of each example's loss, which are overwritten."""
    if weight is not None:
        values *= weight.astype(values.dtype)
    return values[:, None]


def huber(z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, gradient: bool,
          delta: float = 1.0) -> tuple:
    """loss = r^2 / 2 where |r| <= delta, else delta (|r| - delta / 2), with r = z - y, z (n, 1).

    Huber 1964, "Robust Estimation of a Location Parameter". With c, which is r cut off at +- delta
    and the derivative, both cases are c (r - c / 2).
    """
    error = z[:, 0]
    error -= y
    near = np.clip(error, -delta, delta)
    sums = {"loss": _weighted_sum(np.multiply(near, error - near / 2, dtype=np.float64), weight),
            "squared_error": _weighted_sum(np.square(error, dtype=np.float64), weight)}
    return sums, _derivative(near, weight) if gradient else None


def poisson(z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, gradient: bool) -> tuple:
    """loss = exp(z) - y z, z (n, 1) being the logarithm of the expected count, y >= 0.

    This is the negative log-likelihood without log(y!), which no parameter changes; half the
    deviance is y log(y) - y more. ``squared_error`` is that of exp(z). Raises ``DataError`` for a
    negative label.
    """
    if len(y) and y.min() < 0:
        raise DataError(f"label {y.min():g}: --model poisson needs counts, at least 0; remove these "
                        "rows, or choose linear or huber")
    t = z[:, 0]
    rate = poisson_rate(t)
    loss = np.subtract(rate, np.multiply(y, t, dtype=np.float64), dtype=np.float64)
    np.subtract(rate, y, out=t, casting="same_kind")
    sums = {"loss": _weighted_sum(loss, weight),
            "squared_error": _weighted_sum(np.square(t, dtype=np.float64), weight)}
    return sums, _derivative(t, weight) if gradient else None


def poisson_rate(z: np.ndarray) -> np.ndarray:
    """exp(z), the expected count.

    z is capped where exp(z), in float64 its square too, would overflow: infinity times a weight of
    zero would be NaN. The cap is 10^38, in float64 10^152: no parameters worth keeping reach it.
    """
    return np.exp(np.minimum(z, 88 if z.dtype == np.float32 else 350))


def squared_hinge(z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, gradient: bool) -> tuple:
    """loss = max(0, m)^2 with m = 1 - (2 y - 1) z, y in {0, 1}, z (n, 1).

    That of the L2-loss support vector machine (Fan et al. 2008, "LIBLINEAR", section 2), which is
    scikit-learn's LinearSVC.
    """
    t = z[:, 0]
    right = (t > 0) == (y != 0)
    sign = np.subtract(constant(1, len(t), z.dtype), y + y, dtype=z.dtype)
    t *= sign
    t += 1
    np.maximum(t, 0, out=t)
    sums = {"loss": _weighted_sum(np.square(t, dtype=np.float64), weight),
            "correct": float(np.count_nonzero(right)) if weight is None
            else float(np.sum(weight[right], dtype=np.float64))}
    if not gradient:
        return sums, None
    t *= sign
    t += t
    return sums, _derivative(t, weight)


def probabilities(loss: str, z: np.ndarray) -> np.ndarray:
    """What a user wants to see of outputs ``z`` (n, k): (n, classes), or values (n,).

    Values are z, or the expected count under ``poisson``. Classes have probabilities, but under
    ``squared_hinge``, which knows none: there they have the scores -z and z, z being the decision
    value of scikit-learn's LinearSVC. The largest of a row is the class in both cases.
    """
    if loss in ("squared", "huber"):
        return z[:, 0]
    if loss == "poisson":
        return poisson_rate(z[:, 0])
    if loss == "squared_hinge":
        return np.concatenate([-z, z], axis=1)
    if loss == "logistic":
        z = np.concatenate([np.zeros_like(z), z], axis=1)
    z = z - z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    return z / z.sum(axis=1, keepdims=True)


def has_probabilities(loss: str) -> bool:
    """Whether what is predicted for classes are probabilities, and not scores."""
    return loss in ("logistic", "softmax")


LOSSES = {"squared": squared, "huber": huber, "poisson": poisson, "logistic": logistic,
          "squared_hinge": squared_hinge, "softmax": softmax}


def with_options(loss: str, huber_delta: float) -> Callable[..., tuple]:
    """The function of a loss, with the option that it has."""
    return functools.partial(huber, delta=huber_delta) if loss == "huber" else LOSSES[loss]
