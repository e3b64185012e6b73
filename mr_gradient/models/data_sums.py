"""Sums over the data itself, as a model without a loss: the gradient job adds them up.

They tell how to precondition an optimizer, and how common each class is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.models.base import Tensor


@dataclass(frozen=True)
class DataSums:
    """``sum`` and ``squares`` (features,): weighted sums of each feature and of its square;
    ``counts`` (classes,): weights of each class, none where labels are values."""

    features: int
    classes: int = 0

    def tensors(self) -> dict[str, Tensor]:
        shapes = {"sum": Tensor((self.features,)), "squares": Tensor((self.features,))}
        return shapes | ({"counts": Tensor((self.classes,))} if self.classes else {})

    def init(self, seed: int) -> dict[str, np.ndarray]:
        """Zeros, which are not looked at."""
        return {name: np.zeros(tensor.shape) for name, tensor in self.tensors().items()}

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        """Add to ``gradient``; the loss is 0."""
        if gradient is not None:
            ones = np.ones(len(y), x.dtype) if weight is None else weight.astype(x.dtype)
            squares = x * x if isinstance(x, np.ndarray) else x.power(2)
            gradient["sum"] += ones @ x
            gradient["squares"] += ones @ squares
            if self.classes:
                gradient["counts"] += np.bincount(y, weight, self.classes)
        return {"loss": 0.0}
