"""What a strategy is: how one iteration's work is spread, and how updates meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


class Diverged(Exception):  # noqa: N818  it is not an error until the driver says so
    """``str`` says what is not finite. ``spoiled``: so are the variables that the step began with."""

    def __init__(self, what: str, spoiled: bool) -> None:
        super().__init__(what)
        self.spoiled = spoiled


@dataclass
class Step:
    """One iteration of a training.

    ``variables`` (size,) and ``state``: those of the optimizer after it. ``point`` (size,): the
    parameters at which ``metrics`` and ``objective`` (with penalties) were measured. ``reason``: why
    there is nothing more to do, or empty. ``summaries``: of the splits. ``phases``: seconds by name.
    ``facts``: what the engine tells of the job.
    """

    variables: np.ndarray
    state: Any
    point: np.ndarray
    objective: float
    metrics: dict[str, dict[str, Any]]
    summaries: list[dict]
    phases: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """``variables`` are what the optimizer moves; ``parameters`` are the model's, made from them."""

    def begin(self, parameters: np.ndarray) -> tuple[np.ndarray, Any]:
        """Variables and state to start from."""

    def parameters(self, variables: np.ndarray) -> np.ndarray:
        """What a model computes with, (size,)."""

    def step(self, iteration: int, variables: np.ndarray, state: Any) -> Step:
        """Iteration number ``iteration``, from 1. Raises ``Diverged``."""
