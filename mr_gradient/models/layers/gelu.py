"""GELU: x times the normal distribution function of x (Hendrycks and Gimpel 2016).

The exact form needs the error function, which numpy lacks. This one follows W. J. Cody, "Rational
Chebyshev Approximations for the Error Function", Mathematics of Computation 23 (1969): three ranges,
each a quotient of polynomials, correct to four units in the last place.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np

from mr_gradient.models.layers.base import Layer, Workspace
from mr_gradient.models.layers.options import one_of, option

# Highest power first. Near: erf x = x P(x^2) / Q(x^2), |x| <= 0.46875.
_NEAR = ((1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2,
          3.77485237685302021e2, 3.20937758913846947e3),
         (1.0, 2.36012909523441209e1, 2.44024637934444173e2,
          1.28261652607737228e3, 2.84423683343917062e3))
# Middle: erfc x = exp(-x^2) P(x) / Q(x), up to 4.
_MIDDLE = ((2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594,
            6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
            1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
           (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
            1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
            3.43936767414372164e3, 1.23033935480374942e3))
# Far: erfc x = exp(-x^2) / x (1 / sqrt(pi) - P(1 / x^2) / (x^2 Q(1 / x^2))).
_FAR = ((1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
         1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
        (1.0, 2.56852019228982242, 1.87295284992346725, 5.27905102951428412e-1,
         6.05183413124413191e-2, 2.33520497626869185e-3))


def _quotient(coefficients: tuple, t: np.ndarray) -> np.ndarray:
    """P(t) / Q(t), in the type of ``t``."""
    above, below = (np.full_like(t, powers[0]) for powers in coefficients)
    for values, powers in zip((above, below), coefficients):
        for power in powers[1:]:
            values *= t
            values += power
    above /= below
    return above


def erf(x: np.ndarray) -> np.ndarray:
    """The error function, in the type of ``x``."""
    size = np.abs(x)
    near, far = size <= 0.46875, size > 4
    middle = ~(near | far)
    y = np.empty_like(x)
    t = x[near]
    y[near] = t * _quotient(_NEAR, t * t)
    t = size[middle]
    y[middle] = np.copysign(1 - np.exp(-t * t) * _quotient(_MIDDLE, t), x[middle])
    t = np.minimum(size[far], 10)  # erf is 1 to rounding, and nothing underflows
    s = 1 / (t * t)
    y[far] = np.copysign(1 - np.exp(-t * t) / t * (1 / sqrt(pi) - s * _quotient(_FAR, s)), x[far])
    return y


@dataclass(frozen=True)
class Gelu(Layer):
    """``approximate``: none, or tanh, which needs half the time and is off by up to 5e-4."""

    name = "gelu"
    approximate: str = option(one_of("none", "tanh"), "none")

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        share = workspace.array("share", x.shape)
        if self.approximate == "none":
            np.multiply(x, sqrt(0.5), out=share)
            share[...] = erf(share)
        else:
            np.multiply(x, x, out=share)
            share *= 0.044715
            share += 1
            share *= x
            share *= sqrt(2 / pi)
            np.tanh(share, out=share)
        share += 1
        share *= 0.5
        workspace.kept = x, share
        return np.multiply(x, share, out=workspace.array("y", x.shape))

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray:
        """dx = dy (s + x s'), s being the share of x that passes."""
        x, share = workspace.kept
        slope = workspace.array("slope", x.shape)
        np.multiply(x, x, out=slope)
        if self.approximate == "none":  # s' = exp(-x^2 / 2) / sqrt(2 pi)
            slope *= -0.5
            np.maximum(slope, -80, out=slope)
            np.exp(slope, out=slope)
            slope *= 1 / sqrt(2 * pi)
        else:  # s = (1 + tanh u) / 2, so s' = 2 s (1 - s) u'
            slope *= 3 * 0.044715
            slope += 1
            slope *= 2 * sqrt(2 / pi)
            slope *= share
            slope *= 1 - share
        slope *= x
        slope += share
        dy *= slope
        return dy
