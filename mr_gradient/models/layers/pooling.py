"""Max and average pooling: over the width, then over the height of each window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.layers.base import Layer, Shape, Workspace, channels_of
from mr_gradient.models.layers.conv2d import Pair, windows
from mr_gradient.models.layers.options import option, pair

#: Axes of the arrays, in the order in which they are pooled: each runs over whole rows of channels.
_AXES = {"width": 2, "height": 1}


@dataclass(frozen=True)
class _Pool2d(Layer):
    """``stride`` is the kernel where it is 0; the image ends where the last whole window does."""

    kernel: tuple[int, int] = option(pair(1))
    stride: tuple[int, int] = option(pair(0), (0, 0))
    padding: tuple[int, int] = option(pair(0), (0, 0))

    @property
    def _steps(self) -> Pair:
        return tuple(step or size for step, size in zip(self.stride, self.kernel))

    def output_shape(self, shape: Shape) -> Shape:
        channels, _, _ = channels_of(shape)
        if any(2 * border > size for border, size in zip(self.padding, self.kernel)):
            raise UsageError(f"padding must be at most half of the kernel; found {self.padding[0]} x "
                             f"{self.padding[1]} for {self.kernel[0]} x {self.kernel[1]}")
        return (channels, *windows(shape, self.kernel, self._steps, self.padding))

    def _padded(self, x: np.ndarray, fill: float, workspace: Workspace) -> np.ndarray:
        if not any(self.padding):
            return x
        (n, height, width, channels), (above, left) = x.shape, self.padding
        padded = workspace.array("padded", (n, height + 2 * above, width + 2 * left, channels))
        padded.fill(fill)
        padded[:, above:above + height, left:left + width] = x
        return padded

    def _inside(self, padded: np.ndarray) -> np.ndarray:
        """The gradient by the inputs, cut out of that by the padded ones."""
        (above, left), (_, height, width, _) = self.padding, padded.shape
        return np.ascontiguousarray(padded[:, above:height - above, left:width - left])

    def _along(self, x: np.ndarray, name: str) -> tuple[int, list[np.ndarray]]:
        """Number of windows along an axis, and a view of each place in them."""
        axis, at = _AXES[name], _AXES[name] - 1
        size, step = self.kernel[at], self._steps[at]
        count = (x.shape[axis] - size) // step + 1
        before = (slice(None),) * axis
        return count, [x[(*before, slice(place, place + step * (count - 1) + 1, step))]
                       for place in range(size)]

    def _tiles(self, x: np.ndarray, name: str) -> bool:
        """Whether every number along an axis is in exactly one window."""
        size = self.kernel[_AXES[name] - 1]
        return size == self._steps[_AXES[name] - 1] and x.shape[_AXES[name]] % size == 0

    def _pooled(self, x: np.ndarray, name: str, add: np.ufunc, workspace: Workspace) -> np.ndarray:
        """(n, ...) with ``add`` over the places of each window along one axis."""
        count, places = self._along(x, name)
        y = workspace.array(name, (*x.shape[:_AXES[name]], count, *x.shape[_AXES[name] + 1:]))
        if len(places) == 1:
            np.copyto(y, places[0])
        for number, place in enumerate(places[1:]):
            add(y if number else places[0], place, out=y)
        return y


@dataclass(frozen=True)
class MaxPool2d(_Pool2d):
    """``torch.nn.MaxPool2d``. Of equal numbers the first has the gradient, row by row, as there."""

    name = "max_pool2d"
    keeps_output = True

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        padded = self._padded(x, -np.inf, workspace)
        across = self._pooled(padded, "width", np.maximum, workspace)
        y = self._pooled(across, "height", np.maximum, workspace)
        workspace.kept = padded, across, y
        return y

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray:
        padded, across, y = workspace.kept
        across_gradient = self._routed(dy, across, y, "height", workspace)
        return self._inside(self._routed(across_gradient, padded, across, "width", workspace))

    def _routed(self, dy: np.ndarray, x: np.ndarray, y: np.ndarray, name: str,
                workspace: Workspace) -> np.ndarray:
        """The gradient by ``x`` of its maxima ``y`` along an axis; writes over ``dy``.

        Each place takes what is left where it is the maximum, the last one takes the rest: no
        gradient is given twice, none is lost.
        """
        dx = workspace.array(f"{name} gradient", x.shape)
        is_largest = workspace.array(f"{name} mask", y.shape, bool)
        (_, places), (_, targets) = self._along(x, name), self._along(dx, name)
        left, *others, last = dy, *targets
        if self._tiles(x, name):
            for place, target in zip(places, others):
                np.multiply(left, np.equal(place, y, out=is_largest), out=target)
                left = np.subtract(left, target, out=last)
            if not others:
                last[...] = left
            return dx
        dx.fill(0)
        part = workspace.array(f"{name} part", y.shape)
        for place, target in zip(places, others):
            np.multiply(left, np.equal(place, y, out=is_largest), out=part)
            target += part
            left -= part
        last += left
        return dx


@dataclass(frozen=True)
class AvgPool2d(_Pool2d):
    """``torch.nn.AvgPool2d``: the mean over the whole window, zeros of the padding included."""

    name = "avg_pool2d"

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        padded = self._padded(x, 0.0, workspace)
        across = self._pooled(padded, "width", np.add, workspace)
        y = self._pooled(across, "height", np.add, workspace)
        y *= 1 / (self.kernel[0] * self.kernel[1])
        workspace.kept = padded.shape, across.shape
        return y

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray:
        padded, across = workspace.kept
        dy *= 1 / (self.kernel[0] * self.kernel[1])
        for name, shape in (("height", across), ("width", padded)):
            dx = workspace.array(f"{name} gradient", shape)
            dx.fill(0)
            for target in self._along(dx, name)[1]:
                target += dy
            dy = dx
        return self._inside(dy)
