"""Starts of the command ``hadoop``: each is a JVM, which takes a second.

They are in sessions of their own, since a Ctrl-C of the terminal is for the driver alone, which then
ends what is to end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator

from mr_gradient.dataset.uris import is_uri
from mr_gradient.errors import UsageError


def check(command: list[str], jar: str | None) -> None:
    """Raises ``UsageError`` unless the command and the jar of Hadoop streaming are there."""
    if shutil.which(command[0]) is None:
        raise UsageError(f"-r hadoop: no command {command[0]!r} in HADOOP_HOME or on the path; install "
                         "Hadoop's client on this machine, or name it with --hadoop-bin")
    if not jar:
        raise UsageError("-r hadoop: no hadoop-streaming*.jar in HADOOP_HOME; name it with "
                         "--hadoop-streaming-jar")
    if not is_uri(jar) and not os.path.isfile(jar):
        raise UsageError(f"--hadoop-streaming-jar {jar}: no such file; it must be the jar of Hadoop "
                         "streaming")


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """``hadoop ARGUMENTS`` to its end, whatever its status; its streams as text."""
    return subprocess.run([*command, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", check=False, start_new_session=True)


def last_line(text: str) -> str:
    """What a command that failed said last, without Hadoop's advice to read its wiki."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].partition("; For more details see")[0] if lines else "it said nothing"


def end(client: subprocess.Popen, patience: float = 5) -> None:
    """End a client in a session of its own, at first so that it removes its temporary files."""
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(client.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(seconds)
            return


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A block that a Ctrl-C does not end, but follows: what is left on a cluster costs its users."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    saved = {number: signal.signal(number, lambda number, _: came.append(number))
             for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in saved.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])
