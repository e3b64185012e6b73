"""Activations: relu, leaky relu, tanh, sigmoid, element by element."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.models.layers.base import Layer, Workspace
from mr_gradient.models.layers.options import number, option


class _Activation(Layer):
    """y of x; dx = dy y', the slope y' found from y alone."""

    keeps_output = True

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        y = workspace.kept = x if overwrite else workspace.array("y", x.shape)
        self._values(x, y, workspace)
        return y

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray:
        y = workspace.kept
        dy *= self._slopes(y, workspace.array("slopes", y.shape, self._slope_type))
        return dy

    _slope_type: type | None = None


@dataclass(frozen=True)
class Relu(_Activation):
    """max(x, 0), with slope 0 at 0."""

    name = "relu"
    _slope_type = bool

    def _values(self, x: np.ndarray, y: np.ndarray, workspace: Workspace) -> None:
        np.maximum(x, 0, out=y)

    def _slopes(self, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.greater(y, 0, out=out)


@dataclass(frozen=True)
class LeakyRelu(_Activation):
    """x where it is positive, elsewhere ``slope`` x (Maas et al. 2013)."""

    name = "leaky_relu"
    slope: float = option(number(0, 1, "a number from 0 to below 1"), 0.01)

    def _values(self, x: np.ndarray, y: np.ndarray, workspace: Workspace) -> None:
        scaled = np.multiply(x, self.slope, out=workspace.array("slopes", x.shape))
        np.maximum(x, scaled, out=y)

    def _slopes(self, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        np.copyto(out, y > 0)
        out *= 1 - self.slope
        out += self.slope
        return out


@dataclass(frozen=True)
class Tanh(_Activation):
    """Hyperbolic tangent; y' = 1 - y^2."""

    name = "tanh"

    def _values(self, x: np.ndarray, y: np.ndarray, workspace: Workspace) -> None:
        np.tanh(x, out=y)

    def _slopes(self, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        np.multiply(y, y, out=out)
        return np.subtract(1, out, out=out)


@dataclass(frozen=True)
class Sigmoid(_Activation):
    """1 / (1 + exp(-x)); y' = y (1 - y)."""

    name = "sigmoid"

    def _values(self, x: np.ndarray, y: np.ndarray, workspace: Workspace) -> None:
        np.negative(x, out=y)
        np.minimum(y, 80, out=y)  # where y is 0 to rounding, and exp does not overflow
        np.exp(y, out=y)
        y += 1
        np.reciprocal(y, out=y)

    def _slopes(self, y: np.ndarray, out: np.ndarray) -> np.ndarray:
        np.subtract(1, y, out=out)
        out *= y
        return out
