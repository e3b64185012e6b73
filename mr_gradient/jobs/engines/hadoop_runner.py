"""mrjob's Hadoop runner with one start of the client a job.

A start of ``hadoop`` takes a second, and mrjob makes ten of them for a job. Here local files travel
with the job itself (streaming's ``-files`` puts them into the job's own staging folder, which goes with
it), the version is asked for once, and the engine reads and removes the output.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from mrjob.fs.hadoop import HadoopFilesystem
from mrjob.hadoop import HadoopJobRunner, _log_record_from_hadoop
from mrjob.logs.step import _interpret_hadoop_jar_command_stderr
from mrjob.step import StepFailedException

from mr_gradient import fingerprint
from mr_gradient.jobs.engines.hadoop_jobs import failure, kill

_LINES_KEPT = 200
_PROGRESS = re.compile(r"\s*map (\d+)% reduce (\d+)%")
_TRACKING = re.compile(r"The url to track the job: (\S+)")


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    return HadoopFilesystem(list(command)).get_hadoop_version()


class HadoopRunner(HadoopJobRunner):
    """Every file of the job is a URI, or small.

    ``module``: where the class of the job is. ``defaults``: properties of the job, below all that the
    user sets. ``watch``: called with a few words of progress. ``told``: what the client said.
    """

    module = ""
    defaults: dict[str, str] = {}
    watch: Callable[[str], None] = staticmethod(lambda text: None)

    @classmethod
    def _default_opts(cls) -> dict:
        return {**super()._default_opts(), "bootstrap_mrjob": False, "check_input_paths": False,
                "read_logs": False, "cleanup": ["LOCAL_TMP"], "cleanup_on_failure": ["LOCAL_TMP"]}

    def get_hadoop_version(self) -> str:
        return _version(tuple(self.get_hadoop_bin()))

    def _wd_mirror(self) -> None:
        """No folder in HDFS for what travels with the job."""

    def _upload_local_files(self) -> None:
        """Nothing is left to upload."""

    def _cmdenv(self) -> dict:
        """The bits depend on what these say to BLAS and numpy (law 2): tasks get the driver's."""
        return {**{name: os.environ[name] for name in fingerprint.KERNELS if name in os.environ},
                **super()._cmdenv()}

    def _jobconf_for_step(self, step_num: int) -> dict:
        return {**self.defaults, **super()._jobconf_for_step(step_num)}

    def _script_args_for_step(self, step_num: int, mrc: str, input_manifest: bool = False) -> list[str]:
        """The job as a module of the package, which is on the tasks' path."""
        words = super()._script_args_for_step(step_num, mrc, input_manifest)
        script = self._working_dir_mgr.name("file", self._script_path)
        at = words.index(script)
        return [*words[:at], "-m", self.module, *words[at + 1:]]

    def _run_hadoop(self, hadoop_args: list[str], env: dict,
                    record_callback: object) -> tuple[int, dict]:
        """Start the client and follow what it says; whatever interrupts us ends the job as well."""
        self.told: dict[str, Any] = {"lines": []}
        with subprocess.Popen(hadoop_args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=env, start_new_session=True) as client:
            try:
                found = _interpret_hadoop_jar_command_stderr(
                    self._kept(client.stderr), record_callback=self._follow)
                return client.wait(), found
            except BaseException:
                client.kill()
                self._kill_job()
                raise

    def _kept(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.told["lines"] = [*self.told["lines"][1 - _LINES_KEPT:], line.decode(errors="replace")]
            yield line

    def _follow(self, record: dict) -> None:
        _log_record_from_hadoop(record)
        message = record["message"]
        if found := re.match(r"Submitted application (\S+)", message):
            self.told["application"] = found[1]
        elif found := _TRACKING.match(message):
            self.told["url"] = found[1]
            self.watch(f"job at {found[1]}")
        elif found := _PROGRESS.match(message):
            self.watch(f"map {found[1]}% reduce {found[2]}%")

    def _kill_job(self) -> None:
        if "application" in self.told:
            kill(self.get_hadoop_bin(), self.told["application"].replace("application_", "job_"))

    def _run_job_in_hadoop(self) -> None:
        """As mrjob's; a failure is told in one line."""
        try:
            super()._run_job_in_hadoop()
        except StepFailedException:
            raise failure(self.told) from None

    def _pick_error(self, *_: object) -> None:
        """``failure`` finds it."""
