"""L-BFGS with a strong-Wolfe search, resumable after every job.

Nocedal 1980, "Updating quasi-Newton matrices with limited storage"; Nocedal and Wright 2006,
algorithms 7.4 and 7.5. A job is dear, so the full step 1 is tried alone, which is accepted nearly
always; for the first step, whose length nothing tells, and after a rejection, one job evaluates
several steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mr_gradient.errors import UsageError
from mr_gradient.optimizers import curvature, ending, line_search
from mr_gradient.optimizers.base import Evaluation
from mr_gradient.optimizers.curvature import Curvature
from mr_gradient.optimizers.ending import Progress
from mr_gradient.optimizers.line_search import Bracket, Trial
from mr_gradient.optimizers.options import check_not_negative, check_positive

#: Rounds of a search before it settles for what it has; fewer where a full step cannot lower the
#: objective by more than rounding.
_ROUNDS, _ROUNDS_IN_NOISE = 6, 2


class LBFGSState(NamedTuple):
    """``objective`` (not a number before the first job) and ``gradient`` (size,) are those of the
    parameters; ``direction`` (size,) and ``bracket`` are the search that goes on from them."""

    progress: Progress
    objective: float
    gradient: np.ndarray
    direction: np.ndarray
    curvature: Curvature
    bracket: Bracket


@dataclass(frozen=True)
class LBFGS:
    """Minimizes a smooth objective.

    ``memory``: pairs that are remembered; with 20, softmax on MNIST took 65 jobs instead of 60.
    ``first``: how many steps the very first search evaluates, whose direction has unit length for
    want of a better one, 1 to 5; 1 does where the variables have a Hessian of about 1. ``steps``: how
    many the first job of a later iteration evaluates, 1 to 5; with 2, softmax on MNIST took 54 jobs
    instead of 60, each of twice the work. ``trials``: how many a job evaluates after a rejection. Ends
    when the gradient's max norm is at most ``gradient_tolerance``, or an accepted step lowers the
    objective by at most ``objective_tolerance`` of it, or rounding leaves nothing to gain.
    """

    memory: int = 30
    gradient_tolerance: float = 1e-6
    objective_tolerance: float = 1e-10
    first: int = 3
    steps: int = 1
    trials: int = 2

    wants_hessian = False

    def __post_init__(self) -> None:
        check_positive("memory", self.memory, 1)
        check_not_negative("gradient_tolerance", self.gradient_tolerance)
        check_not_negative("objective_tolerance", self.objective_tolerance)
        for name, most in (("first", line_search.FIRST), ("steps", line_search.LATER)):
            check_positive(name, getattr(self, name), 1)
            if getattr(self, name) > len(most):
                raise UsageError(f"--{name} {getattr(self, name)}: must be at most {len(most)}")
        check_positive("trials", self.trials, 1)

    def init(self, parameters: np.ndarray) -> LBFGSState:
        return LBFGSState(Progress(), math.nan, np.zeros_like(parameters), np.zeros_like(parameters),
                          curvature.empty(self.memory), line_search.begin(0.0, 0.0))

    def reason(self, state: LBFGSState) -> str:
        return ending.REASONS[state.progress.ended]

    def points(self, state: LBFGSState, parameters: np.ndarray) -> list[np.ndarray]:
        if state.progress.ended:
            return []
        if math.isnan(state.objective):
            return [parameters]
        return [curvature.combine(np.array([1.0, step]), [parameters, state.direction])
                for step in self._steps(state)]

    def _steps(self, state: LBFGSState) -> tuple[float, ...]:
        """The steps of the next job, of this bracket always the same."""
        if _settles(state):
            return (state.bracket.low_step,)
        if state.bracket.rounds:
            return line_search.next_steps(state.bracket, self.trials)
        if state.curvature.steps:
            return line_search.LATER[:self.steps]
        return line_search.FIRST[:self.first]

    def update(self, evaluations: Sequence[Evaluation], state: LBFGSState,
               parameters: np.ndarray) -> tuple[np.ndarray, LBFGSState]:
        if state.progress.ended:
            return parameters, state
        with np.errstate(all="ignore"):
            if math.isnan(state.objective):
                return parameters, self._start(evaluations[0], state, parameters.dtype)
            steps = self._steps(state)
            trials = [Trial(step, float(evaluation.objective),
                            curvature.dot(evaluation.gradient, state.direction))
                      for step, evaluation in zip(steps, evaluations)]
            noise = ending.rounding(state.objective, parameters.dtype)
            chosen = 0 if _settles(state) else line_search.choose(state.bracket, trials, noise)
            if chosen is None:
                bracket = line_search.narrow(state.bracket, trials)
                return parameters, self._rejected(state._replace(bracket=bracket))
            point = self.points(state, parameters)[chosen]
            return point, self._accepted(evaluations[chosen], state, point, parameters)

    def _start(self, evaluation: Evaluation, state: LBFGSState, dtype: np.dtype) -> LBFGSState:
        gradient = evaluation.gradient.astype(dtype)
        objective = float(evaluation.objective)
        progress = ending.start(objective, gradient, self.gradient_tolerance)
        return _towards(state._replace(progress=progress, objective=objective, gradient=gradient))

    def _accepted(self, evaluation: Evaluation, state: LBFGSState, point: np.ndarray,
                  parameters: np.ndarray) -> LBFGSState:
        gradient = evaluation.gradient.astype(parameters.dtype)
        objective = float(evaluation.objective)
        progress = ending.step(state.progress, state.objective, objective, gradient,
                               gradient.dtype, self.gradient_tolerance, self.objective_tolerance)
        if _settles(state) and math.isinf(state.bracket.high_step):
            progress = progress._replace(ended=ending.UNBOUNDED)
        remembered = curvature.remember(state.curvature, point - parameters,
                                        gradient - state.gradient)
        return _towards(LBFGSState(progress, objective, gradient, state.direction, remembered,
                                   state.bracket))

    def _rejected(self, state: LBFGSState) -> LBFGSState:
        """Nothing changes but the bracket, until the search has had its rounds in vain."""
        if not _exhausted(state) or _settles(state):
            return state
        if not state.curvature.steps:
            return state._replace(progress=state.progress._replace(ended=ending.STALLED))
        return _along_gradient(state)


def _exhausted(state: LBFGSState) -> bool:
    in_noise = -state.bracket.start_slope <= ending.rounding(state.objective, state.gradient.dtype)
    return state.bracket.rounds >= (_ROUNDS_IN_NOISE if in_noise else _ROUNDS)


def _settles(state: LBFGSState) -> bool:
    """Whether the search has had its rounds, and takes the best step with sufficient decrease."""
    return _exhausted(state) and state.bracket.low_step > 0


def _towards(state: LBFGSState) -> LBFGSState:
    """With the direction and the bracket of a new search."""
    if state.progress.ended:
        return state
    if not state.curvature.steps:
        return _along_gradient(state)
    direction = curvature.direction(state.curvature, state.gradient)
    slope = curvature.dot(state.gradient, direction)
    if not (math.isfinite(slope) and slope < 0):
        return _along_gradient(state)
    return state._replace(direction=direction, bracket=line_search.begin(state.objective, slope))


def _along_gradient(state: LBFGSState) -> LBFGSState:
    """Steepest descent, forgetting all pairs: of unit length, or scaled by the newest pair."""
    size = (curvature.scaling(state.curvature) if state.curvature.steps
            else 1 / math.sqrt(curvature.dot(state.gradient, state.gradient)))
    direction = curvature.combine(np.array([-size]), [state.gradient])
    slope = curvature.dot(state.gradient, direction)
    memory = len(state.curvature.products) // 2
    return state._replace(direction=direction, curvature=curvature.empty(memory),
                          bracket=line_search.begin(state.objective, slope))
