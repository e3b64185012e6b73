"""Images to rows of numbers, in PyTorch's order: channel, height, width."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from mr_gradient.models.layers.base import Layer, Shape, Workspace


@dataclass(frozen=True)
class Flatten(Layer):
    """Turns the channels, which lie last inside the network, to the front."""

    name = "flatten"
    may_return_input = True

    def output_shape(self, shape: Shape) -> Shape:
        return (prod(shape),)

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        workspace.kept = x.shape
        if x.ndim == 2 or 1 in (x.shape[3], x.shape[1] * x.shape[2]):
            return x.reshape(len(x), prod(x.shape[1:]))
        n, height, width, channels = x.shape
        y = workspace.array("y", (n, channels, height, width))
        np.copyto(y, x.transpose(0, 3, 1, 2))
        return y.reshape(n, channels * height * width)

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray:
        shape = workspace.kept
        if len(shape) == 2 or 1 in (shape[3], shape[1] * shape[2]):
            return dy.reshape(shape)
        n, height, width, channels = shape
        dx = workspace.array("dx", shape)
        np.copyto(dx, dy.reshape(n, channels, height, width).transpose(0, 2, 3, 1))
        return dx
