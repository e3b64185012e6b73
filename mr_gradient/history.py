"""``history.jsonl``: one line of JSON for each iteration, cut back to the checkpoint on resume.

The open file is also the lock of the folder: one training at a time writes there. A POSIX lock is
the process's own, not its children's, and goes with it, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os

from mr_gradient.errors import UsageError
from mr_gradient.storage import finite

FILE = "history.jsonl"


class History:
    """Appends lines to the history of a model folder, which must exist."""

    def __init__(self, out: str) -> None:
        """Raises ``UsageError`` when another process is training in the folder."""
        self._file = open(os.path.join(out, FILE), "ab")  # noqa: SIM115  closed by close()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise UsageError(f"--out {out}: cannot be locked: {error.strerror}") from None
            raise UsageError(f"--out {out}: another process is training in this folder; wait for "
                             "it, or choose another folder") from None

    def cut(self, keep_bytes: int) -> None:
        """Go on after the first ``keep_bytes`` bytes; later lines were not checkpointed."""
        self._file.truncate(min(keep_bytes, self._file.tell()))
        self._file.seek(0, os.SEEK_END)

    def append(self, line: dict) -> int:
        """Write a line; returns the length of the history in bytes."""
        self._file.write(json.dumps(finite(line), allow_nan=False).encode() + b"\n")
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
