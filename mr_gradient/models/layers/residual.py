"""Residual connections (He et al. 2016): a list of layers, added to its own input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Tensor
from mr_gradient.models.layers.base import Layer, Shape, Workspace, described
from mr_gradient.models.layers.chain import Chain, chain
from mr_gradient.models.layers.options import Option, option

_SHORTCUT = "shortcut"


def _read(value: Any) -> tuple[Layer, ...] | None:
    from mr_gradient.models.layers import read_layers  # its registry holds this class

    try:
        return read_layers(value) if value else None
    except UsageError as error:
        raise UsageError(f"residual: {error}") from None


_LAYERS = Option("a list of layers", _read)
_SHORTCUT_LAYERS = Option("a list of layers, or empty", lambda value: _read(value) if value else ())


@dataclass(frozen=True)
class Residual(Layer):
    """y = F(x) + S(x): F the ``layers``, S the ``shortcut``, or x itself where that is empty.

    Tensors as of a ``torch.nn.Sequential`` of the layers with a module ``shortcut``, another
    Sequential: ``0.weight``, ``shortcut.0.weight``.
    """

    name = "residual"
    layers: tuple[Layer, ...] = option(_LAYERS)
    shortcut: tuple[Layer, ...] = option(_SHORTCUT_LAYERS, ())

    def _chains(self, shape: Shape) -> tuple[Chain, Chain | None]:
        return chain(self.layers, shape), chain(self.shortcut, shape) if self.shortcut else None

    def output_shape(self, shape: Shape) -> Shape:
        branch, shortcut = self._chains(shape)
        try:
            past = shortcut.shapes[-1] if shortcut else shape
        except UsageError as error:
            raise UsageError(f"shortcut: {error}") from None
        if branch.shapes[-1] != past:
            raise UsageError(f"its layers must give what the shortcut gives, {described(past)}; found "
                             f"{described(branch.shapes[-1])}; change them, or give a shortcut")
        return past

    def tensors(self, shape: Shape) -> dict[str, Tensor]:
        branch, shortcut = self._chains(shape)
        past = shortcut.tensors if shortcut else {}
        return {**branch.tensors, **{f"{_SHORTCUT}.{name}": past[name] for name in past}}

    def initial(self, name: str, shape: Shape, draw: Callable[[], np.random.Generator],
                saturating: bool) -> np.ndarray:
        inside = name.startswith(f"{_SHORTCUT}.")
        layers = self.shortcut if inside else self.layers
        # The first values do not depend on the inputs' shape.
        return Chain(layers, ()).initial(name.removeprefix(f"{_SHORTCUT}."), shape, draw)

    def prepare(self, workspace: Workspace, shape: Shape) -> None:
        branch, shortcut = self._chains(shape)
        workspace.kept = branch, shortcut
        branch.prepare(workspace)
        if shortcut:
            past = workspace.inner(_SHORTCUT)
            past.generator = workspace.generator
            past.parameters = _below(workspace.parameters)
            past.gradient = None if workspace.gradient is None else _below(workspace.gradient)
            shortcut.prepare(past)

    def forward(self, x: np.ndarray, workspace: Workspace, overwrite: bool) -> np.ndarray:
        branch, shortcut = workspace.kept
        y, _ = branch.forward(x, workspace)
        past = shortcut.forward(x, workspace.inner(_SHORTCUT))[0] if shortcut else x
        return np.add(y, past, out=workspace.array("y", y.shape))

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool) -> np.ndarray | None:
        branch, shortcut = workspace.kept
        past = workspace.array("dy", dy.shape)
        np.copyto(past, dy)  # since the branch may write over dy
        dx = branch.backward(dy, workspace, wanted)
        if shortcut:
            past = shortcut.backward(past, workspace.inner(_SHORTCUT), wanted)
        if wanted:
            dx += past
        return dx

    def finish(self, workspace: Workspace) -> None:
        branch, shortcut = workspace.kept
        branch.finish(workspace)
        if shortcut:
            shortcut.finish(workspace.inner(_SHORTCUT))


def _below(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of the shortcut, by their names in it."""
    return {name.removeprefix(f"{_SHORTCUT}."): array for name, array in tensors.items()
            if name.startswith(f"{_SHORTCUT}.")}
