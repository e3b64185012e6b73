"""Strategy ``local-sgd``: every map task trains by itself for a while, then all are averaged.

Zinkevich et al. 2010, "Parallelized Stochastic Gradient Descent", algorithm 3, averages once, at the
end; here it is done after every iteration, as Stich 2019, "Local SGD Converges Fast and Communicates
Little", whose algorithm 1 this is with replicas weighted by their examples. The optimizer's state is
averaged with the parameters: for momentum, Yu, Jin and Yang 2019, "On the Linear Speedup Analysis of
Communication Efficient Momentum SGD", algorithm 1, prove convergence with it, and a velocity that
restarts at every iteration would be lost work; the moments of Adam are averages of gradients too.
With one split this is plain minibatch SGD.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mr_gradient import optimizers
from mr_gradient.jobs.broadcast import Local, Settings
from mr_gradient.jobs.local_sgd_job import LocalSgdJob
from mr_gradient.models.penalty import Penalty
from mr_gradient.optimizers.base import Optimizer, pack, unpack, vectors
from mr_gradient.strategies.base import Diverged, Step
from mr_gradient.strategies.passes import Passes


class LocalSgd:
    """``batch_size`` rows an update; in an iteration ``epochs`` passes over each split, or ``steps``
    updates if that is not 0."""

    def __init__(self, passes: Passes, optimizer: Optimizer, penalty: Penalty, batch_size: int,
                 epochs: int, steps: int, settings: Callable[[int], Settings]) -> None:
        self._passes, self._optimizer, self._penalty = passes, optimizer, penalty
        self._settings = settings
        self._local = Local(optimizers.to_json(optimizer), penalty.l2, penalty.ranges, batch_size,
                            epochs, steps, passes.rows)

    def begin(self, parameters: np.ndarray) -> tuple[np.ndarray, Any]:
        return parameters, self._optimizer.init(parameters)

    def parameters(self, variables: np.ndarray) -> np.ndarray:
        return variables

    def step(self, iteration: int, variables: np.ndarray, state: Any) -> Step:
        """The metrics of the training part are running means, while the parameters moved; those of
        the held-out part are at the parameters of before."""
        names = vectors(state)
        arrays = pack(state)
        points = [variables, *(arrays[name] for name in names)]
        result = self._passes.run(replace(
            self._settings(iteration), local=replace(self._local, step=int(arrays["step"]))),
            points, LocalSgdJob)
        parameters, *averages = (point.gradient for point in result.points)
        train = result.points[0].metrics["train"]
        if not (np.isfinite(train["loss"]) and np.isfinite(parameters).all()):
            raise Diverged(f"the loss is {train['loss']}" if not np.isfinite(train["loss"])
                           else "the parameters are no longer finite", False)
        steps = max(summary["sums"][0]["updates"] for summary in result.summaries
                    if summary["part"] == "train")
        step = np.asarray(int(arrays["step"]) + int(steps), arrays["step"].dtype)
        state = unpack(state, arrays | dict(zip(names, averages)) | {"step": step})
        objective = train["loss"] + self._penalty.value(variables)
        return Step(parameters, state, variables, objective, result.points[0].metrics,
                    result.summaries, result.phases, facts=result.facts)
