"""Dropout (Srivastava et al. 2014), inverted: what stays is scaled up in training, never later."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from mr_gradient.models.layers.base import Layer, Shape, Workspace
from mr_gradient.models.layers.options import number, option


@dataclass(frozen=True)
class Dropout(Layer):
    """Each number is zero with probability ``rate``, otherwise divided by 1 - ``rate``.

    In each call the k-th dropout layer draws from the k-th generator that the caller's spawns, one
    float32 a number, example by example over the layer's full width. So the masks do not depend on
    how many examples are computed at once, and whoever holds a part of the width can cut its own.
    """

    name = "dropout"
    may_return_input = True
    rate: float = option(number(0, 1, "a number from 0 to below 1"), 0.5)

    def prepare(self, workspace: Workspace, shape: Shape) -> None:
        if workspace.generator is not None:
            workspace.generator, = workspace.generator.spawn(1)

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        workspace.kept = None
        if workspace.generator is None:
            return x
        flat = len(x), prod(x.shape[1:])
        drawn = workspace.array("drawn", flat, np.float32)
        workspace.generator.random(dtype=np.float32, out=drawn)
        stays = np.greater_equal(drawn, self.rate, out=workspace.array("stays", flat, bool))
        workspace.kept = stays.reshape(x.shape)
        return self._dropped(x, workspace.kept, workspace.array("y", x.shape))

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray:
        return dy if workspace.kept is None else self._dropped(dy, workspace.kept, dy)

    def _dropped(self, values: np.ndarray, stays: np.ndarray, out: np.ndarray) -> np.ndarray:
        np.multiply(values, stays, out=out)
        out *= 1 / (1 - self.rate)
        return out
