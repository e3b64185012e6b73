"""Newton's method, damped: iteratively reweighted least squares for generalized linear models.

Nocedal and Wright 2006, sections 3.3 and 3.4. Each job gives the Hessian beside objective and
gradient (Chu et al. 2006, "Map-reduce for machine learning on multicore"), so an iteration is one
job as long as the full step is accepted. The state holds no Hessian, only the step it gave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mr_gradient.optimizers import ending, line_search
from mr_gradient.optimizers.base import Evaluation
from mr_gradient.optimizers.ending import Progress
from mr_gradient.optimizers.line_search import Bracket, Trial
from mr_gradient.optimizers.options import check_not_negative, check_positive

#: Rounds of a search before it ends; fewer where a full step cannot lower the objective by more than
#: rounding.
_ROUNDS, _ROUNDS_IN_NOISE = 10, 2
#: Accepted steps in a row that do not flatten the slope before a search ends.
_STEEP = 10
#: Squares of pivots that are not above this, on the Hessian scaled to a diagonal of ones, are
#: rounding; what is then added to this diagonal, one after the other until none is left. Above 0.1
#: curvature is negative, and more than it takes makes short steps.
_LEAST = 1e-12
_LEVELS = (0.0, *(10.0 ** power for power in range(-11, 0, 2)),
           *(2.0 ** power for power in range(-2, 21)))
_BLOCK = 64


class NewtonState(NamedTuple):
    """``objective`` (not a number before the first job) and ``gradient`` (size,) float64 are those of
    the parameters; ``direction`` (size,) float64 and ``bracket`` are the search that goes on.
    ``steep``: how many accepted steps, to the last, have not flattened the slope."""

    progress: Progress
    objective: float
    gradient: np.ndarray
    direction: np.ndarray
    bracket: Bracket
    steep: int


@dataclass(frozen=True)
class Newton:
    """Minimizes an objective with a Hessian, for up to some 4,000 parameters.

    ``trials``: steps that a job evaluates after a rejection. The tolerances as for L-BFGS.
    """

    gradient_tolerance: float = 1e-6
    objective_tolerance: float = 1e-10
    trials: int = 2

    wants_hessian = True

    def __post_init__(self) -> None:
        check_not_negative("gradient_tolerance", self.gradient_tolerance)
        check_not_negative("objective_tolerance", self.objective_tolerance)
        check_positive("trials", self.trials, 1)

    def init(self, parameters: np.ndarray) -> NewtonState:
        zeros = np.zeros(parameters.size)
        return NewtonState(Progress(), math.nan, zeros, zeros, line_search.begin(0.0, 0.0), 0)

    def reason(self, state: NewtonState) -> str:
        return ending.REASONS[state.progress.ended]

    def points(self, state: NewtonState, parameters: np.ndarray) -> list[np.ndarray]:
        if state.progress.ended:
            return []
        if math.isnan(state.objective):
            return [parameters]
        return [(parameters + step * state.direction).astype(parameters.dtype)
                for step in self._steps(state)]

    def _steps(self, state: NewtonState) -> tuple[float, ...]:
        return (line_search.next_steps(state.bracket, self.trials) if state.bracket.rounds
                else (1.0,))

    def update(self, evaluations: Sequence[Evaluation], state: NewtonState,
               parameters: np.ndarray) -> tuple[np.ndarray, NewtonState]:
        if state.progress.ended:
            return parameters, state
        with np.errstate(all="ignore"):
            if math.isnan(state.objective):
                return parameters, self._start(evaluations[0])
            trials = [_trial(step, evaluation, state.direction)
                      for step, evaluation in zip(self._steps(state), evaluations)]
            noise = ending.rounding(state.objective, parameters.dtype)
            fit = [index for index, trial in enumerate(trials)
                   if line_search.decreases(state.bracket, trial)
                   or line_search.acceptable(state.bracket, trial, noise)]
            if not fit:
                return parameters, _rejected(state, trials, noise)
            chosen = min(fit, key=lambda index: trials[index].objective)
            point = self.points(state, parameters)[chosen]
            return point, self._accepted(evaluations[chosen], trials[chosen], state, point.dtype)

    def _start(self, evaluation: Evaluation) -> NewtonState:
        gradient, objective = evaluation.gradient.astype(np.float64), float(evaluation.objective)
        finite = np.isfinite(evaluation.hessian).all()
        progress = ending.start(objective if finite else math.nan, gradient, self.gradient_tolerance)
        return _towards(progress, evaluation, 0)

    def _accepted(self, evaluation: Evaluation, trial: Trial, state: NewtonState,
                  dtype: np.dtype) -> NewtonState:
        progress = ending.step(state.progress, state.objective, float(evaluation.objective),
                               evaluation.gradient, dtype, self.gradient_tolerance,
                               self.objective_tolerance)
        steep = state.steep + 1 if trial.slope <= state.bracket.start_slope else 0
        if steep >= _STEEP and not progress.ended:
            progress = progress._replace(ended=ending.UNBOUNDED)
        return _towards(progress, evaluation, steep)


def _trial(step: float, evaluation: Evaluation, direction: np.ndarray) -> Trial:
    finite = np.isfinite(evaluation.hessian).all()
    return Trial(step, float(evaluation.objective) if finite else math.inf,
                 float(evaluation.gradient @ direction))


def _rejected(state: NewtonState, trials: Sequence[Trial], noise: float) -> NewtonState:
    bracket = line_search.narrow(state.bracket, trials)
    rounds = _ROUNDS_IN_NOISE if -bracket.start_slope <= noise else _ROUNDS
    ended = ending.STALLED if bracket.rounds >= rounds else ending.GOING_ON
    return state._replace(bracket=bracket, progress=state.progress._replace(ended=ended))


def _towards(progress: Progress, evaluation: Evaluation, steep: int) -> NewtonState:
    """The state at a point, with the Newton step from it."""
    gradient, objective = evaluation.gradient.astype(np.float64), float(evaluation.objective)
    if progress.ended:
        direction, slope = np.zeros_like(gradient), 0.0
    else:
        direction = newton_step(evaluation.hessian, gradient)
        slope = float(gradient @ direction)
    return NewtonState(progress, objective, gradient, direction,
                       line_search.begin(objective, slope), steep)


def newton_step(hessian: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """-(H + E)^-1 g, (size,): E is 0 where the Hessian (size, size) is positive definite beyond
    rounding, and otherwise the least of a few multiples of its diagonal that make it so.

    As algorithm 3.3 of Nocedal and Wright 2006, on the Hessian scaled to a diagonal of ones, where
    the unit of a feature does not matter (Marquardt 1963). A diagonal element of 0 counts as 1.
    """
    diagonal = np.abs(hessian.diagonal())
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = hessian * scale[:, None] * scale
    ones = np.where(diagonal > 0, hessian.diagonal() * scale * scale, 0.0)
    for level in _LEVELS:
        np.fill_diagonal(scaled, ones + level)
        try:
            lower = np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            continue
        if (lower.diagonal() ** 2).min() > _LEAST:
            return -scale * _solve(lower, scale * gradient)
    return -scale * scale * gradient


def _solve(lower: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x with L L^T x = right, both (size,), for a lower triangle L.

    By blocks, since numpy has no solver for triangles: its general one took 1.3 s for each of the
    two at 4,000, this 0.02 for both.
    """
    x = right.copy()
    starts = range(0, x.size, _BLOCK)
    for start in starts:
        stop = start + _BLOCK
        x[start:stop] -= lower[start:stop, :start] @ x[:start]
        x[start:stop] = np.linalg.solve(lower[start:stop, start:stop], x[start:stop])
    for start in reversed(starts):
        stop = start + _BLOCK
        x[start:stop] -= lower[stop:, start:stop].T @ x[stop:]
        x[start:stop] = np.linalg.solve(lower[start:stop, start:stop].T, x[start:stop])
    return x
