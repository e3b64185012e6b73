"""Strategy ``synchronous``: every iteration is one pass over all the data (Chu et al. 2006).

Means are made here, once, and penalties are added here, once (law 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mr_gradient.jobs.broadcast import Settings
from mr_gradient.models.penalty import Penalty
from mr_gradient.optimizers.base import EachGradient, Evaluation, Search
from mr_gradient.optimizers.change_of_variables import ChangeOfVariables
from mr_gradient.strategies.base import Diverged, Step
from mr_gradient.strategies.passes import AtPoint, Passes
from mr_gradient.timing import timed


class Synchronous:
    """``settings(iteration)`` are those of its job; ``change``: from variables to parameters, or
    None where they are the same."""

    def __init__(self, passes: Passes, search: Search, penalty: Penalty,
                 change: ChangeOfVariables | None, settings: Callable[[int], Settings]) -> None:
        self._passes, self._search, self._penalty = passes, search, penalty
        self._change, self._settings = change, settings

    def begin(self, parameters: np.ndarray) -> tuple[np.ndarray, Any]:
        variables = self._changed("from_model", parameters)
        return variables, self._search.init(variables)

    def parameters(self, variables: np.ndarray) -> np.ndarray:
        return self._changed("to_model", variables)

    def _changed(self, how: str, flat: np.ndarray) -> np.ndarray:
        """A flat vector after a method of the change."""
        if self._change is None:
            return flat
        layout = self._passes.layout
        with np.errstate(all="ignore"):  # what is not finite shows in the loss
            return layout.flatten(getattr(self._change, how)(layout.views(flat)), flat.dtype)

    def step(self, iteration: int, variables: np.ndarray, state: Any) -> Step:
        points = self._search.points(state, variables)
        parameters = [self.parameters(point) for point in points]
        result = self._passes.run(self._settings(iteration), parameters)
        with timed(result.phases, "update"), np.errstate(all="ignore"):
            evaluations = [self._evaluation(*pair) for pair in zip(result.points, parameters)]
            if isinstance(self._search, EachGradient):
                _check(evaluations[0])
            variables, state = self._search.update(evaluations, state, variables)
            if not np.isfinite(variables).all():
                raise Diverged("the parameters are no longer finite", False)
        objectives = [each.objective + self._penalty.l1_value(at)
                      for each, at in zip(evaluations, parameters)]
        best = int(np.argmin([each if np.isfinite(each) else np.inf for each in objectives]))
        reason = self._search.reason(state)
        if reason and not np.isfinite(objectives[best]):
            raise Diverged(reason, True)
        return Step(variables, state, parameters[best], objectives[best],
                    result.points[best].metrics, result.summaries, result.phases, reason,
                    result.facts)

    def _evaluation(self, found: AtPoint, parameters: np.ndarray) -> Evaluation:
        """Mean loss plus smooth penalties, and its derivatives by the variables."""
        train = found.metrics["train"]
        gradient = found.gradient
        gradient /= gradient.dtype.type(train["weight"])
        self._penalty.add_gradient(gradient, parameters)
        hessian = found.hessian
        if hessian is not None:
            hessian /= train["weight"]
            self._penalty.add_hessian(hessian)
        objective = train["loss"] + self._penalty.l2_value(parameters)
        return Evaluation(objective, self._changed("gradient", gradient), hessian)


def _check(evaluation: Evaluation) -> None:
    """A first-order optimizer cannot step back from a point that it cannot compute with."""
    if not np.isfinite(evaluation.objective):
        raise Diverged(f"the loss is {evaluation.objective}", True)
    if not np.isfinite(evaluation.gradient).all():
        raise Diverged("the gradient is not finite", True)
