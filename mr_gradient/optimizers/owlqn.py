"""OWL-QN: L-BFGS for a smooth objective plus L1 penalties, with exact zeros.

Andrew and Gao 2007, "Scalable training of L1-regularized log-linear models": the pseudo-gradient
(their equation 4) in place of the gradient, every trial point projected onto the orthant of the
start (equation 6), and backtracking. Three deviations:

- The direction is that of L-BFGS among the coordinates that are not held at zero, from the pairs'
  parts there, as a projected Newton method has it (Bertsekas 1982). Theirs takes the inverse
  Hessian of all coordinates, in which those that may not move count as if they did.
- Of the direction, only what would lead a zero uphill is dropped (their algorithm 1, step 2, drops
  every sign that differs from the pseudo-gradient's). A step that does not descend is replaced by
  one along the pseudo-gradient. Both together took 128 jobs for 324 on the digits at l1 = 0.001.
- A job after a rejection evaluates several halvings; the lowest objective that suffices wins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import NamedTuple

import numpy as np

from mr_gradient.optimizers import curvature, ending
from mr_gradient.optimizers.base import Evaluation
from mr_gradient.optimizers.curvature import Curvature
from mr_gradient.optimizers.ending import Progress
from mr_gradient.optimizers.line_search import DECREASE, FIRST
from mr_gradient.optimizers.options import check_not_negative, check_positive

#: Halvings of a search before it starts over along the gradient; fewer where the step cannot lower
#: the objective by more than rounding.
_HALVINGS, _HALVINGS_IN_NOISE = 30, 4
#: Accepted steps, each the longest tried, that show no positive curvature before a search ends.
_UNCURVED = 10


class OWLQNState(NamedTuple):
    """``objective``, with the L1 penalty (not a number before the first job), and ``gradient``
    (size,), without it, are those of the parameters. ``direction`` (size,) leads from them; it must
    be halved at least ``halvings`` times. ``uncurved``: steps accepted since there was a pair."""

    progress: Progress
    objective: float
    gradient: np.ndarray
    direction: np.ndarray
    curvature: Curvature
    halvings: int
    uncurved: int


def pseudo_gradient(gradient: np.ndarray, parameters: np.ndarray,
                    strengths: np.ndarray) -> np.ndarray:
    """The subgradient of least size: equation 4. All (size,); zero where a zero should stay."""
    at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - strengths, 0)
    return np.where(parameters == 0, at_zero, gradient + np.sign(parameters) * strengths)


@dataclass(frozen=True)
class OWLQN:
    """Minimizes f(w) + l1 * sum of |scale_j w_j| over the coordinates j in ``penalized``.

    Evaluations are those of f alone. ``penalized``: half-open ranges of the flat vector, those of
    ``Penalty.ranges``. ``scale`` (size,), for a search in scaled variables, which then penalizes the
    parameters of the model. ``memory``, ``trials`` and the tolerances as for L-BFGS; the gradient
    that must vanish is the pseudo-gradient.
    """

    l1: float
    memory: int = 20
    gradient_tolerance: float = 1e-6
    objective_tolerance: float = 1e-10
    trials: int = 2
    _: KW_ONLY
    penalized: tuple[tuple[int, int], ...]
    scale: np.ndarray | None = field(default=None, compare=False, repr=False)

    wants_hessian = False

    def __post_init__(self) -> None:
        check_not_negative("l1", self.l1)
        check_positive("memory", self.memory, 1)
        check_not_negative("gradient_tolerance", self.gradient_tolerance)
        check_not_negative("objective_tolerance", self.objective_tolerance)
        check_positive("trials", self.trials, 1)

    def init(self, parameters: np.ndarray) -> OWLQNState:
        return OWLQNState(Progress(), math.nan, np.zeros_like(parameters), np.zeros_like(parameters),
                          curvature.empty(self.memory), 0, 0)

    def reason(self, state: OWLQNState) -> str:
        return ending.REASONS[state.progress.ended]

    def points(self, state: OWLQNState, parameters: np.ndarray) -> list[np.ndarray]:
        if state.progress.ended:
            return []
        if math.isnan(state.objective):
            return [parameters]
        uphill = self._pseudo_gradient(state.gradient, parameters)
        orthant = np.where(parameters == 0, -np.sign(uphill), np.sign(parameters))
        free = self._strengths(parameters) == 0
        points = []
        for step in self._steps(state):
            point = curvature.combine(np.array([1.0, step]), [parameters, state.direction])
            points.append(np.where(free | (point * orthant > 0), point, point.dtype.type(0)))
        return points

    def _steps(self, state: OWLQNState) -> tuple[float, ...]:
        """The steps of the next job, of this state always the same."""
        if state.halvings:
            return tuple(0.5 ** (state.halvings + more) for more in range(self.trials))
        return (1.0,) if state.curvature.steps else FIRST

    def _strengths(self, parameters: np.ndarray) -> np.ndarray:
        """The penalty's factor for each coordinate, (size,), in the type of the parameters."""
        strengths = np.zeros_like(parameters)
        for start, stop in self.penalized:
            strengths[start:stop] = self.l1
        if self.scale is not None:
            strengths *= np.abs(self.scale).astype(strengths.dtype)
        return strengths

    def _pseudo_gradient(self, gradient: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        return pseudo_gradient(gradient, parameters, self._strengths(parameters))

    def _objective(self, evaluation: Evaluation, parameters: np.ndarray) -> float:
        return float(evaluation.objective) + curvature.dot(np.abs(parameters),
                                                           self._strengths(parameters))

    def update(self, evaluations: Sequence[Evaluation], state: OWLQNState,
               parameters: np.ndarray) -> tuple[np.ndarray, OWLQNState]:
        if state.progress.ended:
            return parameters, state
        with np.errstate(all="ignore"):
            if math.isnan(state.objective):
                return parameters, self._start(evaluations[0], state, parameters)
            chosen, lowest = None, math.inf
            points = self.points(state, parameters)
            for index, (point, evaluation) in enumerate(zip(points, evaluations)):
                objective = self._objective(evaluation, point)
                if (objective < lowest and _is_finite(evaluation)
                        and self._suffices(evaluation, objective, point, state, parameters)):
                    chosen, lowest = index, objective
            if chosen is None:
                return parameters, self._rejected(state, parameters)
            return points[chosen], self._accepted(evaluations[chosen], state, points[chosen],
                                                  parameters)

    def _suffices(self, evaluation: Evaluation, objective: float, point: np.ndarray,
                  state: OWLQNState, parameters: np.ndarray) -> bool:
        """Equation 5, or, where the decrease it asks for is below rounding, a slope that is not as
        steep upwards as it was downwards (Hager and Zhang 2005, equation 4.1)."""
        step = point - parameters
        slope = curvature.dot(self._pseudo_gradient(state.gradient, parameters), step)
        noise = ending.rounding(state.objective, parameters.dtype)
        if objective <= state.objective + DECREASE * slope:
            return slope < 0
        if objective > state.objective + noise or -slope > noise:
            return False
        gradient = evaluation.gradient.astype(parameters.dtype)
        return curvature.dot(self._pseudo_gradient(gradient, point), step) <= (
            (2 * DECREASE - 1) * slope)

    def _start(self, evaluation: Evaluation, state: OWLQNState,
               parameters: np.ndarray) -> OWLQNState:
        gradient = evaluation.gradient.astype(parameters.dtype)
        objective = self._objective(evaluation, parameters)
        progress = ending.start(objective, self._pseudo_gradient(gradient, parameters),
                                self.gradient_tolerance)
        return self._towards(state._replace(progress=progress, objective=objective,
                                            gradient=gradient), parameters)

    def _accepted(self, evaluation: Evaluation, state: OWLQNState, point: np.ndarray,
                  parameters: np.ndarray) -> OWLQNState:
        gradient = evaluation.gradient.astype(parameters.dtype)
        objective = self._objective(evaluation, point)
        progress = ending.step(state.progress, state.objective, objective,
                               self._pseudo_gradient(gradient, point), gradient.dtype,
                               self.gradient_tolerance, self.objective_tolerance)
        step = point - parameters
        remembered = curvature.remember(state.curvature, step, gradient - state.gradient)
        uncurved = 0 if remembered.steps else state.uncurved + 1
        if uncurved >= _UNCURVED and not progress.ended:
            progress = progress._replace(ended=ending.UNBOUNDED)
        return self._towards(OWLQNState(progress, objective, gradient, step, remembered, 0, uncurved),
                             point)

    def _rejected(self, state: OWLQNState, parameters: np.ndarray) -> OWLQNState:
        """Shorter steps, until all that can lower the objective measurably have been in vain."""
        tried = -math.log2(min(self._steps(state)))
        halvings = int(tried) + 1
        uphill = self._pseudo_gradient(state.gradient, parameters)
        decrease = -curvature.dot(uphill, state.direction) * 0.5 ** halvings
        noise = ending.rounding(state.objective, state.gradient.dtype)
        if halvings <= _HALVINGS and (decrease > noise or halvings <= _HALVINGS_IN_NOISE):
            return state._replace(halvings=halvings)
        if not state.curvature.steps:
            return state._replace(progress=state.progress._replace(ended=ending.STALLED))
        return self._along_gradient(state, uphill)

    def _towards(self, state: OWLQNState, parameters: np.ndarray) -> OWLQNState:
        """With the direction of a new search."""
        if state.progress.ended:
            return state
        uphill = self._pseudo_gradient(state.gradient, parameters)
        at_zero = (parameters == 0) & (self._strengths(parameters) > 0)
        direction = _among(state.curvature, uphill, ~(at_zero & (uphill == 0)))
        direction[at_zero & (direction * uphill >= 0)] = 0
        slope = curvature.dot(uphill, direction)
        if not (math.isfinite(slope) and slope < 0):
            return self._along_gradient(state, uphill)
        return state._replace(direction=direction, halvings=0)

    def _along_gradient(self, state: OWLQNState, uphill: np.ndarray) -> OWLQNState:
        """Steepest descent, forgetting all pairs: scaled by the newest, or as long as the last step,
        or of unit length."""
        length = math.sqrt(curvature.dot(state.direction, state.direction)) or 1.0
        size = (curvature.scaling(state.curvature) if state.curvature.steps
                else length / math.sqrt(curvature.dot(uphill, uphill)))
        return state._replace(direction=curvature.combine(np.array([-size]), [uphill]),
                              curvature=curvature.empty(self.memory), halvings=0)


def _among(remembered: Curvature, uphill: np.ndarray, free: np.ndarray) -> np.ndarray:
    """The quasi-Newton direction among the coordinates that are ``free`` (size,), 0 elsewhere."""
    direction = np.zeros_like(uphill)
    if remembered.steps:
        among = remembered if free.all() else curvature.restrict(remembered, free)
        if among.steps:
            direction[free] = curvature.direction(among, uphill[free])
    return direction


def _is_finite(evaluation: Evaluation) -> bool:
    return math.isfinite(evaluation.objective) and bool(np.isfinite(evaluation.gradient).all())
