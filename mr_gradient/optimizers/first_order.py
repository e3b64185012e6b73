"""What the optimizers that step along a gradient share: rate, schedule, clipping, update counter."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from mr_gradient.optimizers import schedules
from mr_gradient.optimizers.clipping import clip_by_global_norm
from mr_gradient.optimizers.options import check_not_negative, check_positive


@dataclass(frozen=True)
class FirstOrder:
    """Fields are the options of the command line. The state's first field is ``step``: the number
    of updates made, which picks the learning rate of the next one.

    ``schedule_iterations``: of cosine, the iteration at which the rate is zero; of step, how many
    iterations until each drop, by ``schedule_drop``. ``clip_norm``: the longest gradient, 0 for any.
    """

    learning_rate: float = 0.1
    _: KW_ONLY
    schedule: str = "constant"
    warmup: int = 0
    schedule_iterations: int = 0
    schedule_drop: float = 0.1
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        """Raises ``UsageError`` for a value that is out of its range."""
        check_positive("learning_rate", self.learning_rate)
        check_not_negative("clip_norm", self.clip_norm)
        schedules.check(self.schedule, self.warmup, self.schedule_iterations, self.schedule_drop)

    def rate(self, step: int) -> float:
        """Learning rate, in float64, of the update that follows ``step`` others."""
        return self.learning_rate * schedules.factor(
            self.schedule, step, self.warmup, self.schedule_iterations, self.schedule_drop)

    def clip(self, gradient: np.ndarray) -> np.ndarray:
        """The gradient to step along."""
        return clip_by_global_norm(gradient, self.clip_norm)
