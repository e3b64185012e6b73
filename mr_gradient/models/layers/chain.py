"""Layers one after another, as ``torch.nn.Sequential``: shapes, names, the way forward and back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Tensor
from mr_gradient.models.layers.activations import Relu, Sigmoid, Tanh
from mr_gradient.models.layers.base import Layer, Shape, Workspace
from mr_gradient.models.layers.pooling import MaxPool2d


@dataclass(frozen=True)
class Chain:
    """Layers for inputs of ``shape``. The workspace of layer i is the inner one named ``i``.

    Tensors are named ``i.weight``, i counting all layers from 0.
    """

    layers: tuple[Layer, ...]
    shape: Shape

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """Input of each layer, then the output. Raises ``UsageError`` for a list that does not fit."""
        shapes = [self.shape]
        for number, layer in enumerate(self.layers):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except UsageError as error:
                raise UsageError(f"layer {number}: {layer.name}: {error}") from None
        return tuple(shapes)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        return {f"{number}.{name}": tensor
                for number, (layer, shape) in enumerate(zip(self.layers, self.shapes))
                for name, tensor in layer.tensors(shape).items()}

    @cached_property
    def _order(self) -> tuple[int, ...]:
        """Numbers of the layers as they are computed: relu after the max pooling that follows it.

        The results are the same, ties included, and relu sees a quarter of the numbers.
        """
        order = list(range(len(self.layers)))
        for i in order[:-1]:
            if isinstance(self.layers[i], Relu) and isinstance(self.layers[i + 1], MaxPool2d):
                order[i:i + 2] = i + 1, i
        return tuple(order)

    @cached_property
    def _first_with_tensors(self) -> int:
        """Place in the order of the first layer with parameters; backward can stop there."""
        places = (place for place, number in enumerate(self._order)
                  if self.layers[number].tensors(self.shapes[number]))
        return next(places, len(self.layers))

    def initial(self, name: str, shape: Shape, draw: Callable[[], np.random.Generator]) -> np.ndarray:
        """First value of the tensor ``name``; ``draw`` makes its generator, if it needs one."""
        number, _, local = name.partition(".")
        after = self.layers[int(number) + 1:int(number) + 2]
        saturating = any(isinstance(layer, Tanh | Sigmoid) for layer in after)
        return self.layers[int(number)].initial(local, shape, draw, saturating)

    def prepare(self, workspace: Workspace) -> None:
        """Give every layer its own tensors of ``workspace``, and let it prepare."""
        for number, (layer, shape) in enumerate(zip(self.layers, self.shapes)):
            names = layer.tensors(shape)
            inner = workspace.inner(str(number))
            inner.parameters = {name: workspace.parameters[f"{number}.{name}"] for name in names}
            if workspace.gradient is not None:
                inner.gradient = {name: workspace.gradient[f"{number}.{name}"] for name in names}
            inner.generator = workspace.generator
            layer.prepare(inner, shape)

    def forward(self, x: np.ndarray, workspace: Workspace,
                overwrite: bool = False) -> tuple[np.ndarray, bool]:
        """Outputs (n, ...), and whether they may be written over."""
        for number in self._order:
            layer = self.layers[number]
            x = layer.forward(x, workspace.inner(str(number)), overwrite)
            overwrite = not layer.keeps_output and (overwrite or not layer.may_return_input)
        return x, overwrite

    def backward(self, dy: np.ndarray, workspace: Workspace, wanted: bool = False) -> np.ndarray | None:
        """Add to the gradient; the gradient by the inputs, if ``wanted``. May write over ``dy``."""
        last = 0 if wanted else self._first_with_tensors
        for place in reversed(range(last, len(self._order))):
            number = self._order[place]
            dy = self.layers[number].backward(dy, workspace.inner(str(number)), wanted or place > last)
        return dy if wanted else None

    def finish(self, workspace: Workspace) -> None:
        for number, layer in enumerate(self.layers):
            layer.finish(workspace.inner(str(number)))


@functools.lru_cache(maxsize=256)
def chain(layers: tuple[Layer, ...], shape: Shape) -> Chain:
    """The chain, made once a process."""
    return Chain(layers, shape)
