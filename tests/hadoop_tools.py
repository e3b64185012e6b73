"""What the tests of ``-r hadoop`` share: a user's commands, and a look at what they leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cli_tools import ROOT
from cluster import HadoopCluster


def wrapper(folder: Path) -> Path:
    """A Python for the nodes. The tests' own may have a path with a space, which Hadoop cannot run."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' \"$@\"\n")
    python.chmod(0o755)
    return python


class User:
    """Runs ``mr-gradient`` as somebody who uses a cluster, in a temporary folder of his own.

    Every start of ``hadoop`` is counted.
    """

    def __init__(self, hadoop: HadoopCluster, folder: Path, **variables: str) -> None:
        self.hadoop, self.folder = hadoop, folder
        for name in ("bin", "temporary"):
            (folder / name).mkdir()
        self._log = folder / "starts"
        client = folder / "bin" / "hadoop"
        client.write_text(f'#!/bin/sh\necho "$*" >> {self._log}\n'
                          f'exec {hadoop.folder / "bin" / "hadoop"} "$@"\n')
        client.chmod(0o755)
        self.options = ["-r", "hadoop", "--hadoop-bin", str(client),
                        "--python-bin", str(wrapper(folder))]
        self.environment = hadoop.environment(
            PYTHONPATH=str(ROOT), TMPDIR=str(folder / "temporary"), **variables)

    def start(self, *argv: object) -> subprocess.Popen:
        """The command in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "mr_gradient", *map(str, argv)], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
            env=self.environment)

    def run(self, *argv: object, seconds: float = 200) -> subprocess.CompletedProcess:
        process = self.start(*argv)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # so that it ends its job
            raise AssertionError(process.communicate(timeout=60)) from None
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def starts(self) -> list[str]:
        """What ``hadoop`` was started for, such as ``jar`` and ``fs``."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line.partition(" ")[0] for line in lines]

    def wait_for_job(self, process: subprocess.Popen, ready: Callable[[dict], bool]) -> dict:
        """The first unfinished job of ours that is ready, as the resource manager has it."""
        def look() -> dict | None:
            assert process.poll() is None, process.communicate()
            found = self.hadoop.resource_manager.applications("ACCEPTED,RUNNING")
            return next((each for each in found if each["name"].startswith("mr_gradient-")
                         and ready(each)), None)

        return self.hadoop.wait("a job", look, 120)


def left_in_hdfs(hadoop: HadoopCluster) -> list[str]:
    """What is there of a driver or of its jobs: in the user's home, and in MapReduce's own folder."""
    user = hadoop.options.user
    listed = hadoop.run("fs", "-ls", "-R", f"/user/{user}", f"/tmp/hadoop-yarn/staging/{user}", "/tmp",
                        check=False)
    return sorted({line.split()[-1] for line in listed.splitlines()
                   if re.search(r"/mr_gradient-|/\.staging/|/tmp/mrjob", line)})


def left(user: User) -> list[str]:
    """What is there once the last application master has gone, which takes some seconds."""
    user.hadoop.wait("all jobs to end", lambda: not user.hadoop.resource_manager.applications(
        "NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING"))
    return left_in_hdfs(user.hadoop) + left_here(user)


def left_here(user: User) -> list[str]:
    """In the temporary folders of this machine: the driver's, and those of Hadoop's client."""
    return sorted([str(path) for path in (user.folder / "temporary").iterdir()]
                  + [str(path) for path in (user.hadoop.folder / "tmp").glob("hadoop-unjar*")]
                  + [str(path) for path in Path("/dev/shm").glob("mr_gradient-*")
                     if not _owner_lives(path)])


def _owner_lives(folder: Path) -> bool:
    """Other tests may run beside ours."""
    pid = folder.name.removeprefix("mr_gradient-").partition("-")[0]
    return os.path.exists(f"/proc/{pid}")


def interrupt(process: subprocess.Popen, number: int = signal.SIGINT) -> tuple[int, str, str]:
    """Send a signal to the driver alone; its status, stdout and stderr."""
    os.kill(process.pid, number)
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, out, err


def until_gone(hadoop: HadoopCluster, application: str, seconds: float = 30) -> str:
    """The state in which an application ends."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = hadoop.resource_manager.application(application)
        if found["state"] in ("FINISHED", "FAILED", "KILLED"):
            return found["finalStatus"]
        time.sleep(0.1)
    raise AssertionError(f"{application} has not ended")
