"""What the tests of whole trainings share: small data sets, trainings, and their bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from mr_gradient.config import TrainConfig
from mr_gradient.dataset.schema import Dataset
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.progress import Silent
from mr_gradient.training import train

ROOT = Path(__file__).resolve().parent.parent

#: One optimizer of each kind of state, one model of each kind of parameters.
RECIPES = {
    "softmax": {"model": "softmax", "learning_rate": 0.1},
    "mlp": {"model": "mlp", "optimizer": "momentum", "learning_rate": 0.3, "l2": 1e-3,
            "hidden": (8, 5)},
}

_SOFTMAX = {"model": "softmax", "learning_rate": 0.1}
_BATCH = {"model": "softmax", "l2": 1e-3}
_MLP = {"model": "mlp", "hidden": (8,), "optimizer": "adam", "learning_rate": 0.02}
_LOCAL = {"strategy": "local-sgd", "batch_size": 16, "model": "softmax"}
_DROPOUT = [{"dense": 8}, "relu", {"dropout": 0.5}, {"dense": 3}]

#: Every optimizer and strategy, and whatever else has a state or draws at random.
EVERY: dict[str, dict] = {
    "gd": {**_SOFTMAX, "clip_norm": 0.3},
    "momentum": {**_SOFTMAX, "optimizer": "momentum", "schedule": "step", "schedule_iterations": 2},
    "nesterov": {**_SOFTMAX, "optimizer": "nesterov", "warmup": 3},
    "adagrad": {**_SOFTMAX, "optimizer": "adagrad"},
    "rmsprop": {**_SOFTMAX, "optimizer": "rmsprop", "schedule": "inverse-sqrt"},
    "adam": {**_MLP, "schedule": "cosine", "schedule_iterations": 5},
    "adamw": {**_MLP, "optimizer": "adamw", "weight_decay": 0.1},
    "lbfgs": _BATCH,
    "lbfgs-that-rejects": {"model": "poisson", "l2": 1e-3},
    "lbfgs-of-a-network": {"model": "mlp", "hidden": (8,), "optimizer": "lbfgs", "l2": 1e-3},
    "owlqn": {**_BATCH, "l1": 0.01},
    "owlqn-that-rejects": {"model": "poisson", "l1": 0.01},
    "owlqn-scaled": {**_BATCH, "l1": 0.01, "precondition": "scale"},
    "newton": {**_BATCH, "optimizer": "newton"},
    "newton-that-rejects": {"model": "poisson", "optimizer": "newton", "l2": 1e-3},
    "precondition-none": {**_BATCH, "precondition": "none"},
    "precondition-scale": {**_BATCH, "precondition": "scale"},
    "precondition-both": {**_BATCH, "precondition": "both"},
    "gd-centered": {**_SOFTMAX, "precondition": "center"},
    "class-weight": {**_BATCH, "class_weight": "balanced"},
    "batch-size": {**_SOFTMAX, "optimizer": "adam", "batch_size": 50},
    "dropout": {"model": "network", "layers": _DROPOUT, "learning_rate": 0.1},
    "dropout-batch-size": {"model": "network", "layers": _DROPOUT, "batch_size": 50},
    "patience": {**_MLP, "learning_rate": 0.3, "patience": 2},
    "rows-per-split": {**_BATCH, "rows_per_split": 13},
    "local-gd": {**_LOCAL, "optimizer": "gd", "learning_rate": 0.1, "l2": 0.01},
    "local-momentum": {**_LOCAL, "optimizer": "momentum", "local_epochs": 2},
    "local-adam": {**_LOCAL, "optimizer": "adam", "local_steps": 5, "class_weight": "balanced"},
    "local-dropout": {**_LOCAL, "model": "network", "layers": _DROPOUT, "patience": 3},
}


def class_data(folder: Path, rows: int = 300, features: int = 6, classes: int = 3,
               shards: int = 7, weighted: bool = False) -> Dataset:
    """Gaussian clusters, a held-out shard included."""
    generator = np.random.default_rng(5)
    y = generator.integers(0, classes, rows).astype(np.uint8)
    x = (generator.standard_normal((rows, features)) + y[:, None]).astype(np.float32)
    weight = generator.uniform(0.1, 3, rows) if weighted else None
    held, rest = slice(None, rows // 5), slice(rows // 5, None)
    names = tuple(f"class-{i}" for i in range(classes))
    return write_arrays(str(folder), x[rest], y[rest], None if weight is None else weight[rest],
                        classes=names, shards=shards,
                        held_out=(x[held], y[held]) + (() if weight is None else (weight[held],)))


def count_data(folder: Path, rows: int = 300, features: int = 6, shards: int = 7) -> Dataset:
    """Counts, one so large that full steps of Newton's method overshoot; a held-out shard."""
    generator = np.random.default_rng(6)
    x = generator.standard_normal((rows, features)).astype(np.float32)
    y = generator.poisson(np.exp(0.3 * x.sum(axis=1))).astype(np.float32)
    y[rows // 2] = 5000
    return write_arrays(str(folder), x[60:], y[60:], shards=shards, held_out=(x[:60], y[:60]))


def run(data: Dataset | str, out: Path, iterations: int = 6, progress: object = None,
        options: list[str] | None = None, **fields: object) -> dict:
    """Train in this process; ``options`` are mrjob's."""
    config = TrainConfig(getattr(data, "folder", data), str(out), iterations=iterations,
                         runner_options=options or [], **fields)
    return train(config, (lambda total, done: progress) if progress else None)


def bits(out: Path) -> tuple[bytes, list[tuple]]:
    """The parameters, and the losses of every iteration."""
    lines = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return ((out / "model.safetensors").read_bytes(),
            [(line["iteration"], line["objective"], line["train"], line.get("held_out"))
             for line in lines])


class After(Silent):
    """Calls a function after one iteration."""

    def __init__(self, iteration: int, function: object) -> None:
        self._iteration, self._function = iteration, function

    def iteration(self, line: dict) -> None:
        if line["iteration"] == self._iteration:
            self._function()


def in_a_process(code: str, *arguments: object, timeout: float = 120) -> subprocess.CompletedProcess:
    """Run Python code in a process of its own, with the package and the tests on its path."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout, check=False,
                          env={**os.environ, "PYTHONPATH": path})
