"""What runs on Spark's executors: the map and the reduce tasks of any of our jobs.

Records are the lines of the job's own protocols, as on every other engine. Spark carries these
functions and their arguments to the executors by reference to this module, which is in the package's
file there.
"""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mr_gradient import storage
from mr_gradient.jobs.base_job import BaseJob

_FOLDER = "mr_gradient-files"


@dataclass(frozen=True)
class Shipped:
    """A file of the driver's: its bytes, as a broadcast variable of Spark, and its name.

    ``number``: differs for each file of an application.
    """

    number: int
    name: str
    content: Any


@dataclass(frozen=True)
class TaskJob:
    """A job as its tasks get it. ``arguments``: of the class, in which files can take a place.

    ``attempts``: how many each task has.
    """

    module: str
    kind: str
    arguments: tuple[str | Shipped, ...]
    attempts: int

    def make(self, step: str) -> BaseJob:
        """The job, in a task of a step: ``mapper`` or ``reducer``."""
        from pyspark import TaskContext

        context = TaskContext.get()
        # Hadoop's names, where task_errors looks.
        os.environ.update({
            "mapreduce_task_attempt_id":
            f"task_{context.stageId()}_{context.partitionId()}_{context.attemptNumber()}",
            "mapreduce_map_maxattempts": str(self.attempts),
            "mapreduce_reduce_maxattempts": str(self.attempts)})
        files = [each for each in self.arguments if isinstance(each, Shipped)]
        paths = _write(files)
        arguments = [paths[each.number] if isinstance(each, Shipped) else each
                     for each in self.arguments]
        kind = getattr(import_module(self.module), self.kind)
        job = kind([*arguments, f"--{step}", "--step-num=0"])
        job.sandbox()  # what it reports of its status is for Hadoop
        return job


def map_lines(task_job: TaskJob, lines: Iterable[bytes]) -> Iterator[tuple[bytes, None]]:
    """The mapper's records; they are the keys of the shuffle, which sorts by them."""
    job = task_job.make("mapper")
    read, write = job.pick_protocols(0, "mapper")
    for key, value in job.map_pairs((read(line) for line in lines), 0):
        yield write(key, value), None


def reduce_lines(task_job: TaskJob, lines: Iterable[tuple[bytes, None]]) -> Iterator[bytes]:
    """The reducer's records."""
    job = task_job.make("reducer")
    read, write = job.pick_protocols(0, "reducer")
    for key, value in job.reduce_pairs((read(line) for line, _ in lines), 0):
        yield write(key, value)


def reducer_of(line: bytes) -> int:
    """Where the shuffle sends a record: blocks in turn, other keys by a hash that is the same in all
    processes."""
    key = line.partition(b"\t")[0]
    return int(key) if key.isdigit() else zlib.crc32(key)


def whole(line: bytes) -> bytes:
    """What the shuffle sorts by: key, then value."""
    return line


def _write(files: list[Shipped]) -> dict[int, str]:
    """Paths of the files here, by number; each is written once for all tasks of an executor.

    The folder is Spark's own for the application, and goes with it. Files of earlier jobs go now.
    """
    above = os.path.join(os.environ["SPARK_LOCAL_DIRS"].partition(",")[0], _FOLDER)
    paths = {each.number: os.path.join(above, str(each.number), each.name) for each in files}
    missing = [each for each in files if not os.path.exists(paths[each.number])]
    for each in missing:
        os.makedirs(os.path.dirname(paths[each.number]), exist_ok=True)
        storage.write_atomically(paths[each.number], [each.content.value], sync=False)
    for number in map(int, os.listdir(above) if missing else ()):
        if number not in paths and number < max(paths):
            shutil.rmtree(os.path.join(above, str(number)), ignore_errors=True)
    return paths
