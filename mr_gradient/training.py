"""The driver loop: job -> update -> checkpoint, until the iterations asked for are done."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable

import numpy as np

from mr_gradient import checkpoint, fingerprint, models, optimizers, storage
from mr_gradient.checkpoint import Checkpoint
from mr_gradient.config import TrainConfig, differences
from mr_gradient.dataset.schema import Dataset, open_dataset
from mr_gradient.dataset.shards import rows_per_chunk
from mr_gradient.errors import DivergenceError, UsageError
from mr_gradient.history import FILE as HISTORY
from mr_gradient.history import History
from mr_gradient.jobs.broadcast import Settings
from mr_gradient.jobs.launch import Launcher, job_arguments, launcher, timed
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.model_folder import DESCRIPTION, TENSORS, SavedModel, is_current
from mr_gradient.model_folder import load as load_model
from mr_gradient.model_folder import save as save_model
from mr_gradient.models.base import layout
from mr_gradient.optimizers.base import pack, unpack
from mr_gradient.progress import Progress, Silent
from mr_gradient.strategies.synchronous import Pass, Penalty, Synchronous

_MARKER, _FORMAT = "training.json", "mr_gradient training"


def train(config: TrainConfig, progress: Callable[[int, int], Progress] | None = None) -> dict:
    """Train, or go on with, the model in ``config.out``; returns the summary that ``--json`` prints.

    Stops with a ``MrGradientError`` on bad input or divergence; the last good checkpoint stays.
    """
    config.check()
    arguments = job_arguments(config.runner, config.runner_options, config.verbose)
    dataset = open_dataset(config.data)
    training = Training(config, dataset)
    with launcher(arguments, training.layout.size * 8) as jobs:
        return training.run(jobs, progress or (lambda total, done: Silent()))


class Training:
    """Parameters, optimizer and folder of one training, at its newest checkpoint."""

    def __init__(self, config: TrainConfig, dataset: Dataset) -> None:
        self.config, self.dataset, schema = config, dataset, dataset.schema
        self.model = models.create(config.model, len(schema.features), schema.kind,
                                   len(schema.classes), {"hidden": config.hidden})
        self.layout = layout(self.model)
        self.optimizer = optimizers.create(config.optimizer, {
            "learning_rate": config.learning_rate, "momentum": config.momentum})
        self.penalty = Penalty.of(self.model, config.l2)
        self.dtype = np.dtype(config.precision)
        self.identity = config.identity(dataset.digest)
        self.iteration, self.history_bytes, self.seconds = 0, 0, 0.0
        self.parameters = self.layout.flatten(self.model.init(config.seed), self.dtype)
        self.state = self.optimizer.init(self.parameters)
        self._open_folder()

    def _open_folder(self) -> None:
        """Check the output folder, and take up its newest checkpoint if it has one."""
        out = self.config.out
        if os.path.exists(out) and not os.path.isdir(out):
            raise UsageError(f"--out {out}: must be a folder, found a file")
        marker = os.path.join(out, _MARKER)
        if os.path.isdir(out) and os.listdir(out):
            ours = os.path.isfile(marker)
            if not ours or storage.read_json(marker, "a training").get("format") != _FORMAT:
                raise UsageError(f"--out {out}: must be empty, absent or a training of mr_gradient, "
                                 f"but it holds something else ({sorted(os.listdir(out))[0]!r}); "
                                 "choose another folder")
            if self.config.restart:
                _remove_training(out)
        checkpoint.remove_leftovers(out)
        done = checkpoint.iterations(out)
        if done:
            self._resume(checkpoint.load(out, done[-1]))
        storage.make_folder(out)
        storage.write_json(marker, {"format": _FORMAT, "version": 1, "configuration": {
            **self.identity, "data": self.dataset.folder, "iterations": self.config.iterations}})

    def _resume(self, last: Checkpoint) -> None:
        out, asked = self.config.out, self.config.iterations
        if changed := differences(last.identity, self.identity):
            raise UsageError(f"--out {out}: holds a training with another configuration: {changed}; "
                             "choose another folder, or start over with --restart")
        if last.iteration > asked:
            raise UsageError(f"--out {out}: already has {last.iteration} iterations, more than "
                             f"--iterations {asked}; choose another folder, or start over with "
                             "--restart")
        self.parameters = self.layout.flatten(last.parameters, self.dtype)
        self.state = unpack(self.state, last.optimizer)
        self.iteration, self.history_bytes = last.iteration, last.history_bytes

    def _settings(self, iteration: int) -> Settings:
        return Settings(models.to_json(self.model), self.config.precision,
                        rows_per_chunk(len(self.dataset.schema.features), self.dtype.itemsize),
                        seed=self.config.seed, iteration=iteration)

    def run(self, jobs: Launcher, progress: Callable[[int, int], Progress]) -> dict:
        started = time.perf_counter()
        splits = make_splits(self.dataset, rows_per_split=self.config.rows_per_split)
        strategy = Synchronous(jobs, splits, self.layout)
        history = History(self.config.out, self.history_bytes)
        shown = progress(self.config.iterations, self.iteration)
        self._warned = False
        try:
            if self.iteration:
                shown.note(f"resuming after iteration {self.iteration}")
            while self.iteration < self.config.iterations:
                self._iterate(strategy, history, shown)
        finally:
            shown.close()
            history.close()
        return self._finish(jobs, started)

    def _iterate(self, strategy: Synchronous, history: History, shown: Progress) -> None:
        started = time.perf_counter()
        result = strategy.run(self._settings(self.iteration + 1), self.parameters)
        self._check(result)
        train = result.metrics["train"]
        objective = train["loss"] + self.penalty.value(self.parameters)
        with timed(result.phases, "update"):
            gradient = result.gradient
            gradient /= self.dtype.type(train["weight"])
            self.penalty.add_gradient(gradient, self.parameters)
            with np.errstate(all="ignore"):
                parameters, state = self.optimizer.update(gradient, self.state, self.parameters)
            if not np.isfinite(parameters).all():
                raise self._diverged("the parameters are no longer finite")
        with timed(result.phases, "checkpoint"):
            self.parameters, self.state, self.iteration = parameters, state, self.iteration + 1
            line = {"iteration": self.iteration, "objective": objective, "phases": result.phases,
                    "seconds": time.perf_counter() - started, **result.metrics}
            self.history_bytes = history.append(line)
            self._save()
        if not self._warned and len({s["fingerprint"] for s in result.summaries}) > 1:
            self._warned = True
            shown.note("warning: tasks ran on different numpy builds or CPU types; "
                       "the bits of this training cannot be reproduced")
        shown.iteration({**line, "seconds": time.perf_counter() - started})

    def _save(self) -> None:
        checkpoint.save(self.config.out, Checkpoint(
            self.iteration, self.layout.views(self.parameters), pack(self.state), self.identity,
            self.history_bytes))

    def _check(self, result: Pass) -> None:
        if not (np.isfinite(result.metrics["train"]["loss"]) and np.isfinite(result.gradient).all()):
            # The parameters came from the newest checkpoint: the one before it was the last good.
            if len(checkpoint.iterations(self.config.out)) > 1:
                checkpoint.remove(self.config.out, self.iteration)
            raise self._diverged(f"the loss is {result.metrics['train']['loss']}")

    def _diverged(self, what: str) -> DivergenceError:
        kept = checkpoint.iterations(self.config.out)
        return DivergenceError(
            f"iteration {self.iteration + 1}: diverged: {what}; lower --learning-rate (it is "
            f"{self.config.learning_rate:g}) or scale the features; "
            + (f"the checkpoint of iteration {kept[-1]} is kept" if kept else "nothing was saved"))

    def _finish(self, jobs: Launcher, started: float) -> dict:
        """Measure the final parameters and write the model, unless that was done before."""
        out, config = self.config.out, self.config
        if not is_current(out, self.iteration):
            splits = make_splits(self.dataset, gradient=False)
            measured = Synchronous(jobs, splits, self.layout).run(
                self._settings(0), self.parameters).metrics
            summary = {"iterations": self.iteration, "l2": config.l2, "precision": config.precision,
                       "objective": measured["train"]["loss"] + self.penalty.value(self.parameters),
                       **measured, "fingerprint": fingerprint.describe()}
            save_model(out, SavedModel(self.model, self.layout.views(self.parameters),
                                       self.dataset.schema, summary))
        summary = load_model(out).summary
        train = summary["train"]
        metric = {name: train[name] for name in ("accuracy", "rmse") if name in train}
        return {"loss": train["loss"], "objective": summary["objective"], **metric,
                "examples": train["examples"], "iterations": self.iteration, "jobs": jobs.jobs,
                "seconds": time.perf_counter() - started, "held_out": summary.get("held_out"),
                "model": os.path.abspath(out)}


def _remove_training(out: str) -> None:
    """Remove what a training wrote, and nothing else."""
    shutil.rmtree(os.path.join(out, "checkpoints"), ignore_errors=True)
    for name in (DESCRIPTION, TENSORS, HISTORY, _MARKER):
        if os.path.exists(os.path.join(out, name)):
            os.unlink(os.path.join(out, name))
