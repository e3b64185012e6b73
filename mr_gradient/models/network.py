"""Networks: a list of layers and a loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.models.base import Tensor
from mr_gradient.models.layers import Dense, read_layers
from mr_gradient.models.layers.base import Layer, Workspace, described
from mr_gradient.models.layers.chain import Chain, chain
from mr_gradient.models.losses import LOSSES, probabilities

#: Examples that go through the network at once: as many as have outputs of all layers of this many
#: bytes. What one layer writes, the next then finds in a cache, and back again.
_BYTES_AT_ONCE = 4 << 20
#: Fewer would make products of dense layers too thin.
_LEAST_AT_ONCE = 16

#: Workspaces that wait for the next call; those of the networks used least recently go.
_STORED = 4
_store: dict[tuple[Network, np.dtype], Workspace] = {}


@dataclass(frozen=True)
class Network:
    """Backpropagation (Rumelhart, Hinton and Williams 1986) through a list of layers.

    ``layers``: as ``read_layers`` takes and gives it. ``input_shape``: (channels, height, width) of
    images, whose ``features`` are in this order; empty for plain rows. Tensors are named and laid out
    as in ``torch.nn.Sequential`` of the same layers: ``0.weight`` (out, in), ``0.bias`` (out,).

    The sums over the examples are added up over ranges of them, in order; their size is a property
    of the layers and the type.
    """

    features: int
    outputs: int
    layers: tuple[Layer, ...] = ()
    loss: str = "softmax"
    input_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Raises ``UsageError`` where the layers, shapes and loss do not fit each other."""
        object.__setattr__(self, "layers", read_layers(self.layers))
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        shape = self.input_shape
        if shape and (len(shape) != 3 or any(type(size) is not int or size < 1 for size in shape)
                      or prod(shape) != self.features):
            raise UsageError("input_shape: must be channels, height and width, whose product is the "
                             f"number of features, {self.features}; found {list(shape)}")
        if self.loss not in LOSSES:
            raise UsageError(f"loss: must be one of {', '.join(LOSSES)}; found {self.loss!r}")
        if not self._chain.tensors:
            raise UsageError("layers: at least one must have parameters; add {dense: "
                             f"{self.outputs}}}")
        if self.loss != "softmax" and self.outputs != 1:
            raise UsageError(f"loss: {self.loss} needs 1 output; found {self.outputs}")
        found = self._chain.shapes[-1]
        if found != (self.outputs,):
            raise UsageError(f"layers: the last one must give {self.outputs} numbers, an output each; "
                             f"found {described(found)}; end the list with {{dense: {self.outputs}}}")

    @cached_property
    def _chain(self) -> Chain:
        return chain(self.layers, self.input_shape or (self.features,))

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._chain.tensors)

    def init(self, seed: int) -> dict[str, np.ndarray]:
        """As each layer says; a tensor has a generator of its own, keyed by (seed, its number)."""
        return {name: self._chain.initial(name, tensor.shape, lambda number=number: (
                    np.random.default_rng(np.random.SeedSequence([seed, number]))))
                for number, (name, tensor) in enumerate(self.tensors().items())}

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        sums: dict[str, float] = {}
        with self._workspace(parameters, gradient, generator) as workspace:
            for rows, z in self._outputs(x, workspace):
                of_rows, dz = LOSSES[self.loss](z, y[rows], None if weight is None else weight[rows],
                                                gradient is not None)
                sums = {name: sums.get(name, 0.0) + value for name, value in of_rows.items()}
                if gradient is not None:
                    self._chain.backward(dz, workspace)
        return sums

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        with self._workspace(parameters, None, None) as workspace:
            # Copies, since outputs may be views of a buffer.
            return np.concatenate([np.array(probabilities(self.loss, z))
                                   for _, z in self._outputs(x, workspace)])

    def _outputs(self, x: np.ndarray, workspace: Workspace) -> Iterator[tuple[slice, np.ndarray]]:
        """Ranges of rows, and their outputs z (n, outputs), which may be written over."""
        numbers = sum(prod(shape) for shape in self._chain.shapes)
        fitting = _BYTES_AT_ONCE // (numbers * workspace.dtype.itemsize)
        at_once = max(_LEAST_AT_ONCE, 1 << max(0, fitting.bit_length() - 1))
        for lo in range(0, max(1, x.shape[0]), at_once):
            rows = slice(lo, lo + at_once)
            of_rows = x if x.shape[0] <= at_once else x[rows]
            z, mine = self._chain.forward(self._input(of_rows, workspace), workspace)
            yield rows, z if mine else z.copy()

    def _input(self, x: np.ndarray, workspace: Workspace) -> np.ndarray:
        """Rows, dense unless the first layer takes sparse ones; images with the channels last."""
        if not isinstance(x, np.ndarray) and not isinstance(self.layers[0], Dense):
            x = x.toarray()
        if not self.input_shape:
            return x
        channels, height, width = self.input_shape
        images = x.reshape(len(x), channels, height, width).transpose(0, 2, 3, 1)
        if channels == 1:
            return images
        last = workspace.array("images", images.shape)
        np.copyto(last, images)
        return last

    @contextlib.contextmanager
    def _workspace(self, parameters: dict[str, np.ndarray], gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None) -> Iterator[Workspace]:
        """A workspace with the layers prepared, taken from this process's store and put back after.

        While it is out nobody else gets it: calls may nest, or come from several threads.
        """
        dtype = next(iter(parameters.values())).dtype
        workspace = _store.pop((self, dtype), None) or Workspace(dtype)
        workspace.parameters, workspace.gradient = parameters, gradient
        workspace.generator = generator
        self._chain.prepare(workspace)
        yield workspace
        self._chain.finish(workspace)
        workspace.release()
        while len(_store) >= _STORED:
            _store.pop(next(iter(_store.copy())), None)
        _store[self, dtype] = workspace
