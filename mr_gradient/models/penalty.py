"""Penalties on parameters: added once, where the update is applied (law 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mr_gradient.models.base import Model, layout


@dataclass(frozen=True)
class Penalty:
    """l1 |w| + l2 / 2 |w|^2 over the tensors that are penalized; with both, the elastic net.

    ``ranges``: where these tensors lie in the flat parameter vector (size,).
    """

    l2: float
    ranges: tuple[tuple[int, int], ...]
    l1: float = 0.0

    @classmethod
    def of(cls, model: Model, l2: float, l1: float = 0.0) -> Penalty:
        ranges = layout(model).ranges
        return cls(l2, tuple(ranges[name] for name, tensor in model.tensors().items()
                             if tensor.penalized), l1)

    def value(self, parameters: np.ndarray) -> float:
        """Both penalties in float64."""
        return self.l2_value(parameters) + self.l1_value(parameters)

    def l2_value(self, parameters: np.ndarray) -> float:
        """The smooth part."""
        if not self.l2:
            return 0.0
        with np.errstate(all="ignore"):
            return self.l2 / 2 * sum(float(part @ part) for part in self._parts(parameters))

    def l1_value(self, parameters: np.ndarray) -> float:
        """The part that has no gradient at 0."""
        if not self.l1:
            return 0.0
        return self.l1 * sum(float(np.abs(part).sum()) for part in self._parts(parameters))

    def _parts(self, parameters: np.ndarray) -> list[np.ndarray]:
        return [parameters[lo:hi].astype(np.float64) for lo, hi in self.ranges]

    def add_gradient(self, gradient: np.ndarray, parameters: np.ndarray) -> None:
        """Add that of the smooth part; what overflows shows up in the update."""
        if self.l2:
            with np.errstate(all="ignore"):
                for lo, hi in self.ranges:
                    gradient[lo:hi] += np.asarray(self.l2, parameters.dtype) * parameters[lo:hi]

    def add_hessian(self, hessian: np.ndarray) -> None:
        """Add that of the smooth part to ``hessian`` (size, size)."""
        diagonal = np.arange(len(hessian))
        for lo, hi in self.ranges:
            hessian[diagonal[lo:hi], diagonal[lo:hi]] += self.l2

    def strengths(self, size: int) -> np.ndarray:
        """l1 where it applies and 0 elsewhere, (size,) float64."""
        found = np.zeros(size)
        for lo, hi in self.ranges:
            found[lo:hi] = self.l1
        return found
