"""``-r hadoop``: jobs on YARN, with data, manifest and package in HDFS.

Staged once for a driver and passed as URIs (law 7): the package and the manifests. Only the parameters
travel with each job.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from mr_gradient.dataset import hadoop_site
from mr_gradient.jobs.engines import hadoop_jobs, package, sizes
from mr_gradient.jobs.engines.base import Engine, Work, without_errors
from mr_gradient.jobs.engines.hadoop_runner import HadoopRunner
from mr_gradient.jobs.engines.hadoop_storage import HadoopStorage
from mr_gradient.jobs.gradient_job import GradientJob

_NAME = "mr_gradient"
#: Counters of a job by the names under which its history has them.
_COUNTERS = {
    "map_tasks": ("Job Counters", "Launched map tasks"),
    "reduce_tasks": ("Job Counters", "Launched reduce tasks"),
    "failed_map_tasks": ("Job Counters", "Failed map tasks"),
    "failed_reduce_tasks": ("Job Counters", "Failed reduce tasks"),
    "killed_map_tasks": ("Job Counters", "Killed map tasks"),
    "data_local_map_tasks": ("Job Counters", "Data-local map tasks"),
    "shuffled_bytes": ("Map-Reduce Framework", "Reduce shuffle bytes")}


class HadoopEngine(Engine):
    """See ``Engine``. Its folder in HDFS is named for the run, and goes with the engine."""

    elsewhere = "hadoop fs -put"

    def __init__(self, arguments: list[str], scratch: str, run: str) -> None:
        super().__init__(arguments, scratch, run)
        with GradientJob(arguments).make_runner() as runner:
            hadoop, parent = runner.get_hadoop_bin(), runner._opts["hadoop_tmp_dir"]
        self._storage = HadoopStorage(hadoop, f"{_absolute(parent)}/{_NAME}-{run}")
        self._staged: dict[str, str] = {}
        self._jobs = 0
        self._name = f"{_NAME}-{run}"
        if self._storage.exists():
            hadoop_jobs.kill_all(hadoop, self._name)
        self._storage.begin()
        zipped = os.path.join(scratch, package.NAME)
        package.write(zipped)
        self.arguments = [*arguments, "--errors-as-records", "--cmdenv", f"PYTHONPATH={package.NAME}",
                          "--files", f"{self._stage(zipped)}#{package.NAME}"]

    def run(self, work: Work) -> Iterator[tuple]:
        """One start of the client; the records come from the job's output in HDFS."""
        self._jobs += 1
        output = f"output-{self._jobs}"
        files = [each for pair in work.broadcast.items() for each in pair]
        job = work.kind([*self.arguments, *work.options, *files, "--output-dir",
                         f"{self._storage.uri}/{output}", self._stage(work.manifest)])
        try:
            with job.make_runner() as runner:
                runner.module = work.kind.__module__
                runner.defaults = self._defaults(work)
                runner.watch = self.watch
                runner.run()
                self.facts = _facts(runner)
                yield from without_errors(job.parse_output(self._storage.lines(output)))
        finally:
            self._storage.remove(output)

    def _defaults(self, work: Work) -> dict[str, str]:
        """Properties of the job, unless the user says otherwise."""
        return {"mapreduce.job.name": f"{self._name} {work.title}",
                "mapreduce.job.tags": self._name,
                # No reducer sits in a slot that a mapper needs (law 4).
                "mapreduce.job.reduce.slowstart.completedmaps": "1.0",
                **sizes.of_job(work)}

    def _stage(self, path: str) -> str:
        """URI of a copy of a local file, whose content belongs to its name."""
        if path not in self._staged:
            self._staged[path] = self._storage.put(path)
        return self._staged[path]

    def close(self) -> None:
        self._storage.remove("")


def _absolute(folder: str) -> str:
    """A folder of HDFS as a URI; a relative one is below the user's home."""
    if "://" in folder:
        return folder.rstrip("/")
    return f"hdfs://{'' if folder.startswith('/') else f'/user/{hadoop_site.user()}/'}{folder}"


def _facts(runner: HadoopRunner) -> dict:
    """What the history says of a job."""
    # Some of Hadoop's own names end in a space.
    counters = {group.strip(): found for group, found in next(iter(runner.counters()), {}).items()}
    found = {name: counters.get(group, {}).get(counter, 0)
             for name, (group, counter) in _COUNTERS.items()}
    said = {name: runner.told.get(name, "") for name in ("application", "url")}
    return {**said, **found}
