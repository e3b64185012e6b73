"""Processes as /proc shows them: who descends from whom, and who was started for a container."""

from __future__ import annotations

import contextlib
import os
import signal


def parents() -> dict[int, int]:
    """Parent of every living process."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", encoding="utf-8",
                                                errors="replace") as file:
            # The command is in parentheses and may hold anything.
            state, parent = file.read().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                found[int(name)] = int(parent)
    return found


def descendants(pid: int) -> list[int]:
    """Children, their children and so on; without the process itself."""
    children: dict[int, list[int]] = {}
    for child, parent in parents().items():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, []))
    for each in found:
        found += children.get(each, [])
    return found


def kill_tree(pid: int) -> list[int]:
    """SIGKILL for a process and all its descendants; returns their numbers.

    All are stopped first, since what is stopped starts nothing new.
    """
    stopped: list[int] = []
    found = [pid]
    while new := [each for each in found if each not in stopped]:
        for each in new:
            send(each, signal.SIGSTOP)
        stopped += new
        found = descendants(pid)
    for each in stopped:
        send(each, signal.SIGKILL)
    return stopped


def send(pid: int, number: int) -> None:
    """A signal for a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def with_argument(text: str) -> dict[int, str]:
    """Command lines of the processes that have a text in theirs; arguments parted by blanks."""
    found = {}
    for pid in parents():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", encoding="utf-8",
                                                errors="replace") as file:
            line = file.read().replace("\0", " ")
            if text in line and pid != os.getpid():
                found[pid] = line
    return found
