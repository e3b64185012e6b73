"""What a model is: four methods over named tensors. Everything is a sum over examples (law 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from mr_gradient.blocks import Layout


class Tensor(NamedTuple):
    """Shape of a parameter tensor, and whether penalties apply to it (not to intercepts)."""

    shape: tuple[int, ...]
    penalized: bool = True


class Model(Protocol):
    """Names and shapes follow ``torch.nn``: a dense layer is ``weight`` (out, in), ``bias`` (out,).

    ``x`` is (n, features) in the type of the parameters, an array or a CSR array of scipy's, for
    which ``@`` works as for arrays; models import nothing of scipy. ``y`` (n,) holds class indices
    or values; ``weight`` (n,) holds sample weights, None for all ones.
    """

    def tensors(self) -> dict[str, Tensor]:
        """Name, shape and penalty of each parameter tensor."""

    def init(self, seed: int) -> dict[str, np.ndarray]:
        """Initial parameters in float64, the same for the same seed."""

    def accumulate(self, parameters: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray,
                   weight: np.ndarray | None, gradient: dict[str, np.ndarray] | None,
                   generator: np.random.Generator | None = None) -> dict[str, float]:
        """Add the gradient of the weighted loss sum to ``gradient``, unless it is None.

        Returns float64 sums over the examples, each weighted: ``loss``, and ``correct`` for
        classes or ``squared_error`` for values.

        ``generator`` draws what is random in training (dropout); None, as in evaluation, for nothing
        random. A job makes it from ``SeedSequence([seed, iteration, split])`` and passes the same
        one with each chunk of the split, in order (law 2).
        """

    def predict(self, parameters: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
        """Class probabilities (n, classes), or values (n,)."""


def layout(model: Model) -> Layout:
    """Where each tensor of the model lies in the flat parameter vector."""
    return Layout.of({name: tensor.shape for name, tensor in model.tensors().items()})


class AtPoint(NamedTuple):
    """Where the sums of a point go: ``gradient`` None for none, ``hessian`` (size, size) float64 or
    None. ``generator`` draws what is random at this point (dropout)."""

    parameters: dict[str, np.ndarray]
    gradient: dict[str, np.ndarray] | None = None
    hessian: np.ndarray | None = None
    generator: np.random.Generator | None = None


def accumulate_chunks(model: Model, points: Sequence[AtPoint],
                      chunks: Iterable[tuple]) -> list[dict[str, float]]:
    """Add up a split at every point, chunk by chunk in order, while a chunk is in the cache.

    Returns the sums of each point, with ``weight`` and ``examples``.
    """
    sums: list[dict[str, float]] = [{} for _ in points]
    examples, weight_sum = 0, 0.0
    for x, y, weight in chunks:
        for total, point in zip(sums, points):
            found = model.accumulate(point.parameters, x, y, weight, point.gradient,
                                     generator=point.generator)
            for name, value in found.items():
                total[name] = total.get(name, 0.0) + value
            if point.hessian is not None:
                model.add_hessian(point.parameters, x, y, weight, point.hessian)
        examples += len(y)
        weight_sum += len(y) if weight is None else float(np.sum(weight, dtype=np.float64))
    return [{**total, "weight": weight_sum, "examples": examples} for total in sums]
