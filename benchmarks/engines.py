"""Seconds an iteration on a cluster, beside a bare streaming job of as many tasks.

    python benchmarks/engines.py [--iterations N] [--cpu] [--option OPTION ...]
    python benchmarks/engines.py --spark [--iterations N] [--cpu]

Starts the Hadoop of the tests (tests/cluster: two data nodes, two node managers, on this machine)
and trains softmax with 10 classes on 26,000 made-up features, a model of 1 MB, over 4 shards of a few
rows in HDFS. After every iteration (job, checks, update, checkpoint) runs a bare job of Hadoop
streaming: ``cat`` maps and reduces, NLineInputFormat over a manifest of as many lines, as many
reducers. Prints medians, and how often an iteration started the client ``hadoop``.

``--cpu`` takes processor time of clients and tasks instead of time on the clock: for a busy machine.
``--option`` is one more of mrjob's for the training, such as ``-Dname=value``.

``--spark`` trains the same on ``-r spark`` with two cores of this machine (``local[2]``), and prints
the seconds of an iteration. Needs pyspark.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mr_gradient.jobs  # noqa: F401  before numpy: one BLAS thread

# isort: split
import numpy as np

from mr_gradient.config import TrainConfig
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.progress import Silent
from mr_gradient.training import train

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from cluster import HadoopCluster
from cluster.processes import descendants

FEATURES, CLASSES, SPLITS, ROWS = 26_000, 10, 4, 64
_MODEL = f"{SPLITS} map tasks, a model of {(FEATURES + 1) * CLASSES * 4 / 1e6:.2f} MB,"
#: Of both jobs: no second attempts, which a busy machine makes at random.
_PROPERTIES = [each for step in ("map", "reduce") for each in (
    "-D", f"mapreduce.{step}.speculative=false")]
_DAEMONS = (".NameNode", ".DataNode", ".ResourceManager", ".NodeManager", ".JobHistoryServer")
#: Iterations that count for nothing: caches fill, shards are compared with their checksums.
_WARM = 1


class Beside(Silent):
    """Runs a bare job after each iteration, and keeps both times."""

    def __init__(self, cluster: HadoopCluster, starts: Path, cpu: bool) -> None:
        self._cluster, self._starts, self._cpu = cluster, starts, cpu
        self._written, self._started = 0, processor_seconds()
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.clients: list[int] = []

    def iteration(self, line: dict) -> None:
        self.ours.append(processor_seconds() - self._started if self._cpu else line["seconds"])
        self.clients.append(self._new_starts())
        tasks = line["job"]["map_tasks"], line["job"]["reduce_tasks"]
        if tasks != (SPLITS, 1):
            raise SystemExit(f"must have {SPLITS} map tasks and 1 reduce task, found {tasks}")
        clock = processor_seconds if self._cpu else time.perf_counter
        self._wait()
        started = clock()
        self._bare_job()
        self.bare.append(clock() - started)
        self._cluster.run("fs", "-rm", "-r", "-skipTrash", "bare")
        self._new_starts()
        self._wait()
        self._started = processor_seconds()

    def _wait(self) -> None:
        """Until the cluster is idle: an application master stays for some seconds after its job."""
        yarn = self._cluster.resource_manager
        self._cluster.wait("an idle cluster", lambda: yarn.metrics()["containersAllocated"] == 0)

    def _bare_job(self) -> None:
        self._cluster.run(
            "jar", self._cluster.streaming_jar, *_PROPERTIES, "-D", "mapreduce.job.reduces=1",
            "-inputformat", "org.apache.hadoop.mapred.lib.NLineInputFormat", "-input", "lines",
            "-output", "bare", "-mapper", "cat", "-reducer", "cat")

    def _new_starts(self) -> int:
        """How often the client has been started since the last time."""
        before, self._written = self._written, len(self._starts.read_text().splitlines())
        return self._written - before


def processor_seconds() -> float:
    """Of this process, its descendants, and all whose end one of them has waited for.

    Without what Hadoop's daemons take for themselves, which goes on while nothing runs.
    """
    ticks = 0
    for pid in (os.getpid(), *descendants(os.getpid())):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{pid}/cmdline").read_text()
            first = 13 if any(daemon in command for daemon in _DAEMONS) else 11
            ticks += sum(map(int, fields[first:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def count_starts(cluster: HadoopCluster) -> Path:
    """The file that gets a line at every start of the client from now on."""
    client, starts = cluster.folder / "bin" / "hadoop", cluster.folder / "starts"
    client.rename(f"{client}.counted")
    client.write_text(f'#!/bin/sh\necho "$1" >> "{starts}"\nexec "$0.counted" "$@"\n')
    client.chmod(0o755)
    starts.touch()
    return starts


def hadoop(folder: str, iterations: int, cpu: bool, options: list[str]) -> None:
    data = os.path.join(folder, "data")
    make_data(data)
    lines = os.path.join(folder, "lines")
    Path(lines).write_text("".join(f"{number}\n" for number in range(SPLITS)))
    with HadoopCluster() as cluster:
        cluster.run("fs", "-put", data, lines, ".")
        os.environ.update(cluster.environment())
        beside = Beside(cluster, count_starts(cluster), cpu)
        home = f"hdfs://{cluster.ports.address('name node')}/user/{cluster.options.user}"
        train(config(f"{home}/data", os.path.join(folder, "hadoop"), iterations, "hadoop",
                     "--hadoop-streaming-jar", str(cluster.streaming_jar),
                     "--python-bin", sys.executable, *_PROPERTIES, *options),
              lambda total, done: beside)
    ours, bare = beside.ours[_WARM:], beside.bare[_WARM:]
    ratios = [a / b for a, b in zip(ours, bare)]
    print(f"{_MODEL} on Hadoop, 1 reduce task, {len(ours)} iterations in turn"
          + (", processor time:" if cpu else ":"))
    print(f"  iteration             {_spread(ours)} s")
    print(f"  bare streaming job    {_spread(bare)} s")
    print(f"  ratio of the medians  {statistics.median(ours) / statistics.median(bare):6.2f}"
          f"   (of each pair: {_spread(ratios)})")
    print(f"  starts of the client an iteration: {max(beside.clients[_WARM:])}")


class Seconds(Silent):
    """Keeps the seconds of each iteration."""

    def __init__(self, cpu: bool) -> None:
        self._cpu, self._started = cpu, processor_seconds()
        self.seconds: list[float] = []

    def iteration(self, line: dict) -> None:
        now = processor_seconds()
        self.seconds.append(now - self._started if self._cpu else line["seconds"])
        self._started = now


def spark(folder: str, iterations: int, cpu: bool, options: list[str]) -> None:
    data = os.path.join(folder, "data")
    make_data(data)
    taken = Seconds(cpu)
    train(config(data, os.path.join(folder, "spark"), iterations, "spark", "--spark-master",
                 "local[2]", *options), lambda total, done: taken)
    print(f"{_MODEL} on Spark, local[2], {iterations} iterations"
          + (", processor time:" if cpu else ":"))
    print(f"  iteration             {_spread(taken.seconds[_WARM:])} s")


def make_data(folder: str) -> None:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (SPLITS * ROWS, FEATURES), dtype=np.uint8)
    y = generator.integers(0, CLASSES, len(x), dtype=np.uint8)
    write_arrays(folder, x, y, classes=tuple(map(str, range(CLASSES))), shards=SPLITS,
                 scale=1 / 256)


def config(data: str, out: str, iterations: int, runner: str, *options: str) -> TrainConfig:
    return TrainConfig(data, out, "softmax", learning_rate=0.01, iterations=iterations + _WARM,
                       runner=runner, runner_options=list(options))


def _spread(values: list[float]) -> str:
    low, middle, high = np.percentile(values, [10, 50, 90])
    return f"median {middle:6.2f}   (10% to 90%: {low:.2f} to {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=9)
    parser.add_argument("--cpu", action="store_true", help="processor time, for a busy machine")
    parser.add_argument("--option", action="append", default=[], help="of mrjob, such as -Dname=value")
    parser.add_argument("--spark", action="store_true", help="-r spark on two cores of this machine")
    arguments = parser.parse_args()
    engine = spark if arguments.spark else hadoop
    folder = tempfile.mkdtemp(prefix="mr_gradient-engines-")
    try:
        engine(folder, arguments.iterations, arguments.cpu, arguments.option)
    finally:
        shutil.rmtree(folder)
    java = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    print(f"{java.stderr.splitlines()[0]}, numpy {np.__version__}, {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
