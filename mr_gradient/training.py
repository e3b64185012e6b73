"""The driver loop: job -> update -> checkpoint, until there is nothing more to do."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable

import numpy as np

from mr_gradient import fingerprint
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.config import TrainConfig
from mr_gradient.dataset.schema import Dataset, open_dataset
from mr_gradient.early_stopping import Best
from mr_gradient.errors import DivergenceError, UsageError
from mr_gradient.jobs.launch import Launcher, check_data, job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.model_folder import SavedModel, is_current
from mr_gradient.model_folder import read as read_model
from mr_gradient.model_folder import save as save_model
from mr_gradient.optimizers.base import pack, unpack
from mr_gradient.progress import Progress, Silent
from mr_gradient.strategies.base import Diverged, Step, Strategy
from mr_gradient.strategies.passes import Passes
from mr_gradient.timing import timed
from mr_gradient.training_folder import CONFIGURATION, TrainingFolder
from mr_gradient.training_parts import Parts
from mr_gradient.yaml_files import yaml_chunks


def train(config: TrainConfig, progress: Callable[[int, int], Progress] | None = None) -> dict:
    """Train, or go on with, the model in ``config.out``; returns the summary that ``--json`` prints.

    Stops with a ``MrGradientError`` on bad input or divergence; the last good checkpoint stays.
    """
    config.check()
    arguments = job_arguments(config.runner, config.runner_options, config.verbose)
    check_data(arguments, config.data)
    dataset = open_dataset(config.data)
    with contextlib.closing(TrainingFolder(config.out, config.restart)) as folder:
        training = Training(config, dataset, folder)
        with launcher(arguments, training.parts.layout.size * 8, training.parts.code,
                      training.name) as jobs:
            return training.run(jobs, progress or (lambda total, done: Silent()))


class Training:
    """One training, taken up at its newest checkpoint."""

    def __init__(self, config: TrainConfig, dataset: Dataset, folder: TrainingFolder) -> None:
        self.config, self.dataset, self.folder = config, dataset, folder
        self.parts = Parts(config, dataset)
        self.identity = self.parts.identity
        if config.patience and not dataset.held_out:
            raise UsageError(f"--patience {config.patience}: needs a held-out part; prepare with "
                             "--test-fraction")
        self.iteration, self.reason = 0, ""
        self.best = Best(config.patience)
        self._fingerprints = {fingerprint.describe()["digest"]}
        self._last = folder.newest(self.identity, config.iterations)

    @property
    def name(self) -> str:
        """The same for all drivers of this training, and no other's."""
        whole = json.dumps([self.folder.files.where, self.identity], sort_keys=True)
        return hashlib.sha256(whole.encode()).hexdigest()[:12]

    def _begin(self, strategy: Strategy) -> None:
        """Variables and state of the start, or of the checkpoint."""
        self.variables, self.state = strategy.begin(self.parts.start[0])
        if last := self._last:
            flatten, dtype = self.parts.layout.flatten, np.dtype(self.config.precision)
            self.variables = flatten(last.parameters, dtype)
            self.state = unpack(self.state, last.optimizer)
            self.iteration = last.iteration
            best = flatten(last.best, dtype) if last.best else None
            self.best = Best.unpack(self.config.patience, best, last.progress)
            self.reason = last.progress.get("reason", "")
            self._fingerprints.add(last.fingerprint)

    def run(self, jobs: Launcher, progress: Callable[[int, int], Progress]) -> dict:
        """Iterate until all is done, then measure and save the model."""
        started = time.perf_counter()
        config, last = self.config, self._last
        if last and is_current(self.folder.files, last.iteration, self.parts.code) and (
                last.iteration >= config.iterations or last.progress["reason"]):
            return self._result(jobs, last.iteration, started)
        shown = progress(config.iterations, self._last.iteration if self._last else 0)
        jobs.engine.watch, jobs.engine.note = shown.job, shown.note
        try:
            if not self._last:
                self.parts.check_model(jobs)
            strategy = self.parts.strategy(jobs)
            self._begin(strategy)
            if self.iteration:
                shown.note(f"resuming after iteration {self.iteration}")
            if len(self._fingerprints) > 1:
                shown.note("warning: the checkpoint was written with another numpy build or CPU "
                           "type; the bits of this training cannot be reproduced")
            while self.iteration < config.iterations and not self.reason:
                self._iterate(strategy, shown)
            if self.reason and self.iteration < config.iterations:
                shown.note(f"done after iteration {self.iteration}: {self.reason}")
        finally:
            shown.close()
        parameters = strategy.parameters(self.variables)
        return self._finish(jobs, self.best.parameters(parameters), started)

    def _iterate(self, strategy: Strategy, shown: Progress) -> None:
        started = time.perf_counter()
        try:
            step = strategy.step(self.iteration + 1, self.variables, self.state)
        except Diverged as what:
            raise self._diverged(str(what), what.spoiled) from None
        self._take(step, started)
        self._note_mixture({summary["fingerprint"] for summary in step.summaries}, shown)
        shown.iteration({**self._line(step), "seconds": time.perf_counter() - started})

    def _line(self, step: Step) -> dict:
        job = {"job": step.facts} if step.facts else {}
        return {"iteration": self.iteration, "objective": step.objective, "phases": step.phases,
                **job, **step.metrics}

    def _take(self, step: Step, started: float) -> None:
        with timed(step.phases, "checkpoint"):
            self.variables, self.state, self.iteration = step.variables, step.state, self.iteration + 1
            self.best = self.best.seen(self.iteration, step.metrics.get("held_out"), step.point)
            self.reason = step.reason or self.best.reason
            progress = {"reason": self.reason, **self.best.progress()}
            views = self.parts.layout.views
            self.folder.save(
                {**self._line(step), "seconds": time.perf_counter() - started},
                Checkpoint(self.iteration, views(step.variables), pack(step.state), self.identity,
                           fingerprint=fingerprint.describe()["digest"], best=self.best.pack(views),
                           progress=progress))

    def _note_mixture(self, found: set[str], shown: Progress) -> None:
        """Warn once when this training has been computed on unlike machines (law 2)."""
        known = len(self._fingerprints)
        self._fingerprints |= found
        if len(self._fingerprints) > 1 >= known:
            shown.note("warning: tasks ran on different numpy builds or CPU types; "
                       "the bits of this training cannot be reproduced")

    def _diverged(self, what: str, spoiled: bool) -> DivergenceError:
        iteration = min(self.iteration + 1, self.config.iterations)
        if spoiled and self.iteration:
            # The parameters came from the newest checkpoint: the one before it was the last good.
            self.folder.drop(self.iteration)
        kept = self.folder.iterations()
        rate = getattr(self.parts.optimizer, "learning_rate", None)
        lower = f"lower --learning-rate (it is {rate:g}) or " if rate is not None else ""
        return DivergenceError(
            f"iteration {iteration}: diverged: {what}; {lower}scale the features; "
            + (f"the checkpoint of iteration {kept[-1]} is kept, --restart starts over" if kept
               else "nothing is kept"))

    def _finish(self, jobs: Launcher, parameters: np.ndarray, started: float) -> dict:
        """Measure the final parameters and write the model, unless that was done before."""
        files, config, parts = self.folder.files, self.config, self.parts
        if not is_current(files, self.iteration, parts.code):
            found = Passes(jobs, make_splits(self.dataset, gradient=False), parts.layout).run(
                parts.settings(metrics=True), [parameters])
            metrics = found.points[0].metrics
            if not np.isfinite(metrics["train"]["loss"]):
                raise self._diverged(f"the loss is {metrics['train']['loss']}", True)
            effective = parts.resolved.effective()
            summary = {"iterations": self.iteration, "l1": config.l1, "l2": config.l2,
                       "precision": config.precision, "reason": self.reason,
                       "objective": metrics["train"]["loss"] + parts.penalty.value(parameters),
                       **metrics, "configuration": effective,
                       "fingerprint": fingerprint.describe()}
            self.folder.finish()
            files.write(CONFIGURATION, yaml_chunks(
                effective,
                "'mr-gradient train --config FILE --out FOLDER' makes the same model again."))
            save_model(files, SavedModel(parts.model, parts.layout.views(parameters),
                                         self.dataset.schema, summary, self.dataset.options))
        return self._result(jobs, self.iteration, started)

    def _result(self, jobs: Launcher, iteration: int, started: float) -> dict:
        """What ``--json`` prints of the model that is there."""
        files = self.folder.files
        summary = read_model(files).summary
        train = summary["train"]
        metric = {name: train[name] for name in ("accuracy", "rmse") if name in train}
        return {"loss": train["loss"], "objective": summary["objective"], **metric,
                "examples": train["examples"], "iterations": iteration, "jobs": jobs.jobs,
                "seconds": time.perf_counter() - started, "held_out": summary.get("held_out"),
                "model": files.where}
