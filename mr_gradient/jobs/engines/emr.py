"""``-r emr``: jobs as steps of one cluster of Amazon EMR, with all that they need in S3.

Staged once for a driver and passed as URIs (law 7): the package, the manifests, and what else tasks
get. Only the parameters are written for each job, and removed after it. Errors of tasks come as
records: logs would take ten minutes.
"""

from __future__ import annotations

import getpass
import hashlib
import itertools
import os
import socket
import sys
from collections.abc import Iterator

from mrjob.protocol import JSONProtocol

from mr_gradient import probe
from mr_gradient.errors import MrGradientError
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.jobs.engines import package, sizes
from mr_gradient.jobs.engines.base import Engine, Work, without_errors
from mr_gradient.jobs.engines.emr_cluster import EmrCluster
from mr_gradient.jobs.engines.emr_runner import EmrRunner
from mr_gradient.jobs.engines.emr_storage import EmrStorage
from mr_gradient.jobs.engines.hadoop_client import undisturbed
from mr_gradient.jobs.gradient_job import GradientJob

_NAME = "mr_gradient"


class EmrEngine(Engine):
    """See ``Engine``. The cluster starts with the first job; it and its folder in S3 end with us.

    ``name``: of the run on AWS; ``package``: URI of the package, once there is a cluster.
    """

    elsewhere = "aws s3 cp --recursive"

    def __init__(self, arguments: list[str], scratch: str, run: str) -> None:
        super().__init__(arguments, scratch, run)
        self.name, self.package = f"{_NAME}-{run}-{_owner()}", ""
        self._options = GradientJob(arguments).options
        with GradientJob(arguments).make_runner() as runner:
            opts = runner._opts
            self._region = opts["region"]
            self.storage = EmrStorage(runner.fs.s3.make_s3_client(self._region),
                                      f"{opts['cloud_tmp_dir']}{self.name}")
            self.cluster = EmrCluster(runner.make_emr_client(), self.name, opts["cluster_id"],
                                      opts["check_cluster_every"])
        self._staged: dict[tuple, str] = {}
        self._begun = False
        self._jobs = 0

    def begin(self, kind: type[BaseJob] = GradientJob) -> None:
        """Have a cluster for such jobs, with the package in its folder; asks the user if one is to be
        started."""
        with kind(self.arguments).make_runner() as runner:
            request, uploads = runner.cluster(self.name, self.storage.uri)
            self.cluster.confirm(request, self._region, self._options.yes)
            self._begun = True  # from here on there may be something to remove
            self.storage.remove_folder()
            for path, uri in uploads.items():
                self.storage.put(path, uri.removeprefix(f"{self.storage.uri}/"))
            self.cluster.begin(request)
        zipped = os.path.join(self.scratch, package.NAME)
        package.write(zipped)
        self.package = self.stage(zipped)
        self.arguments = [*self.arguments, "--errors-as-records", "--files",
                          f"{self.package}#{package.NAME}"]

    def run(self, work: Work) -> Iterator[tuple]:
        """One step; the records come from the job's output in S3."""
        if not self._begun:
            self.begin(work.kind)
        self._jobs += 1
        output = f"output-{self._jobs}"
        sent = {option: f"{self._jobs}/{os.path.basename(path)}"
                for option, path in work.broadcast.items()}
        try:
            files = itertools.chain.from_iterable(
                (option, self.storage.put(path, sent[option]))
                for option, path in work.broadcast.items())
            # A node whose Python cannot do the work says so at once.
            first = [] if self._jobs > 1 else ["--cmdenv", f"{probe.FIRST}=1"]
            job = work.kind([*self.arguments, *first, *work.options, *files, "--output-dir",
                             f"{self.storage.uri}/{output}", self.stage(work.manifest)])
            with job.make_runner() as runner:
                self._submit(runner, work)
            yield from without_errors(job.parse_output(self.storage.lines(output)))
        finally:
            for name in sent.values():
                self.storage.remove(name)
            self.storage.remove_folder(output)

    def _submit(self, runner: EmrRunner, work: Work) -> None:
        def submit(step: dict) -> None:
            self.cluster.run(step, self.watch)
            self.facts = {"cluster": self.cluster.id, "step": self.cluster.last}

        runner.module, runner.defaults = work.kind.__module__, self._defaults(work)
        if issubclass(work.kind.INTERNAL_PROTOCOL, JSONProtocol):
            runner.form = "json"
        runner.stage, runner.submit = self.stage, submit
        runner.run()

    def _defaults(self, work: Work) -> dict[str, str]:
        """Properties of the job, unless the user says otherwise."""
        return {"mapreduce.job.name": f"{self.name} {work.title}",
                "mapreduce.job.tags": self.name,
                "mapreduce.job.reduce.slowstart.completedmaps": sizes.slow_start(work),
                **sizes.of_job(work)}

    def stage(self, path: str) -> str:
        """URI of a copy of a local file, sent once."""
        status = os.stat(path)
        key = path, status.st_mtime_ns, status.st_size
        if key not in self._staged:
            name = f"staged/{len(self._staged)}/{os.path.basename(path)}"
            self._staged[key] = self.storage.put(path, name)
        return self._staged[key]

    def close(self) -> None:
        """End the cluster first: it costs money. What stays in S3 then hides no other error."""
        if not self._begun:
            return
        self._begun = False
        with undisturbed():
            try:
                self.cluster.end()
            finally:
                try:
                    self.storage.remove_folder()
                except MrGradientError as error:
                    print(f"warning: something is left in {self.storage.uri}: {error}", file=sys.stderr)


def _owner() -> str:
    """A word for this user on this machine: others may train into a folder of the same name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return hashlib.sha256(f"{user}@{socket.gethostname()}".encode()).hexdigest()[:8]
