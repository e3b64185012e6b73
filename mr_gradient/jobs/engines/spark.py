"""``-r spark``: one application of Spark for all jobs of a driver.

mrjob has a harness that runs a job on Spark; it passes the result on through files that all nodes
must see, and keeps nothing between jobs. These few lines run the same classes of jobs: a partition is
a split, Spark's shuffle sorts and deals its records, and the results come straight to the driver.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

from mr_gradient.errors import UsageError
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.jobs.engines import package, spark_task
from mr_gradient.jobs.engines.base import Engine, Work, without_errors
from mr_gradient.jobs.engines.spark_runner import Settings
from mr_gradient.jobs.engines.spark_task import Shipped, TaskJob
from mr_gradient.jobs.gradient_job import GradientJob

_NAME = "mr_gradient"
_MOST_REDUCERS = 64
#: MiB of a Python with numpy and this package, and what an executor has outside its heap by default.
_PYTHON, _USUAL_OVERHEAD = 96, 384


class SparkEngine(Engine):
    """See ``Engine``. The application starts with the first job."""

    def __init__(self, arguments: list[str], scratch: str, run: str) -> None:
        super().__init__([*arguments, "--errors-as-records"], scratch, run)
        if importlib.util.find_spec("pyspark") is None:
            raise UsageError("-r spark: needs pyspark; install it with: pip install "
                             "'mr_gradient[spark]'")
        self.settings = settings_of(self.arguments)
        self._application: Any = None
        self._files = 0
        self._manifests: dict[str, Any] = {}
        self._kept: dict[str, Shipped] = {}

    @classmethod
    def elsewhere_for(cls, arguments: list[str]) -> str:
        return "" if settings_of(arguments).is_local else "hadoop fs -put"

    def run(self, work: Work) -> Iterator[tuple]:
        application = self._started(work)
        job = work.kind([*self.arguments, *work.options,
                         *(each for pair in work.broadcast.items() for each in pair)])
        new = {path: self._ship(path) for path in work.broadcast.values()}
        task_job = self._task_job(job, new)
        reducers = self._reducers(work)
        result = (self._lines(work.manifest)
                  .mapPartitions(functools.partial(spark_task.map_lines, task_job))
                  .repartitionAndSortWithinPartitions(reducers, spark_task.reducer_of, True,
                                                      spark_task.whole)
                  .mapPartitions(functools.partial(spark_task.reduce_lines, task_job)))
        try:
            lines, self.facts = application.run(work.title, result.collect, self.watch)
        finally:
            self._forget(result, new)
        read = job.output_protocol().read
        yield from without_errors(read(line) for line in lines)

    def _started(self, work: Work) -> Any:
        if self._application is None:
            from mr_gradient.jobs.engines.spark_application import Application

            self._application = Application(self.settings, f"{_NAME}-{self.run_name}",
                                            _memory(work, self.settings.early))
            zipped = os.path.join(self.scratch, package.NAME)
            package.write(zipped)
            for each in (zipped, *self.settings.py_files):
                self._application.context.addPyFile(each)
        return self._application

    def _task_job(self, job: BaseJob, new: dict[str, Shipped]) -> TaskJob:
        """What the tasks are told: mrjob knows which options are for them."""
        arguments = []
        for each in job._non_option_kwargs()["extra_args"]:
            if isinstance(each, dict):
                path = each["path"]
                if path not in new and path not in self._kept:
                    self._kept[path] = self._ship(path)
                each = new.get(path) or self._kept[path]
            arguments.append(each)
        context = self._application.context
        attempts = 1 if self.settings.is_local else int(
            context.getConf().get("spark.task.maxFailures", "4"))
        return TaskJob(type(job).__module__, type(job).__name__, tuple(arguments), attempts)

    def _ship(self, path: str) -> Shipped:
        """A local file for the tasks."""
        with open(path, "rb") as file:
            content = self._application.context.broadcast(file.read())
        self._files += 1
        return Shipped(self._files, os.path.basename(path), content)

    def _lines(self, manifest: str) -> Any:
        """The lines of a manifest, one a partition."""
        if manifest not in self._manifests:
            with open(manifest, "rb") as file:
                lines = file.read().splitlines()
            self._manifests[manifest] = self._application.context.parallelize(lines, max(1, len(lines)))
        return self._manifests[manifest]

    def _reducers(self, work: Work) -> int:
        """At most one a core, unless the job says more."""
        cores = self._application.context.defaultParallelism
        return work.reducers or max(1, min(work.blocks, cores, _MOST_REDUCERS))

    def _forget(self, result: Any, new: dict[str, Shipped]) -> None:
        """What only this job needed; Spark itself would wait for the JVM's garbage collector."""
        with contextlib.suppress(Exception):  # of a JVM that is gone
            result._jrdd.rdd().cleanShuffleDependencies(False)
            for each in new.values():
                each.content.destroy()

    def close(self) -> None:
        if self._application is not None:
            self._application.close()


def settings_of(arguments: list[str]) -> Settings:
    """What the arguments of a job say of Spark."""
    job = GradientJob(arguments)
    with job.make_runner() as runner:
        return runner.settings(job.options.num_cores)


def _memory(work: Work, given: dict[str, str]) -> dict[str, str]:
    """What an executor asks of YARN or Kubernetes beside its heap, if that is more than they give."""
    cores = given.get("spark.executor.cores", "1")
    of_one = _PYTHON + -(-max(work.map_bytes, work.reduce_bytes) // (1 << 20))
    need = of_one * (int(cores) if cores.isdigit() else 1)
    return {"spark.executor.memoryOverhead": f"{need}m"} if need > _USUAL_OVERHEAD else {}
