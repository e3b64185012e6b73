"""The driver loop: job -> update -> checkpoint, until the iterations asked for are done."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import numpy as np

from mr_gradient import fingerprint, models, optimizers
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.config import TrainConfig
from mr_gradient.dataset.schema import Dataset, open_dataset
from mr_gradient.errors import DivergenceError
from mr_gradient.jobs.broadcast import Settings, settings_for
from mr_gradient.jobs.launch import Launcher, job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.model_folder import SavedModel, is_current
from mr_gradient.model_folder import load as load_model
from mr_gradient.model_folder import save as save_model
from mr_gradient.models.base import layout
from mr_gradient.models.penalty import Penalty
from mr_gradient.optimizers.base import pack, unpack
from mr_gradient.progress import Progress, Silent
from mr_gradient.strategies.synchronous import Pass, Synchronous
from mr_gradient.timing import timed
from mr_gradient.training_folder import TrainingFolder


def train(config: TrainConfig, progress: Callable[[int, int], Progress] | None = None) -> dict:
    """Train, or go on with, the model in ``config.out``; returns the summary that ``--json`` prints.

    Stops with a ``MrGradientError`` on bad input or divergence; the last good checkpoint stays.
    """
    config.check()
    arguments = job_arguments(config.runner, config.runner_options, config.verbose)
    dataset = open_dataset(config.data)
    with contextlib.closing(TrainingFolder(config.out, config.restart)) as folder:
        training = Training(config, dataset, folder)
        with launcher(arguments, training.layout.size * 8) as jobs:
            return training.run(jobs, progress or (lambda total, done: Silent()))


class Training:
    """Parameters and optimizer state of one training, taken up at its newest checkpoint."""

    def __init__(self, config: TrainConfig, dataset: Dataset, folder: TrainingFolder) -> None:
        self.config, self.dataset, self.folder = config, dataset, folder
        schema = dataset.schema
        self.model = models.create(config.model, schema.width, schema.kind,
                                   len(schema.classes), {"hidden": config.hidden})
        self.layout = layout(self.model)
        self.penalty = Penalty.of(self.model, config.l2)
        self.optimizer = optimizers.create(config.optimizer, {
            "learning_rate": config.learning_rate, "momentum": config.momentum,
            "penalized": self.penalty.ranges})
        self.dtype = np.dtype(config.precision)
        self.identity = config.identity(self.model, self.optimizer, dataset.digest)
        self.iteration = 0
        self._fingerprints = {fingerprint.describe()["digest"]}
        self.parameters = self.layout.flatten(self.model.init(config.seed), self.dtype)
        self.state = self.optimizer.init(self.parameters)
        if last := folder.newest(self.identity, config.iterations):
            self.parameters = self.layout.flatten(last.parameters, self.dtype)
            self.state = unpack(self.state, last.optimizer)
            self.iteration = last.iteration
            self._fingerprints.add(last.fingerprint)

    def run(self, jobs: Launcher, progress: Callable[[int, int], Progress]) -> dict:
        """Iterate until all is done, then measure and save the model."""
        started = time.perf_counter()
        splits = make_splits(self.dataset, rows_per_split=self.config.rows_per_split)
        strategy = Synchronous(jobs, splits, self.layout)
        shown = progress(self.config.iterations, self.iteration)
        try:
            if self.iteration:
                shown.note(f"resuming after iteration {self.iteration}")
            if len(self._fingerprints) > 1:
                shown.note("warning: the checkpoint was written with another numpy build or CPU "
                           "type; the bits of this training cannot be reproduced")
            while self.iteration < self.config.iterations:
                self._iterate(strategy, shown)
        finally:
            shown.close()
        return self._finish(jobs, started)

    def _settings(self, iteration: int) -> Settings:
        return settings_for(self.model, self.dataset.schema, self.config.precision,
                            seed=self.config.seed, iteration=iteration)

    def _iterate(self, strategy: Synchronous, shown: Progress) -> None:
        started = time.perf_counter()
        result = strategy.run(self._settings(self.iteration + 1), self.parameters)
        self._check(result)
        train = result.metrics["train"]
        objective = train["loss"] + self.penalty.value(self.parameters)
        with timed(result.phases, "update"), np.errstate(all="ignore"):
            gradient = result.gradient
            gradient /= self.dtype.type(train["weight"])
            self.penalty.add_gradient(gradient, self.parameters)
            parameters, state = self.optimizer.update(gradient, self.state, self.parameters)
            if not np.isfinite(parameters).all():
                raise self._diverged("the parameters are no longer finite", self.iteration + 1)
        with timed(result.phases, "checkpoint"):
            self.parameters, self.state, self.iteration = parameters, state, self.iteration + 1
            line = {"iteration": self.iteration, "objective": objective, "phases": result.phases,
                    "seconds": time.perf_counter() - started, **result.metrics}
            self.folder.save(line, Checkpoint(
                self.iteration, self.layout.views(parameters), pack(state), self.identity,
                fingerprint=fingerprint.describe()["digest"]))
        self._note_mixture({summary["fingerprint"] for summary in result.summaries}, shown)
        shown.iteration({**line, "seconds": time.perf_counter() - started})

    def _note_mixture(self, found: set[str], shown: Progress) -> None:
        """Warn once when this training has been computed on unlike machines (law 2)."""
        known = len(self._fingerprints)
        self._fingerprints |= found
        if len(self._fingerprints) > 1 >= known:
            shown.note("warning: tasks ran on different numpy builds or CPU types; "
                       "the bits of this training cannot be reproduced")

    def _check(self, result: Pass) -> None:
        loss = result.metrics["train"]["loss"]
        if not (np.isfinite(loss) and np.isfinite(result.gradient).all()):
            # The parameters came from the newest checkpoint: the one before it was the last good.
            self.folder.drop(self.iteration)
            what = "the gradient is not finite" if np.isfinite(loss) else f"the loss is {loss}"
            raise self._diverged(what, min(self.iteration + 1, self.config.iterations))

    def _diverged(self, what: str, iteration: int) -> DivergenceError:
        kept = self.folder.iterations()
        return DivergenceError(
            f"iteration {iteration}: diverged: {what}; lower --learning-rate (it is "
            f"{self.config.learning_rate:g}) or scale the features; "
            + (f"the checkpoint of iteration {kept[-1]} is kept, --restart starts over" if kept
               else "nothing is kept"))

    def _finish(self, jobs: Launcher, started: float) -> dict:
        """Measure the final parameters and write the model, unless that was done before."""
        out, config = self.config.out, self.config
        if not is_current(out, self.iteration):
            result = Synchronous(jobs, make_splits(self.dataset, gradient=False), self.layout).run(
                self._settings(0), self.parameters)
            self._check(result)
            summary = {"iterations": self.iteration, "l2": config.l2, "precision": config.precision,
                       "objective": result.metrics["train"]["loss"]
                       + self.penalty.value(self.parameters),
                       **result.metrics, "fingerprint": fingerprint.describe()}
            save_model(out, SavedModel(self.model, self.layout.views(self.parameters),
                                       self.dataset.schema, summary, self.dataset.options))
        summary = load_model(out).summary
        train = summary["train"]
        metric = {name: train[name] for name in ("accuracy", "rmse") if name in train}
        return {"loss": train["loss"], "objective": summary["objective"], **metric,
                "examples": train["examples"], "iterations": self.iteration, "jobs": jobs.jobs,
                "seconds": time.perf_counter() - started, "held_out": summary.get("held_out"),
                "model": os.path.abspath(out)}
