"""Errors of tasks as records, for engines whose logs a driver does not see.

On a cluster a task's traceback stays in a log on its node, which some clusters show to nobody. So the
last attempt that a task has ends with a record of its error instead of the error, which reaches the
driver on the way of all records. Earlier attempts fail as usual, since another node may do better; what
can be no node's fault is reported at once.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator

from mr_gradient.errors import (
    BadRowError,
    ModelError,
    MrGradientError,
    TaskError,
    UsageError,
    from_task,
)

#: Key of the record.
ERROR = "error"
_ATTEMPT = "mapreduce_task_attempt_id"
#: A second application master counts its tasks' attempts from here.
_MASTERS = 1000


def reported(pairs: Iterator[tuple], step: str, place: Callable[[], str]) -> Iterator[tuple]:
    """The pairs of a task, the last of which may be its error.

    ``step``: ``map`` or ``reduce``; ``place()``: what the task works on, such as ``split 3``.
    """
    try:
        yield from pairs
    except Exception as error:
        if not (isinstance(error, (BadRowError, ModelError, UsageError)) or _is_last_attempt(step)):
            raise
        yield ERROR, {"split": 0, "kind": type(error).__name__, "message": str(error), "node": node(),
                      "place": place(), "task": os.environ.get(_ATTEMPT, ""),
                      "details": traceback.format_exc()}


def node() -> str:
    """Name of the machine, as its cluster calls it."""
    return os.environ.get("NM_HOST") or socket.gethostname()


def _is_last_attempt(step: str) -> bool:
    """What Hadoop says; elsewhere every attempt counts as the last."""
    attempt = os.environ.get(_ATTEMPT, "").rpartition("_")[2]
    most = os.environ.get(f"mapreduce_{step}_maxattempts", "")
    return not (attempt.isdigit() and most.isdigit()) or int(attempt) % _MASTERS + 1 >= int(most)


def rebuild(value: dict) -> MrGradientError:
    """The error of a record, for the driver to raise; it names the place, the node and the attempt."""
    where = ", ".join(filter(None, (value["place"], f"on {value['node']}", value["task"])))
    error = from_task(value["kind"], value["message"], value["details"])
    if type(error) is TaskError:
        return TaskError(f"a task failed ({where}): {value['kind']}: {value['message']} "
                         "(-v shows the traceback)", value["details"])
    return from_task(value["kind"], f"{value['message']} ({where})", value["details"])
