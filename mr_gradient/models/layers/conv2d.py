"""The convolution of images, by im2col and one product a group of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Tensor
from mr_gradient.models.layers.base import Layer, Shape, Workspace, channels_of, described
from mr_gradient.models.layers.columns import GROUP_BYTES, bordered, columns
from mr_gradient.models.layers.options import FLAG, option, pair, whole

#: Height and width.
Pair = tuple[int, int]


def windows(shape: Shape, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """Height and width of the output. Raises ``UsageError`` for a kernel larger than its input."""
    _, *sizes = channels_of(shape)
    padded = [size + 2 * border for size, border in zip(sizes, padding)]
    if any(size > room for size, room in zip(kernel, padded)):
        raise UsageError(f"kernel must be at most {padded[0]} x {padded[1]}, its input with padding; "
                         f"found {kernel[0]} x {kernel[1]}")
    return tuple((room - size) // step + 1 for room, size, step in zip(padded, kernel, stride))


@dataclass(frozen=True)
class Conv2d(Layer):
    """``torch.nn.Conv2d``: ``weight`` (out, in / groups, height, width), ``bias`` (out,).

    ``groups``: so many convolutions side by side, each from its share of the input channels to its
    share of the output channels. ``kernel``, ``stride`` and ``padding``: one number, or height and
    width.
    """

    name = "conv2d"
    out: int = option(whole(1))
    kernel: tuple[int, int] = option(pair(1))
    stride: tuple[int, int] = option(pair(1), (1, 1))
    padding: tuple[int, int] = option(pair(0), (0, 0))
    groups: int = option(whole(1), 1)
    bias: bool = option(FLAG, True)

    def output_shape(self, shape: Shape) -> Shape:
        sizes = windows(shape, self.kernel, self.stride, self.padding)
        if shape[0] % self.groups or self.out % self.groups:
            raise UsageError("groups must divide the channels of input and output; found "
                             f"{self.groups} for {described(shape)} and out {self.out}")
        return (self.out, *sizes)

    def tensors(self, shape: Shape) -> dict[str, Tensor]:
        tensors = {"weight": Tensor((self.out, shape[0] // self.groups, *self.kernel))}
        return {**tensors, "bias": Tensor((self.out,), penalized=False)} if self.bias else tensors

    @property
    def _flips(self) -> bool:
        """Whether dx is a convolution of dy with the kernel turned round; otherwise it is scattered."""
        return self.stride == (1, 1) and all(p < k for p, k in zip(self.padding, self.kernel))

    def prepare(self, workspace: Workspace, shape: Shape) -> None:
        """Weights as matrices (groups, places of the kernel and channels, other channels)."""
        weight = workspace.parameters["weight"]
        out, channels = self.out // self.groups, shape[0] // self.groups
        weight = weight.reshape(self.groups, out, channels, *self.kernel)
        ahead = workspace.array("ahead", (self.groups, *self.kernel, channels, out))
        np.copyto(ahead, weight.transpose(0, 3, 4, 2, 1))
        if workspace.gradient is not None:
            workspace.array("dW", ahead.shape).fill(0)
            if self._flips:
                back = workspace.array("back", (self.groups, *self.kernel, out, channels))
                np.copyto(back, weight[..., ::-1, ::-1].transpose(0, 3, 4, 1, 2))

    def _matrix(self, role: str, rows: int, workspace: Workspace) -> np.ndarray:
        """A buffer of ``prepare`` as (groups, kernel's places times ``rows`` channels, the others)."""
        size = self.kernel[0] * self.kernel[1] * rows
        total = workspace.parameters["weight"].size // self.groups
        return workspace.array(role, (self.groups, size, total // size))

    def _groups(self, images: np.ndarray, y: np.ndarray, of_outputs: bool,
                workspace: Workspace) -> Iterator[tuple]:
        """Cut inputs and outputs (n, ...) into few images: their columns, and those of the outputs
        if ``of_outputs``, fit the cache together with the outputs.

        Yields the slice of images, that of the rows of the matrix, the group's number and the
        slices of its input and output channels.
        """
        places = y.shape[1] * y.shape[2]
        channels, out = images.shape[3] // self.groups, self.out // self.groups
        of_place = self.kernel[0] * self.kernel[1] * (max(channels, out) if of_outputs else channels)
        numbers = (of_place + out) * places
        step = max(1, GROUP_BYTES // (numbers * workspace.dtype.itemsize))
        for lo in range(0, len(images), step):
            hi = min(lo + step, len(images))
            for group in range(self.groups):
                yield (slice(lo, hi), slice(lo * places, hi * places), group,
                       slice(group * channels, (group + 1) * channels),
                       slice(group * out, (group + 1) * out))

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        padded = bordered(x, self.padding, workspace, "padded") if any(self.padding) else x
        workspace.kept = padded, x.shape
        sizes = windows((self.out, *x.shape[1:3]), self.kernel, self.stride, self.padding)
        y = workspace.array("y", (len(x), *sizes, self.out))
        rows = y.reshape(-1, self.out)
        ahead = self._matrix("ahead", x.shape[3] // self.groups, workspace)
        for images, places, group, inputs, outputs in self._groups(padded, y, False, workspace):
            matrix = columns(padded[images, ..., inputs], self.kernel, self.stride, workspace)
            np.matmul(matrix, ahead[group], out=rows[places, outputs])
            if self.bias:
                rows[places, outputs] += workspace.parameters["bias"][outputs]
        return y

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray | None:
        """dW = columns^T dy. Columns are made anew: keeping them would fill the cache."""
        padded, shape = workspace.kept
        channels, rows = shape[3] // self.groups, dy.reshape(-1, self.out)
        of_weight = self._matrix("dW", channels, workspace)
        of_group = workspace.array("dW of few images", of_weight.shape[1:])
        dx = workspace.array("dx", shape) if wanted else None
        for images, places, group, inputs, outputs in self._groups(padded, dy, wanted, workspace):
            matrix = columns(padded[images, ..., inputs], self.kernel, self.stride, workspace)
            of_weight[group] += np.matmul(matrix.T, rows[places, outputs], out=of_group)
            if wanted and self._flips:
                self._convolve_back(dy[images, ..., outputs], dx[images], inputs, group, workspace)
            elif wanted:
                self._scatter(rows[places, outputs], dy.shape[1:3], dx[images], inputs, group,
                              workspace)
        if self.bias:
            ones = workspace.array("ones", (len(rows),))
            ones.fill(1)
            workspace.gradient["bias"] += ones @ rows
        return dx

    def _convolve_back(self, dy: np.ndarray, dx: np.ndarray, inputs: slice, group: int,
                       workspace: Workspace) -> None:
        """dx = columns of dy within a border, times the weights turned round."""
        border = tuple(size - 1 - padding for size, padding in zip(self.kernel, self.padding))
        if any(border):
            dy = bordered(dy, border, workspace, "dy")
        matrix = columns(dy, self.kernel, (1, 1), workspace, "dy columns")
        back = self._matrix("back", dy.shape[3], workspace)
        np.matmul(matrix, back[group], out=dx.reshape(-1, dx.shape[3])[:, inputs])

    def _scatter(self, rows: np.ndarray, sizes: Pair, dx: np.ndarray, inputs: slice, group: int,
                 workspace: Workspace) -> None:
        """Add dy W^T, the gradient of the columns, to the places that they were copied from."""
        (high, wide), (down, right), (above, left) = self.kernel, self.stride, self.padding
        channels = inputs.stop - inputs.start
        weight = self._matrix("ahead", channels, workspace)[group]
        of_columns = workspace.array("dy columns", (len(rows), len(weight)))
        np.matmul(rows, weight.T, out=of_columns)
        of_columns = of_columns.reshape(len(dx), *sizes, high, wide, channels)
        _, height, width, _ = dx.shape
        padded = workspace.array("dx padded", (len(dx), height + 2 * above, width + 2 * left, channels))
        padded.fill(0)
        for i in range(high):
            for j in range(wide):
                padded[:, i:i + down * (sizes[0] - 1) + 1:down,
                       j:j + right * (sizes[1] - 1) + 1:right] += of_columns[:, :, :, i, j]
        dx[..., inputs] = padded[:, above:above + height, left:left + width]

    def finish(self, workspace: Workspace) -> None:
        """The sum over all images, in PyTorch's order."""
        if workspace.gradient is not None:
            gradient = workspace.gradient["weight"]
            out, channels = self.out // self.groups, gradient.shape[1]
            of_weight = workspace.array("dW", (self.groups, *self.kernel, channels, out))
            gradient += of_weight.transpose(0, 4, 3, 1, 2).reshape(gradient.shape)
