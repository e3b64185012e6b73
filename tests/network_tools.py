"""What tests of networks share: problems of fitting size, and layers on their own."""

from __future__ import annotations

from math import prod

import numpy as np
from gradient_checker import Problem, random_problem

from mr_gradient.models.layers import read_layers
from mr_gradient.models.layers.base import Shape, Workspace
from mr_gradient.models.layers.chain import Chain
from mr_gradient.models.network import Network


def network(shape: Shape, layers: list, outputs: int = 3, loss: str = "softmax") -> Network:
    """The layers, with what turns their output into ``outputs`` numbers."""
    tail = ["flatten", {"dense": outputs}]
    return Network(prod(shape), outputs, (*layers, *tail), loss, shape if len(shape) == 3 else ())


def problem_of(model: Network, rows: int = 7, weighted: bool = False, dtype: type = np.float64,
               seed: int = 0) -> Problem:
    """A random problem whose weights keep the outputs of about the size of the inputs."""
    problem = random_problem(model, rows, weighted, dtype, seed)
    parameters = {name: array / np.sqrt(prod(array.shape[1:]), dtype=array.dtype)
                  for name, array in problem.parameters.items()}
    for array in parameters.values():
        array.setflags(write=False)
    return problem._replace(parameters=parameters)


class Alone:
    """Layers without a loss, on arrays as PyTorch has them: images are (n, channels, height, width)."""

    def __init__(self, layers: list, shape: Shape, dtype: type = np.float64,
                 parameters: dict[str, np.ndarray] | None = None, seed: int = 0) -> None:
        self.chain = Chain(read_layers(layers), shape)
        generator = np.random.default_rng(seed)
        self.parameters = parameters or {
            name: generator.normal(size=tensor.shape).astype(dtype)
            for name, tensor in self.chain.tensors.items()}
        self.gradient = {name: np.zeros_like(array) for name, array in self.parameters.items()}
        self.workspace = Workspace(np.dtype(dtype))

    def forward(self, x: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
        self.workspace.parameters, self.workspace.gradient = self.parameters, self.gradient
        self.workspace.generator = generator
        self.chain.prepare(self.workspace)
        y, _ = self.chain.forward(_last(x), self.workspace)
        return _first(y).copy()

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The gradient by the inputs of the last ``forward``; that by the parameters is added up."""
        dx = self.chain.backward(_last(dy).copy(), self.workspace, wanted=True)
        self.chain.finish(self.workspace)
        return _first(dx).copy()


def _last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x


def _first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x
