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


def class_data(folder: Path, rows: int = 300, features: int = 6, classes: int = 3,
               shards: int = 7) -> Dataset:
    """Gaussian clusters, a held-out shard included."""
    generator = np.random.default_rng(5)
    y = generator.integers(0, classes, rows).astype(np.uint8)
    x = (generator.standard_normal((rows, features)) + y[:, None]).astype(np.float32)
    held = rows // 5
    names = tuple(f"class-{i}" for i in range(classes))
    return write_arrays(str(folder), x[held:], y[held:], classes=names, shards=shards,
                        held_out=(x[:held], y[:held]))


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
