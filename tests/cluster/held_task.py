"""Holds, or kills, tasks at a point that a test chose: a copy is the ``sitecustomize`` of their Python.

``Brakes`` says what the files beside it mean. A held task waits as long as its brake is there.
"""

import contextlib
import io
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
#: Hadoop streaming writes its variables so.
_JOB, _ATTEMPT = (os.environ.get(name, "") for name in (
    "mapreduce_job_name", "mapreduce_task_attempt_id"))
_NODE = os.environ.get("NM_HOST", "")


def _pass(point: str) -> None:
    """Go on, unless there is a brake for this task and point."""
    who = f"{_JOB} {_ATTEMPT} {_NODE} {point}"
    for brake in sorted(_FOLDER.glob("*.brake")):
        with contextlib.suppress(FileNotFoundError):
            if re.search(brake.read_text(), who):
                _stop(brake)


def _stop(brake: Path) -> None:
    mark = brake.with_name(f"{brake.stem}-{_ATTEMPT}.mark")
    mark.with_suffix(".new").write_text(json.dumps(
        {"attempt": _ATTEMPT, "pid": os.getpid(), "node": _NODE}))
    mark.with_suffix(".new").replace(mark)
    if brake.stem.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    while brake.exists():
        time.sleep(0.02)


class _Output(io.FileIO):
    """stdout; the point ``output`` is in the middle of the first record."""

    _first = True

    def write(self, data: bytes) -> int:
        half = memoryview(data)[:(len(data) + 1) // 2] if self._first else data
        written = super().write(half)
        if self._first:
            self._first = False
            _pass("output")
        return written


if _ATTEMPT:
    _pass("start")
    # With a buffer of one byte every write is one of the file. The second name keeps it open.
    _buffer = io.BufferedWriter(_Output(1, "wb", closefd=False), 1)
    sys.stdout = sys.__stdout__ = io.TextIOWrapper(_buffer)
