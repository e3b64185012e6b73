"""A real Spark on this machine: a standalone master and workers, each a process of its own.

    with SparkCluster() as spark:
        run(data, out, runner="spark", options=spark.options)

Started from the pyspark package, on loopback. All descend from ``cluster.supervisor``: they end, and
their folder goes, when this process does, however it ends. The Python of the executors sees numpy and
nothing else that is installed, so that whatever tasks need besides must reach them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cluster.fixture import leave_out
from cluster.jars import Missing, java_home
from cluster.processes import descendants, parents, with_argument

_SECONDS_TO_START = 120


def why_not() -> str:
    """What is missing for Spark on this machine, or nothing."""
    try:
        import pyspark  # noqa: F401
        java_home()
    except ImportError:
        return "pyspark is needed: pip install pyspark"
    except Missing as missing:
        return str(missing)
    return "" if sys.platform.startswith("linux") else "Linux is needed: the cluster asks /proc"


@pytest.fixture(scope="session")
def spark_ready(request: pytest.FixtureRequest) -> None:
    """That Spark can be started. Without pyspark or Java, CI fails; others skip, and read why."""
    if reason := why_not():
        leave_out(request, "Spark", reason)


class SparkCluster:
    """``master``: its URL; ``options``: of our commands; ``folder``: all that there is.

    Raises ``RuntimeError`` with the log of a process that does not start.
    """

    def __init__(self, workers: int = 2) -> None:
        import pyspark

        self._home = Path(pyspark.__file__).parent
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "cluster.supervisor"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent)})
        try:
            self.folder = Path(self._supervisor.stdout.readline().rstrip("\n"))
            for name in ("logs", "tmp", "java", "nodes"):
                (self.folder / name).mkdir()
            self._start("master", "master.Master", "--host", "127.0.0.1", "--port", "0")
            self.master = self._wait("master", r"Starting Spark master at (spark://\S+)", 1)
            for number in range(1, workers + 1):
                self._start(f"worker-{number}", "worker.Worker", "--host", "127.0.0.1", "-c", "1",
                            "-m", "600m", "-d", str(self.folder / f"work-{number}"), self.master)
            self._wait("master", r"(Registering worker)", workers)
        except BaseException:
            self.stop()
            raise
        self.options = ["--spark-master", self.master, "--python-bin", str(self._python()),
                        *(word for pair in self._properties() for word in ("-D", "=".join(pair)))]

    def __enter__(self) -> SparkCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def executors(self) -> list[int]:
        """Process numbers of the executors that run."""
        ours = set(descendants(self._supervisor.pid))
        return sorted(ours & set(with_argument("CoarseGrainedExecutorBackend")))

    def files(self) -> list[str]:
        """What applications have left on the nodes, beside what their executors said."""
        # Not by Path.rglob, which cannot bear that a folder goes meanwhile.
        ours = (Path(above, name).relative_to(self.folder)
                for above, _, names in os.walk(self.folder) for name in names)
        return sorted(str(path) for path in ours if path.parts[0] not in ("logs", "java", "nodes")
                      and path.name not in ("stdout", "stderr"))

    def log(self, name: str) -> str:
        return (self.folder / "logs" / f"{name}.log").read_text("utf-8", "replace")

    def stop(self) -> None:
        """Kill all processes and remove all files; harmless when done before."""
        with self._supervisor as supervisor:
            if supervisor.poll() is None:
                with contextlib.suppress(BrokenPipeError):
                    supervisor.stdin.write('{"do": "stop"}\n')
                    supervisor.stdin.flush()

    def _start(self, name: str, kind: str, *arguments: str) -> None:
        """A daemon. No variable of this process's reaches a task by way of it."""
        java = [f"-Djava.io.tmpdir={self.folder}/java", "-XX:-UsePerfData", "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1"]
        env = {"PATH": os.defpath, "JAVA_HOME": str(java_home()), "SPARK_HOME": str(self._home),
               "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "128m",
               "SPARK_DAEMON_JAVA_OPTS": " ".join(java),
               "SPARK_LOCAL_DIRS": str(self.folder / "tmp"), "HOME": str(self.folder)}
        log = self.folder / "logs" / f"{name}.log"
        log.touch()
        self._ask("start", name=name, env=env, folder=str(self.folder), log=str(log),
                  argv=[str(self._home / "bin" / "spark-class"), f"org.apache.spark.deploy.{kind}",
                        "--webui-port", "0", *arguments])

    def _properties(self) -> list[tuple[str, str]]:
        return [("spark.driver.host", "127.0.0.1"), ("spark.driver.bindAddress", "127.0.0.1"),
                ("spark.ui.enabled", "false"), ("spark.executor.memory", "512m"),
                ("spark.executor.extraJavaOptions",
                 f"-Djava.io.tmpdir={self.folder}/java -XX:-UsePerfData -XX:+UseSerialGC "
                 "-XX:TieredStopAtLevel=1")]

    def _python(self) -> Path:
        """This Python without its site-packages, but for numpy."""
        packages = self.folder / "nodes"
        installed = Path(np.__file__).parent
        for folder in (installed, installed.with_name("numpy.libs")):
            if folder.is_dir():
                (packages / folder.name).symlink_to(folder)
        script = self.folder / "nodes" / "python"
        script.write_text(f'#!/bin/sh\nexport PYTHONPATH="$PYTHONPATH:{packages}"\n'
                          f'exec "{sys.executable}" -S "$@"\n', "utf-8")
        script.chmod(0o755)
        return script

    def _wait(self, name: str, pattern: str, count: int) -> str:
        """Until a daemon has said something so many times; returns the group of the first."""
        end = time.monotonic() + _SECONDS_TO_START
        while len(found := re.findall(pattern, self.log(name))) < count:
            status = self._ask("poll")
            if any(each is not None for each in status.values()) or time.monotonic() > end:
                raise RuntimeError(f"Spark's {name} did not start: {status}\n{self.log(name)[-4000:]}")
            time.sleep(0.05)
        return found[0]

    def _ask(self, request: str, **arguments: object) -> dict:
        self._supervisor.stdin.write(json.dumps({"do": request, **arguments}) + "\n")
        self._supervisor.stdin.flush()
        return json.loads(self._supervisor.stdout.readline())


def alive(pid: int) -> bool:
    return pid in parents()


def with_variable(assignment: str) -> dict[int, str]:
    """Command lines of the other processes that have a variable, such as ``HOME=/x``."""
    found = {}
    for pid in parents():
        with contextlib.suppress(OSError):
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            if assignment.encode() in variables and pid != os.getpid():
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                found[pid] = line.replace(b"\0", b" ").decode(errors="replace")
    return found
