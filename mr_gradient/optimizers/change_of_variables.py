"""A linear change of variables for linear models: the optimizer's phi, the model's theta = T(phi).

A quasi-Newton method is as fast as its variables are well conditioned, and both changes need only
sums over the data from one job before the first:

- centering: the intercepts are those of centred features, W = U, b = c - W mean. Features far from
  zero mean tie every weight to the intercept; this unties them, and the data stay as they are.
- scaling: W = U scale, one factor a feature, from the diagonal of the Hessian.

The gradient goes back by the transpose, dphi = T' dtheta. Tensors are named as in
``models/linear.py``: ``weight`` (outputs, features), ``bias`` (outputs,). Everything is computed in
float64 and rounded once: c and W mean may be large and nearly equal.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Tensors = dict[str, np.ndarray]
#: A variance below this part of the mean square is the rounding of float32 sums.
_ROUNDING = 1e-5


class ChangeOfVariables(NamedTuple):
    """``mean`` and ``scale`` (features,) float64, or None for no such change; all scales above 0.

    Named tensors in ``weight`` and ``bias``; others pass as they are.
    """

    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def to_model(self, variables: Tensors) -> Tensors:
        """theta = T(phi): W = U scale, b = c - W mean."""
        weight, bias = _wide(variables)
        weight = weight if self.scale is None else weight * self.scale
        bias = bias if self.mean is None else bias - weight @ self.mean
        return _narrow(variables, weight, bias)

    def from_model(self, parameters: Tensors) -> Tensors:
        """The inverse: U = W / scale, c = b + W mean. A warm start begins with it."""
        weight, bias = _wide(parameters)
        bias = bias if self.mean is None else bias + weight @ self.mean
        weight = weight if self.scale is None else weight / self.scale
        return _narrow(parameters, weight, bias)

    def gradient(self, gradient: Tensors) -> Tensors:
        """T' times a gradient by the model's parameters: dU = (dW - db mean') scale, dc = db."""
        weight, bias = _wide(gradient)
        weight = weight if self.mean is None else weight - np.outer(bias, self.mean)
        weight = weight if self.scale is None else weight * self.scale
        return _narrow(gradient, weight, bias)


def hessian_scale(mean_square: np.ndarray, curvature: float, l2: float,
                  mean: np.ndarray | None = None) -> np.ndarray:
    """1 / sqrt(curvature * E[x_j^2] + l2), (features,): it makes the Hessian's diagonal about 1.

    ``mean_square`` and ``mean`` (features,): weighted means of x_j^2 and x_j over the examples; with
    ``mean`` the features count as centred by it. ``curvature``: a bound of the loss's second
    derivative by the output, 1/4 for logistic and softmax, 1 for squared. A feature that never
    varies, without ``l2``, has scale 1, and so has one whose squares overflow.
    """
    square = np.asarray(mean_square, np.float64)
    if mean is not None:
        variance = square - np.square(mean, dtype=np.float64)
        square = np.where(variance > _ROUNDING * square, variance, 0.0)
    diagonal = curvature * square + l2
    return 1 / np.sqrt(np.where((diagonal > 0) & np.isfinite(diagonal), diagonal, 1.0))


def _wide(tensors: Tensors) -> tuple[np.ndarray, np.ndarray]:
    return tensors["weight"].astype(np.float64), tensors["bias"].astype(np.float64)


def _narrow(like: Tensors, weight: np.ndarray, bias: np.ndarray) -> Tensors:
    return {**like, "weight": weight.astype(like["weight"].dtype),
            "bias": bias.astype(like["bias"].dtype)}
