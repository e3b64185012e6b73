"""Functions of single values that need no fit: log1p and clip, with the same bits on every machine.

A *shape* is a tuple of them in order, ``(("clip", 0.0, 10.0), ("log1p",))``. All are monotone, and
NaN stays NaN.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from mr_gradient.dataset.transforms.exact_json import float_from_json, float_to_json, list_from_json

Shape = tuple[tuple, ...]

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_POLYNOMIAL = (1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01,
               2.222219843214978396e-01, 2.857142874366239149e-01, 3.999999999940941908e-01,
               6.666666666666735130e-01)


def log1p(x: np.ndarray) -> np.ndarray:
    """log(1 + x) of float64, any shape; NaN for x <= -1.

    Counts, of which most are small whole numbers, are looked up: a tenth of the time.
    """
    with np.errstate(all="ignore"):
        whole = x.astype(np.uint16)
        missing = np.isnan(x)
        others = (whole != x) & ~missing
    if 2 * np.count_nonzero(others) > x.size:
        return _log1p(x)
    found = _small_logarithms()[whole]
    found[missing] = np.nan
    if others.any():
        found[others] = _log1p(x[others])
    return found


@cache
def _small_logarithms() -> np.ndarray:
    return _log1p(np.arange(float(1 << 16)))


def _log1p(x: np.ndarray) -> np.ndarray:
    """fdlibm's algorithm (Ng 1995, ``s_log1p.c``) in exact or correctly rounded operations only:
    ``np.log1p`` differs in the last bit between CPU types."""
    with np.errstate(all="ignore"):
        u = 1.0 + x
        # What rounding u lost, as a relative correction.
        lost = np.where(x > 1.0, 1.0 - (u - x), x - (u - 1.0)) / u
        m, k = np.frexp(u)
        small = m < 0.70710678118654752440
        m = np.where(small, m + m, m)
        k = (k - small).astype(np.float64)
        f = m - 1.0
        s = f / (2.0 + f)
        z = s * s
        tail = np.full_like(z, _POLYNOMIAL[0])
        for coefficient in _POLYNOMIAL[1:]:
            tail *= z
            tail += coefficient
        tail *= z
        half = 0.5 * f * f
        found = k * _LN2_HIGH - ((half - (s * (half + tail) + (k * _LN2_LOW + lost))) - f)
        return np.where(x > -1.0, np.where(x == np.inf, np.inf, found), np.nan)


def clip(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values below ``low`` become ``low``, above ``high`` become ``high``; NaN stays."""
    return np.minimum(np.maximum(x, low), high) + 0.0


def apply_shape(values: np.ndarray, shape: Shape) -> np.ndarray:
    """``values`` float64, any shape; the input is left as it is."""
    for name, *numbers in shape:
        values = log1p(values) if name == "log1p" else clip(values, *numbers)
    return values


def shape_to_json(shape: Shape) -> list:
    return [[name, *map(float_to_json, numbers)] for name, *numbers in shape]


def shape_from_json(value: Any) -> Shape:
    """Raises ``ValueError`` or ``TypeError`` for what is not a shape."""
    shape = []
    for step in list_from_json(value):
        name, *numbers = list_from_json(step)
        numbers = [float_from_json(number) for number in numbers]
        if (name, len(numbers)) not in (("log1p", 0), ("clip", 2)):
            raise ValueError(f"must be log1p or clip with two bounds, found {step!r}")
        if numbers and not numbers[0] <= numbers[1]:
            raise ValueError(f"clip must have low <= high, found {numbers}")
        shape.append((name, *numbers))
    return tuple(shape)
