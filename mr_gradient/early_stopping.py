"""Early stopping: the parameters that did best on the held-out part, and when to give up.

Prechelt 1998, "Early Stopping - But When?", criterion UP: stop after so many iterations in a row
without a lower held-out loss. Each iteration measures the parameters that it began with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np


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
        kept = f"that of iteration {self.iteration}" if self.iteration else "the last"
        return f"the held-out loss has not fallen in {self.waited} iterations; the model is {kept}"

    def seen(self, iteration: int, held_out: dict | None, point: np.ndarray) -> Best:
        """After an iteration that measured ``point`` (size,)."""
        if not self.patience:
            return self
        if held_out["loss"] < self.loss:
            return replace(self, loss=held_out["loss"], iteration=iteration, waited=0, at=point)
        return replace(self, waited=self.waited + 1)

    def parameters(self, last: np.ndarray) -> np.ndarray:
        """Those of the model: the best, or the ``last`` where none are kept."""
        return last if self.at is None else self.at

    def progress(self) -> dict:
        """What a checkpoint keeps beside the parameters."""
        if not self.patience:
            return {}
        # A loss that was never finite is infinity, which JSON has not.
        return {"best_loss": self.loss if math.isfinite(self.loss) else None,
                "best_iteration": self.iteration, "waited": self.waited}

    def pack(self, views: Callable[[np.ndarray], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        return {} if self.at is None else views(self.at)

    @classmethod
    def unpack(cls, patience: int, at: np.ndarray | None, progress: dict) -> Best:
        """As a checkpoint has it; ``at`` None: nothing was kept."""
        if not patience:
            return cls(patience)
        loss = progress["best_loss"]
        return cls(patience, math.inf if loss is None else loss, progress["best_iteration"],
                   progress["waited"], at)
