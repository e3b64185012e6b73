"""When a search has ended, and why: the same rules for every batch optimizer.

They end every search whose objective has a lower bound, also where rounding hides its decrease: in
``PATIENCE`` accepted steps the objective must fall by more than rounding, or the gradient by half.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

REASONS = ("",
           "the gradient is within its tolerance",
           "the objective changes by less than its tolerance",
           "the objective changes by less than rounding",
           "no step along the gradient lowers the objective",
           "the objective has no lower bound along the last direction",
           "the objective or its gradient is not finite at the start")
GOING_ON, GRADIENT, OBJECTIVE, ROUNDING, STALLED, UNBOUNDED, NOT_FINITE = range(len(REASONS))
#: Accepted steps without progress before a search ends.
PATIENCE = 10


class Progress(NamedTuple):
    """``ended``: index of the reason; ``accepted`` steps; ``flat`` of them since the objective fell
    to ``reference`` or the gradient's max norm to ``norm``, the last progress."""

    ended: int = GOING_ON
    accepted: int = 0
    flat: int = 0
    reference: float = math.inf
    norm: float = math.inf


def rounding(objective: float, dtype: np.dtype) -> float:
    """By how much two evaluations in ``dtype`` of one objective may differ."""
    return 10 * float(np.finfo(dtype).eps) * abs(objective)


def largest(gradient: np.ndarray) -> float:
    """The largest of the gradient's absolute values: max norm."""
    return float(np.max(np.abs(gradient), initial=0.0))


def start(objective: float, gradient: np.ndarray, tolerance: float) -> Progress:
    """After the evaluation of the initial parameters."""
    norm = largest(gradient)
    if not (math.isfinite(objective) and math.isfinite(norm)):
        return Progress(NOT_FINITE)
    return Progress(GRADIENT if norm <= tolerance else GOING_ON, reference=objective, norm=norm)


def step(progress: Progress, before: float, objective: float, gradient: np.ndarray,
         dtype: np.dtype, gradient_tolerance: float, objective_tolerance: float) -> Progress:
    """After an accepted step from objective ``before``; ``gradient`` is that of the new point,
    ``dtype`` the type in which objectives are evaluated. One step says nothing about a tolerance
    below its rounding: then only ``PATIENCE`` ends the search."""
    noise, norm = rounding(progress.reference, dtype), largest(gradient)
    fell = objective < progress.reference - noise or norm < progress.norm / 2
    flat = 0 if fell else progress.flat + 1
    least = objective_tolerance * max(abs(before), abs(objective))
    if norm <= gradient_tolerance:
        ended = GRADIENT
    elif before - objective <= least and least > noise:
        ended = OBJECTIVE
    else:
        ended = ROUNDING if flat >= PATIENCE else GOING_ON
    return Progress(ended, progress.accepted + 1, flat,
                    min(objective, progress.reference) if fell else progress.reference,
                    min(norm, progress.norm) if fell else progress.norm)
