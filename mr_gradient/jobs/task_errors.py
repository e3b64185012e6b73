"""Errors of tasks as records, for engines whose logs a driver does not see.

On a cluster a task's traceback stays in a log on its node, which some clusters show to nobody. So the
last attempt that a task has ends with a record of its error instead of the error, which reaches the
driver on the way of all records. Earlier attempts fail as usual, since another node may do better; what
can be no node's fault is reported at once.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

from mr_gradient.errors import (
    BadRowError,
    MissingPackageError,
    ModelError,
    MrGradientError,
    TaskError,
    UsageError,
    from_task,
)
from mr_gradient.probe import ERROR, NODE_ERROR, attempt, is_last_attempt, node, remedy_for, tells


def reported(pairs: Iterator[tuple], step: str, place: Callable[[], str]) -> Iterator[tuple]:
    """The pairs of a task, the last of which may be its error.

    ``step``: ``map`` or ``reduce``; ``place()``: what the task works on, such as ``split 3``.
    """
    try:
        yield from pairs
    except Exception as error:
        missing = isinstance(error, MissingPackageError)
        everywhere = isinstance(error, (BadRowError, ModelError, UsageError)) and not missing
        if not (everywhere or (tells(step) if missing else is_last_attempt(step))):
            raise
        yield ERROR, {"split": 0, "kind": NODE_ERROR if missing else type(error).__name__,
                      "message": str(error), "remedy": remedy_for("it"), "node": node(),
                      "place": place(), "task": attempt(), "details": traceback.format_exc()}


def rebuild(values: list[dict]) -> MrGradientError:
    """One error for the records of a job, for the driver to raise: all that nodes say of their Python,
    or the first, with the place, the node and the attempt."""
    if any(each["kind"] == NODE_ERROR for each in values):
        return UsageError(f"the tasks cannot run: {of_nodes(values)}")
    value = values[0]
    where = ", ".join(filter(None, (value["place"], f"on {value['node']}", value["task"])))
    error = from_task(value["kind"], value["message"], value["details"])
    if type(error) is TaskError:
        return TaskError(f"a task failed ({where}): {value['kind']}: {value['message']} "
                         "(-v shows the traceback)", value["details"])
    return from_task(value["kind"], f"{value['message']} ({where})", value["details"])


def of_nodes(values: list[dict]) -> str:
    """What is wrong on which nodes, in one line, whatever the number of tasks."""
    nodes: dict[tuple[str, str], set[str]] = {}
    for value in values:
        if value["kind"] == NODE_ERROR:
            nodes.setdefault((value["message"], value["remedy"]), set()).add(value["node"])
    return "; ".join(f"{', '.join(sorted(found))}: {message}; {remedy}"
                     for (message, remedy), found in sorted(nodes.items()))


def bad_nodes(records: list[tuple]) -> str:
    """What is wrong with some nodes while others can do the work, in words; else nothing."""
    errors = [value for key, value in records if key == ERROR]
    if len(errors) == len(records) and not any(value.get("others") for value in errors):
        return ""
    return of_nodes(errors)
