"""``-r hadoop``: jobs on YARN, with data, manifest and package in HDFS.

Staged once for a driver and passed as URIs (law 7): the package and the manifests. Only the parameters
travel with each job.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

from mrjob.protocol import JSONProtocol

from mr_gradient import probe
from mr_gradient.dataset import hadoop_site
from mr_gradient.errors import MrGradientError, TaskError
from mr_gradient.jobs.engines import (
    hadoop_client,
    hadoop_environments,
    hadoop_jobs,
    package,
    sizes,
)
from mr_gradient.jobs.engines.base import Engine, Work, without_errors
from mr_gradient.jobs.engines.hadoop_environments import HadoopEnvironments
from mr_gradient.jobs.engines.hadoop_log import ClientLog
from mr_gradient.jobs.engines.hadoop_runner import HadoopRunner
from mr_gradient.jobs.engines.hadoop_storage import HadoopStorage
from mr_gradient.jobs.engines.locality import Inputs
from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.jobs.task_errors import bad_nodes

_NAME = "mr_gradient"
#: Counters of a job by the names under which its history has them.
_COUNTERS = {
    "map_tasks": ("Job Counters", "Launched map tasks"),
    "reduce_tasks": ("Job Counters", "Launched reduce tasks"),
    "failed_map_tasks": ("Job Counters", "Failed map tasks"),
    "failed_reduce_tasks": ("Job Counters", "Failed reduce tasks"),
    "killed_map_tasks": ("Job Counters", "Killed map tasks"),
    "killed_reduce_tasks": ("Job Counters", "Killed reduce tasks"),
    "data_local_map_tasks": ("Job Counters", "Data-local map tasks"),
    "shuffled_bytes": ("Map-Reduce Framework", "Reduce shuffle bytes")}
#: How long the first job waits for a resource manager that does not answer, where Hadoop waits a
#: quarter of an hour; later jobs wait as the cluster says, since it has been there.
_FIRST_WAIT = dict.fromkeys(("yarn.resourcemanager.connect.max-wait.ms",
                             "yarn.resourcemanager.connect.retry-interval.ms"), "10000")


class HadoopEngine(Engine):
    """See ``Engine``. Its folder in HDFS is named for the run, and goes with the engine."""

    elsewhere, ships = "hadoop fs -put", True

    def __init__(self, arguments: list[str], scratch: str, run: str) -> None:
        """Raises ``UsageError`` where Hadoop's client is not installed."""
        super().__init__(arguments, scratch, run)
        job = GradientJob(arguments)
        self._ships = job.options.ship_env
        with job.make_runner() as runner:
            self._hadoop, parent = runner.get_hadoop_bin(), runner._opts["hadoop_tmp_dir"]
            jar = runner.get_hadoop_streaming_jar()
        hadoop_client.check(self._hadoop, jar)
        # Each job would look for it again.
        self.arguments = [*arguments, "--hadoop-streaming-jar", jar]
        self._name = f"{_NAME}-{run}"
        self._storage = HadoopStorage(self._hadoop, f"{_absolute(parent)}/{self._name}")
        self._environments = HadoopEnvironments(
            self._hadoop, f"{_absolute(parent)}/{hadoop_environments.FOLDER}")
        self._staged: dict[str, str] = {}
        self._inputs = Inputs(self._storage.uri, self._stage)
        self._begun, self._jobs = False, 0
        #: A job that a lost driver left may still write, but not into a folder of ours.
        self._driver = uuid.uuid4().hex[:8]

    def run(self, work: Work) -> Iterator[tuple]:
        """One job; the first is run again if it has shown that some nodes cannot do the work."""
        records = self._job(work)
        if self._jobs == 1 and (bad := bad_nodes(records)):
            self.note(f"warning: tasks are run again on other nodes, since {bad}")
            records = self._job(work)
        yield from without_errors(records)

    def _job(self, work: Work) -> list[tuple]:
        """The records of a job, which is run again if the descriptors of its splits are lost."""
        try:
            return self._once(work)
        except TaskError as error:
            if not self._inputs.lost(work.manifest, error):
                raise
            self.note("warning: a data node is lost; from now on YARN is not told where shards are")
            return self._once(work)

    def _once(self, work: Work) -> list[tuple]:
        """One start of the client; the records come from the job's output in HDFS."""
        if not self._begun:
            self._begin()
        self._jobs += 1
        first = [] if self._jobs > 1 else ["--cmdenv", f"{probe.FIRST}=1"]
        output = f"output-{self._driver}-{self._jobs}"
        files = [each for pair in work.broadcast.items() for each in pair]
        source = self._inputs.of(work.manifest)
        shipped = self._environments.options(work, self.watch) if self._ships else []
        job = work.kind([*shipped, *self.arguments, *first, *work.options, *files, "--output-dir",
                         f"{self._storage.uri}/{output}", source.uri])
        log = ClientLog(self.watch, self._found)
        try:
            with job.make_runner() as runner:
                runner.module, runner.name = work.kind.__module__, self._name
                runner.defaults = {**self._defaults(work), **source.properties}
                runner.log, runner._hadoop_input_format = log, source.format
                if issubclass(work.kind.INTERNAL_PROTOCOL, JSONProtocol):
                    runner.form = "json"
                runner.run()
                self.facts = _facts(runner)
                return list(job.parse_output(self._storage.lines(output)))
        except BaseException:
            if log.staging:  # a client or a master that was killed leaves it
                self._discard(lambda: self._storage.remove_elsewhere(log.staging))
            raise
        finally:
            self._discard(lambda: self._storage.remove(output))

    def _begin(self) -> None:
        """Make the folder, and end what a driver that was lost has left."""
        if self._storage.exists():
            for job in hadoop_jobs.kill_all(self._hadoop, self._name):
                self.note(f"ended {job}, which an earlier run of this command has left")
        self._begun = True
        self._storage.begin()
        zipped = os.path.join(self.scratch, package.NAME)
        package.write(zipped)
        self.arguments = [*self.arguments, "--errors-as-records", "--files",
                          f"{self._stage(zipped)}#{package.NAME}"]

    def _defaults(self, work: Work) -> dict[str, str]:
        """Properties of the job, unless the user says otherwise."""
        return {"mapreduce.job.name": f"{self._name} {work.title}",
                "mapreduce.job.tags": f"{self._name},{work.title.replace(' ', '-')}".rstrip(","),
                "mapreduce.job.reduce.slowstart.completedmaps": sizes.slow_start(work),
                # The client would ask once a second.
                "mapreduce.client.progressmonitor.pollinterval": "200",
                **(_FIRST_WAIT if self._jobs == 1 else {}),
                **sizes.of_job(work)}

    def _found(self, url: str) -> None:
        """The web page of a job; people need one to find the others."""
        self.watch(f"job at {url}")
        if self._jobs == 1:
            self.note(f"the jobs are on YARN, the first at {url}")

    def _stage(self, path: str) -> str:
        """URI of a copy of a local file, whose content belongs to its name."""
        if path not in self._staged:
            self._staged[path] = self._storage.put(path)
        return self._staged[path]

    def _discard(self, remove: Callable[[], None]) -> None:
        """What cannot be removed is told, and is no reason to fail."""
        with hadoop_client.undisturbed():
            try:
                remove()
            except MrGradientError as error:
                if self._staged:
                    self.note(f"warning: something is left in {self._storage.uri}: {error}")

    def close(self) -> None:
        if self._begun:
            self._discard(lambda: self._storage.remove(""))


def _absolute(folder: str) -> str:
    """A folder of HDFS as a URI; a relative one is below the user's home."""
    folder = folder.rstrip("/")
    if "://" in folder:
        return folder
    return f"hdfs://{folder}" if folder.startswith("/") else os.path.join(
        f"hdfs:///user/{hadoop_site.user()}", folder).rstrip("/")


def _facts(runner: HadoopRunner) -> dict:
    """What the history says of a job."""
    # Some of Hadoop's own names end in a space.
    counters = {group.strip(): found for group, found in next(iter(runner.counters()), {}).items()}
    return {"application": runner.log.application, "url": runner.log.url,
            **{name: counters.get(group, {}).get(counter, 0)
               for name, (group, counter) in _COUNTERS.items()}}
