"""The dense layer: y = x W^T + b."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Tensor
from mr_gradient.models.layers.base import Layer, Shape, Workspace, described
from mr_gradient.models.layers.options import FLAG, option, whole


@dataclass(frozen=True)
class Dense(Layer):
    """``torch.nn.Linear``: ``weight`` (out, in), ``bias`` (out,), which is not penalized.

    As the first layer it also takes sparse rows, for which ``@`` works as for arrays.
    """

    name = "dense"
    out: int = option(whole(1))
    bias: bool = option(FLAG, True)

    def output_shape(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise UsageError(f"needs a row of numbers; found {described(shape)}; put flatten before it")
        return (self.out,)

    def tensors(self, shape: Shape) -> dict[str, Tensor]:
        tensors = {"weight": Tensor((self.out, *shape))}
        return {**tensors, "bias": Tensor((self.out,), penalized=False)} if self.bias else tensors

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        workspace.kept = x
        weight = workspace.parameters["weight"]
        if isinstance(x, np.ndarray):
            y = np.matmul(x, weight.T, out=workspace.array("y", (len(x), self.out)))
        else:
            y = x @ np.ascontiguousarray(weight.T)
        if self.bias:
            y += workspace.parameters["bias"]
        return y

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray | None:
        """dW = dy^T x, db = sum of dy, dx = dy W."""
        x, gradient = workspace.kept, workspace.gradient
        if isinstance(x, np.ndarray):
            of_weight = workspace.array("dW", gradient["weight"].shape)
            gradient["weight"] += np.matmul(dy.T, x, out=of_weight)
        else:
            gradient["weight"] += dy.T @ x
        if self.bias:
            gradient["bias"] += np.add.reduce(dy, axis=0)
        if not wanted:
            return None
        weight = workspace.parameters["weight"]
        return np.matmul(dy, weight, out=workspace.array("dx", (len(dy), weight.shape[1])))
