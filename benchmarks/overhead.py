"""What an iteration costs beside bare numpy, and what an empty one costs.

    python benchmarks/overhead.py [--iterations N]

Logistic loss on 2 splits of 500,000 x 100 float32, two processes. After every iteration of a
training (job, checks, update, checkpoint) the same gradient is taken by the workers of
``bare_numpy``, kept alive: chunks of the same rows, same shards, same number of processes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time

import mr_gradient.jobs  # noqa: F401  before numpy: one BLAS thread

# isort: split
import numpy as np
from bare_numpy import Worker

from mr_gradient.config import TrainConfig
from mr_gradient.dataset.shards import rows_per_chunk
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.progress import Silent
from mr_gradient.training import train

FEATURES, ROWS, SPLITS = 100, 500_000, 2


class Beside(Silent):
    """Takes a bare gradient after each iteration, and keeps both times."""

    def __init__(self, workers: list[Worker]) -> None:
        self._workers = workers
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.losses: list[float] = []
        self._parameters = np.zeros(FEATURES + 1, np.float32)

    def iteration(self, line: dict) -> None:
        self.ours.append(line["seconds"])
        started = time.perf_counter()
        for worker in self._workers:
            worker.send(self._parameters)
        sums = [worker.receive() for worker in self._workers]
        gradient = np.append(sum(s[0] for s in sums), sum(s[1] for s in sums)) / (SPLITS * ROWS)
        self._parameters = self._parameters - np.float32(0.5) * gradient.astype(np.float32)
        self.bare.append(time.perf_counter() - started)
        loss = sum(s[2] for s in sums) / (SPLITS * ROWS)
        if abs(loss - line["train"]["loss"]) > 1e-4 * loss:
            raise SystemExit(f"bare numpy has loss {loss}, the iteration {line['train']['loss']}")


def compare(folder: str, iterations: int) -> None:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((SPLITS * ROWS, FEATURES), dtype=np.float32)
    y = (x[:, :5].sum(axis=1) + generator.standard_normal(len(x)) > 0).astype(np.uint8)
    data = write_arrays(os.path.join(folder, "data"), x, y, classes=("0", "1"), shards=SPLITS)
    del x, y
    rows = rows_per_chunk(FEATURES, 4)
    workers = [Worker(os.path.join(data.folder, shard.path), rows, FEATURES) for shard in data.train]
    beside = Beside(workers)
    train(TrainConfig(data.folder, os.path.join(folder, "model"), "logistic", learning_rate=0.5,
                      iterations=iterations, runner_options=["--num-cores", "2"]),
          lambda total, done: beside)
    for worker in workers:
        worker.close()
    for worker in workers:
        os.waitpid(worker.pid, 0)
    ours, bare = beside.ours[3:], beside.bare[3:]
    ratios = [a / b for a, b in zip(ours, bare)]
    print(f"{SPLITS} splits of {ROWS:,} x {FEATURES} float32, chunks of {rows} rows, 2 processes, "
          f"{len(ours)} iterations:")
    print(f"  iteration   {_ms(ours)}\n  bare numpy  {_ms(bare)}")
    print(f"  ratio       {_spread(ratios)}")


def empty(folder: str, iterations: int) -> None:
    data = write_arrays(os.path.join(folder, "tiny"), np.zeros((2, FEATURES), np.float32),
                        np.array([0, 1], np.uint8), classes=("0", "1"), shards=2)
    for cores in ("1", "2"):
        beside = Silent()
        seconds: list[float] = []
        beside.iteration = lambda line, seconds=seconds: seconds.append(line["seconds"])
        train(TrainConfig(data.folder, os.path.join(folder, f"tiny-{cores}"), "logistic",
                          learning_rate=0.5, iterations=iterations,
                          runner_options=["--num-cores", cores]),
              lambda total, done, beside=beside: beside)
        print(f"empty iteration, {cores} process(es):  {_ms(seconds[3:])}")


def _spread(values: list[float]) -> str:
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"median {middle:6.2f}   (10% to 90%: {low:.2f} to {high:.2f})"


def _ms(seconds: list[float]) -> str:
    return _spread([1e3 * value for value in seconds]) + " ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=100)
    iterations = parser.parse_args().iterations
    folder = tempfile.mkdtemp(prefix="mr_gradient-overhead-")
    try:
        compare(folder, iterations)
        empty(folder, 3 * iterations)
    finally:
        shutil.rmtree(folder)
    print(f"numpy {np.__version__}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
