"""Clipping of gradients by their global norm.

Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks",
algorithm 1: a gradient longer than the limit is scaled to the limit; its direction stays.
"""

from __future__ import annotations

import math

import numpy as np

_CHUNK = 65536


def global_norm(gradient: np.ndarray) -> float:
    """The Euclidean norm of a whole flat gradient (size,), added up in float64."""
    norm = math.sqrt(_sum_of_squares(gradient, 1.0))
    if not math.isinf(norm):
        return norm
    # Only squares of float64 numbers can overflow while their norm does not.
    largest = float(np.abs(gradient).max())
    return largest * math.sqrt(_sum_of_squares(gradient, largest))


def _sum_of_squares(gradient: np.ndarray, scale: float) -> float:
    total = 0.0
    with np.errstate(all="ignore"):  # what is not finite is reported by whoever divides by it
        for start in range(0, len(gradient), _CHUNK):
            part = gradient[start:start + _CHUNK].astype(np.float64)
            if scale != 1:
                part /= scale
            total += float(part @ part)
    return total


def clip_by_global_norm(gradient: np.ndarray, limit: float) -> np.ndarray:
    """The gradient itself, or a new one of norm ``limit`` if it is longer; 0 is no limit.

    A gradient that is not finite comes back as it is: the driver reports it.
    """
    norm = global_norm(gradient) if limit else 0.0
    if not (norm > limit and math.isfinite(norm)):
        return gradient
    return gradient * gradient.dtype.type(limit / norm)
