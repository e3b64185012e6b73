"""mrjob's local runner, started from threads, with the task's own error in the driver's.

mrjob starts the tasks' processes from a pool of processes of its own. On Python 3.14 that pool
dies at its start (forkserver imports the job without the stand-ins of ``mrjob_compat``) and the job
hangs for ever; threads do as well, since a task is a process anyway.
"""

from __future__ import annotations

import contextlib
import os
import re
from concurrent.futures import ThreadPoolExecutor

from mrjob.local import LocalMRJobRunner, _TaskFailedException

import mr_gradient
from mr_gradient.errors import from_task

_LAST_LINE = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$")


class LocalRunner(LocalMRJobRunner):
    """Every task is a process of this Python; nothing is zipped for it, since all is installed."""

    @classmethod
    def _default_opts(cls) -> dict:
        return {**super()._default_opts(), "bootstrap_mrjob": False}

    def _cmdenv(self) -> dict:
        """The package's folder goes on the tasks' path, in case it is not installed."""
        root = os.path.dirname(os.path.dirname(os.path.abspath(mr_gradient.__file__)))
        env = super()._cmdenv()
        paths = [root, env.get("PYTHONPATH") or os.environ.get("PYTHONPATH")]
        return {**env, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    def _env_for_task(self, *args, **kwargs) -> dict:
        # mrjob would put its own copy of PYTHONPATH behind ours once more.
        return {**super()._env_for_task(*args, **kwargs), **self._cmdenv()}

    def _run_multiple(self, funcs, num_processes: int | None = None) -> None:
        with ThreadPoolExecutor(self._num_cores()) as pool:
            futures = [pool.submit(func) for func in funcs]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _cleanup_local_tmp(self) -> None:
        """Also the lock that mrjob's wrapper of setup commands leaves behind."""
        super()._cleanup_local_tmp()
        with contextlib.suppress(OSError):
            os.unlink(f"/tmp/wrapper.lock.{self._job_key}")

    def _log_cause_of_error(self, ex: Exception) -> None:
        """Nothing: ``_run_streaming_step`` raises the cause."""

    def _run_streaming_step(self, step: dict, step_num: int) -> None:
        try:
            super()._run_streaming_step(step, step_num)
        except _TaskFailedException as error:
            path = self._task_stderr_path(error.task_type, error.step_num, error.task_num)
            raise _error_from_stderr(path, error.reason) from None


def _error_from_stderr(path: str, reason: str) -> Exception:
    """The exception that ended a task, from the last line of its traceback."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            details = file.read()
    except OSError:
        details = ""
    if "Traceback" in details:
        for line in reversed(details.splitlines()):
            if match := _LAST_LINE.match(line):
                return from_task(match[1].rpartition(".")[2], match[2] or "", details)
    return from_task("TaskError", f"{reason}; it left no traceback", details)
