"""Early stopping: the parameters that did best on the held-out part, and when to give up.

Prechelt 1998, "Early Stopping - But When?", criterion UP: stop after so many iterations in a row
without a lower held-out loss. Each iteration measures the parameters that it began with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mr_gradient.errors import UsageError


@dataclass(frozen=True)
class Best:
    """``patience`` 0: no early stopping, and nothing is kept. ``at`` (size,): the best parameters,
    of iteration ``iteration`` with held-out ``loss``; ``waited`` iterations since."""

    patience: int
    loss: float = math.inf
    iteration: int = 0
    waited: int = 0
    at: np.ndarray | None = None

    @property
    def reason(self) -> str:
        if not self.patience or self.waited < self.patience:
            return ""
        return (f"the held-out loss has not fallen in {self.waited} iterations; the model is that of "
                f"iteration {self.iteration}")

    def seen(self, iteration: int, held_out: dict | None, point: np.ndarray) -> Best:
        """After an iteration that measured ``point`` (size,).

        Raises ``UsageError`` where there is no held-out part.
        """
        if not self.patience:
            return self
        if held_out is None:
            raise UsageError(f"--patience {self.patience}: needs a held-out part; prepare with "
                             "--test-fraction")
        if held_out["loss"] < self.loss:
            return replace(self, loss=held_out["loss"], iteration=iteration, waited=0, at=point)
        return replace(self, waited=self.waited + 1)

    def parameters(self, last: np.ndarray) -> np.ndarray:
        """Those of the model: the best, or the ``last`` where none are kept."""
        return last if self.at is None else self.at

    def progress(self) -> dict:
        """What a checkpoint keeps beside the parameters."""
        return {"best_loss": self.loss, "best_iteration": self.iteration, "waited": self.waited} if (
            self.at is not None) else {}

    def pack(self, views: Callable[[np.ndarray], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {} if self.at is None else views(self.at)

    @classmethod
    def unpack(cls, patience: int, at: np.ndarray | None, progress: dict) -> Best:
        """As a checkpoint has it; ``at`` None: nothing was kept."""
        if at is None:
            return cls(patience)
        return cls(patience, progress["best_loss"], progress["best_iteration"], progress["waited"], at)
