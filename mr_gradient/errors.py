"""The errors that users see: one clear line each, with the exit status of the command.

A message names the thing, what it must be, what was found, and what to do.
"""

from __future__ import annotations


class MrGradientError(Exception):
    """Base of all errors that this project raises on purpose."""

    exit_status = 1


class UsageError(MrGradientError):
    """An option, a name or an output folder is not what it must be."""

    exit_status = 2


class DataError(MrGradientError):
    """A file, a record or a value is not what it must be."""

    exit_status = 2


class BadRowError(DataError):
    """A row of the input is not what it must be: no other node, and no other try, would find it so."""


class MissingPackageError(UsageError, DataError):
    """What this data, or an option, needs is not installed here."""


class DivergenceError(MrGradientError):
    """The loss or the parameters are no longer finite."""

    exit_status = 3


class ModelError(MrGradientError):
    """A model of the user's own cannot be made, fails or is wrong; ``details``: its traceback."""

    exit_status = 2

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class TaskError(MrGradientError):
    """A map or reduce task failed; ``details`` holds its traceback for ``-v``."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


def from_task(kind: str, message: str, details: str) -> MrGradientError:
    """Rebuild, in the driver, an error that a task reported by class name and message.

    An error of this module comes back as itself, since its message was written for users;
    anything else becomes a ``TaskError`` that shows the last line of the traceback.
    """
    known = globals().get(kind)
    if isinstance(known, type) and issubclass(known, MrGradientError) and known is not TaskError:
        return known(message, details) if known is ModelError else known(message)
    return TaskError(f"a task failed: {kind}: {message} (-v shows the traceback)", details)
