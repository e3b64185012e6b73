"""Networks of dense layers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.models.base import Tensor
from mr_gradient.models.losses import LOSSES, probabilities


@dataclass(frozen=True)
class MultilayerPerceptron:
    """Dense layers with relu between them: a_0 = x, a_l = relu(a_{l-1} W_l^T + b_l).

    Tensors are named as in ``torch.nn.Sequential(Linear, ReLU, Linear, ...)``: ``0.weight``
    (out, in), ``0.bias`` (out,), ``2.weight`` and so on.
    """

    features: int
    outputs: int = 1
    hidden: tuple[int, ...] = (64,)
    loss: str = "softmax"

    @property
    def _sizes(self) -> tuple[int, ...]:
        return (self.features, *self.hidden, self.outputs)

    def tensors(self) -> dict[str, Tensor]:
        tensors = {}
        for layer, (inputs, outputs) in enumerate(zip(self._sizes, self._sizes[1:])):
            tensors[f"{2 * layer}.weight"] = Tensor((outputs, inputs))
            tensors[f"{2 * layer}.bias"] = Tensor((outputs,), penalized=False)
        return tensors

    def init(self, seed: int) -> dict[str, np.ndarray]:
        """Weights from N(0, 2 / inputs) (He et al. 2015, equation 10), biases zero.

        Each tensor has a generator of its own, keyed by (seed, number of the tensor).
        """
        parameters = {}
        for number, (name, tensor) in enumerate(self.tensors().items()):
            parameters[name] = np.zeros(tensor.shape)
            if tensor.penalized:
                generator = np.random.default_rng(np.random.SeedSequence([seed, number]))
                parameters[name] = generator.normal(0, np.sqrt(2 / tensor.shape[1]), tensor.shape)
        return parameters

    def _forward(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
        """Inputs of every layer, then the outputs (n, outputs)."""
        activations = [x]
        last = len(self._sizes) - 2
        for layer in range(last + 1):
            z = activations[-1] @ np.ascontiguousarray(parameters[f"{2 * layer}.weight"].T)
            z += parameters[f"{2 * layer}.bias"]
            activations.append(z if layer == last else np.maximum(z, 0, out=z))
        return activations

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None,
                   gradient: dict[str, np.ndarray] | None) -> dict[str, float]:
        """Backpropagation (Rumelhart, Hinton and Williams 1986), summed over the examples."""
        *inputs, z = self._forward(parameters, x)
        sums, dz = LOSSES[self.loss](z, y, weight, gradient is not None)
        if gradient is None:
            return sums
        for layer in reversed(range(len(inputs))):
            gradient[f"{2 * layer}.weight"] += dz.T @ inputs[layer]
            gradient[f"{2 * layer}.bias"] += dz.sum(axis=0)
            if layer:
                dz = dz @ parameters[f"{2 * layer}.weight"]
                dz *= inputs[layer] > 0
        return sums

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        return probabilities(self.loss, self._forward(parameters, x)[-1])
