"""mrjob's Hadoop runner with one start of the client a job.

A start of ``hadoop`` takes a second, and mrjob makes ten of them for a job. Here local files travel
with the job itself (streaming's ``-files`` puts them into the job's own staging folder, which goes with
it), the version is asked for once, and the engine reads and removes the output.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator

from mrjob.fs.hadoop import HadoopFilesystem
from mrjob.hadoop import HadoopJobRunner, _log_record_from_hadoop
from mrjob.logs.step import _interpret_hadoop_jar_command_stderr
from mrjob.step import StepFailedException

from mr_gradient import fingerprint, probe
from mr_gradient.jobs.engines import environment, hadoop_client, hadoop_jobs, package
from mr_gradient.jobs.engines.hadoop_log import ClientLog

_TAGS = "mapreduce.job.tags"


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    return HadoopFilesystem(list(command)).get_hadoop_version()


class HadoopRunner(HadoopJobRunner):
    """Every file of the job is a URI, or small.

    ``module``: where the class of the job is; ``form``: of its records, for ``probe``. ``name``: that
    of the run, with which the name of the job begins, and which is one of its tags. ``defaults``:
    properties of the job, below all that the user sets. ``log``: what the client says.
    """

    module, form, name = "", "base64", ""
    defaults: dict[str, str] = {}
    log = ClientLog()

    @classmethod
    def _default_opts(cls) -> dict:
        return {**super()._default_opts(), "bootstrap_mrjob": False, "check_input_paths": False,
                "read_logs": False, "cleanup": ["LOCAL_TMP"], "cleanup_on_failure": ["LOCAL_TMP"],
                # The engine's folder is the only one, and a parent of its own would be left behind.
                "hadoop_tmp_dir": ""}

    def get_hadoop_version(self) -> str:
        return _version(tuple(self.get_hadoop_bin()))

    def _wd_mirror(self) -> None:
        """No folder in HDFS for what travels with the job."""

    def _upload_local_files(self) -> None:
        """Nothing is left to upload."""

    def _default_python_bin(self, local: bool = False) -> list[str]:
        """Packages that were sent need the Python that they were installed for."""
        if probe.SHIPPED in self._opts["cmdenv"]:
            return ["python{}.{}".format(*sys.version_info)]
        return super()._default_python_bin(local)

    def _cmdenv(self) -> dict:
        """The bits depend on what some say to BLAS and numpy (law 2): tasks get the driver's. The
        package comes first on the path, and then what the user has put there."""
        found = {**{name: os.environ[name] for name in fingerprint.KERNELS if name in os.environ},
                 **super()._cmdenv()}
        shipped = [environment.NAME] if probe.SHIPPED in found else []
        path = [package.NAME, *filter(None, [found.get("PYTHONPATH")]), *shipped]
        return {**found, "PYTHONPATH": os.pathsep.join(path)}

    def _jobconf_for_step(self, step_num: int) -> dict:
        """The user's over ours; tags are added to, not replaced."""
        given = super()._jobconf_for_step(step_num)
        tags = [each[_TAGS] for each in (self.defaults, given) if each.get(_TAGS)]
        return {**self.defaults, **given, **({_TAGS: ",".join(tags)} if tags else {})}

    def _script_args_for_step(self, step_num: int, mrc: str, input_manifest: bool = False) -> list[str]:
        """The job as a module of the package, which is on the tasks' path; first ``probe``."""
        words = super()._script_args_for_step(step_num, mrc, input_manifest)
        script = self._working_dir_mgr.name("file", self._script_path)
        at = words.index(script)
        return [*words[:at], "-m", probe.__name__, self.form, self.module, *words[at + 1:]]

    def _run_hadoop(self, hadoop_args: list[str], env: dict,
                    record_callback: object) -> tuple[int, dict]:
        """Start the client and follow what it says; whatever interrupts us ends the job as well."""
        with subprocess.Popen(hadoop_args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=env, start_new_session=True) as client:
            try:
                found = _interpret_hadoop_jar_command_stderr(
                    self._heard(client.stderr), record_callback=_log_record_from_hadoop)
                return client.wait(), found
            except BaseException:
                with hadoop_client.undisturbed():
                    hadoop_client.end(client)
                    self._end_job()
                raise

    def _heard(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            self.log.hear(line.decode(errors="replace"))
            yield line

    def _end_job(self) -> None:
        """The client may have submitted it and not yet said so."""
        if self.log.job:
            hadoop_jobs.kill(self.get_hadoop_bin(), self.log.job)
        elif self.name:
            hadoop_jobs.kill_all(self.get_hadoop_bin(), self.name)

    def _run_job_in_hadoop(self) -> None:
        """As mrjob's; a failure is told in one line."""
        try:
            super()._run_job_in_hadoop()
        except StepFailedException:
            if self.log.job and not self.log.ended:  # the client gave up, and nobody waits for the job
                hadoop_jobs.kill(self.get_hadoop_bin(), self.log.job)
            raise self.log.failure() from None

    def _pick_error(self, *_: object) -> None:
        """``failure`` finds it."""
