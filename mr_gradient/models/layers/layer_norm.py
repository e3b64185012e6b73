"""Layer normalization (Ba, Kiros and Hinton 2016)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from mr_gradient.models.base import Tensor
from mr_gradient.models.layers.base import Layer, Shape, Workspace
from mr_gradient.models.layers.options import number, option


@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = w (x - m) / sqrt(v + eps) + b, mean m and variance v over all numbers of an example.

    ``torch.nn.LayerNorm`` over the full shape: ``weight`` and ``bias`` have the shape of an example,
    (channels, height, width) for images. Neither is penalized.
    """

    name = "layer_norm"
    eps: float = option(number(1e-30, 1, "a number above 0, below 1"), 1e-5)

    def tensors(self, shape: Shape) -> dict[str, Tensor]:
        return {name: Tensor(shape, penalized=False) for name in ("weight", "bias")}

    def initial(self, name: str, shape: Shape, draw: Callable[[], np.random.Generator],
                saturating: bool) -> np.ndarray:
        """Ones and zeros: at first it only normalizes."""
        return np.ones(shape) if name == "weight" else np.zeros(shape)

    def prepare(self, workspace: Workspace, shape: Shape) -> None:
        for name, values in workspace.parameters.items():
            np.copyto(workspace.array(name, (*shape[1:], shape[0])), _channels_last(values))

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        rows = x.reshape(len(x), prod(x.shape[1:]))
        scaled = workspace.array("scaled", rows.shape)
        np.subtract(rows, _mean(rows), out=scaled)
        y = workspace.array("y", rows.shape)
        inverse = 1 / np.sqrt(_mean(np.multiply(scaled, scaled, out=y)) + self.eps)
        scaled *= inverse
        workspace.kept = scaled, inverse
        np.multiply(scaled, workspace.array("weight", rows.shape[1:]), out=y)
        y += workspace.array("bias", rows.shape[1:])
        return y.reshape(x.shape)

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray | None:
        """dx = (g - mean g - s mean(g s)) / sqrt(v + eps), s the scaled inputs, g = dy w."""
        scaled, inverse = workspace.kept
        g, product = dy.reshape(scaled.shape), workspace.array("product", scaled.shape)
        np.multiply(g, scaled, out=product)
        shape = dy.shape[1:]
        for name, values in (("weight", product), ("bias", g)):
            _channels_last(workspace.gradient[name])[...] += np.add.reduce(values).reshape(shape)
        if not wanted:
            return None
        g *= workspace.array("weight", scaled.shape[1:])
        np.multiply(g, scaled, out=product)
        np.multiply(scaled, _mean(product), out=product)
        g -= _mean(g)
        g -= product
        g *= inverse
        return g.reshape(dy.shape)


def _mean(rows: np.ndarray) -> np.ndarray:
    """(n, 1), in the type of the rows."""
    return np.add.reduce(rows, axis=1, keepdims=True) / rows.shape[1]


def _channels_last(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 0, -1)
