"""What mrjob's options say of Spark: mrjob's own Spark runner, asked for settings and never run.

It would start an application for each job, of 7.7 s, and pass records on through files that all nodes
must see.
"""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from mrjob.spark.runner import SparkMRJobRunner

from mr_gradient import fingerprint, threads
from mr_gradient.errors import UsageError

#: Settings that begin so may hold secrets: they stay off the command line of the JVM, which all users
#: of a machine can read.
_LATE = ("spark.hadoop.", "spark.executorEnv.")
_ALL_CORES = "*"
#: Options of mrjob's that would need its wrappers around tasks.
_NOT_HERE = {"setup": "--setup", "upload_files": "--files", "upload_archives": "--archives",
             "upload_dirs": "--dirs"}


class Settings(NamedTuple):
    """Of an application. ``early``: properties that the JVM must know at its start; ``late``: the
    others; ``words``: further arguments of spark-submit; ``python``: of the executors."""

    master: str
    early: dict[str, str]
    late: dict[str, str]
    words: list[str]
    python: str
    py_files: list[str]

    @property
    def is_local(self) -> bool:
        """Whether tasks run on this machine, in the driver's own JVM."""
        return self.master.startswith("local")


class SparkRunner(SparkMRJobRunner):
    """See the module."""

    @classmethod
    def _default_opts(cls) -> dict:
        return {**super()._default_opts(), "bootstrap_mrjob": False, "check_input_paths": False}

    def settings(self, num_cores: int | None) -> Settings:
        """What the options, the configuration file and the defaults come to."""
        opts = self._opts
        master = opts["spark_master"] or f"local[{num_cores or _ALL_CORES}]"
        if (opts["spark_deploy_mode"] or "client") != "client":
            raise UsageError(f"--spark-deploy-mode {opts['spark_deploy_mode']}: must be client: the "
                             "driver is this command")
        for name, option in _NOT_HERE.items():
            if opts[name]:
                raise UsageError(f"{option}: not with -r spark; see --spark-args, such as "
                                 "--spark-args='--archives env.tar.gz#env'")
        strange = [name for name in opts["jobconf"] if not name.startswith("spark.")]
        if strange:
            raise UsageError(f"-D {strange[0]}: with -r spark properties must begin with 'spark.'")
        given = {name: str(value) for name, value in opts["jobconf"].items()}
        given |= {f"spark.executorEnv.{name}": value for name, value in self._variables().items()
                  if f"spark.executorEnv.{name}" not in given}
        late = {name: value for name, value in given.items() if name.startswith(_LATE)}
        early = {name: value for name, value in given.items() if name not in late}
        return Settings(master, early, late, list(opts["spark_args"]), self._python(master),
                        list(opts["py_files"]))

    def _variables(self) -> dict[str, str]:
        """Environment of the tasks: what the bits depend on is as here (law 2)."""
        return {**{name: os.environ[name] for name in fingerprint.KERNELS if name in os.environ},
                **dict.fromkeys(threads.VARIABLES, "1"), **self._cmdenv()}

    def _python(self, master: str) -> str:
        given = self._opts["task_python_bin"] or self._opts["python_bin"]
        if given:
            return given[0]
        return sys.executable if master.startswith("local") else os.environ.get("PYSPARK_PYTHON",
                                                                                "python3")
