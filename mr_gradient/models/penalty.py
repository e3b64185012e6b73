"""Penalties on parameters: added once, where the update is applied (law 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.models.base import Model, layout


@dataclass(frozen=True)
class Penalty:
    """l2 / 2 times the squared norm of the tensors that are penalized.

    ``ranges``: where these tensors lie in the flat parameter vector.
    """

    l2: float
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, model: Model, l2: float) -> Penalty:
        ranges = layout(model).ranges
        return cls(l2, tuple(ranges[name] for name, tensor in model.tensors().items()
                             if tensor.penalized))

    def value(self, parameters: np.ndarray) -> float:
        """The penalty in float64; ``parameters`` (size,)."""
        if not self.l2:
            return 0.0
        parts = [parameters[lo:hi].astype(np.float64) for lo, hi in self.ranges]
        with np.errstate(all="ignore"):
            return self.l2 / 2 * sum(float(part @ part) for part in parts)

    def add_gradient(self, gradient: np.ndarray, parameters: np.ndarray) -> None:
        """Add l2 times the penalized parameters; what overflows shows up in the update."""
        if self.l2:
            with np.errstate(all="ignore"):
                for lo, hi in self.ranges:
                    gradient[lo:hi] += np.asarray(self.l2, parameters.dtype) * parameters[lo:hi]
