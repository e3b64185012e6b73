"""``history.jsonl``: one line of JSON for each iteration, cut back to the checkpoint on resume.

Whoever has the history open has the lock of the folder: one training at a time writes there.

On a disk a line is appended, and the open file is the lock. A POSIX lock is the process's own, not its
children's, and goes with it, however it ends. In a store nothing can be appended: the file is written
anew now and then, the lines since then are in the checkpoint, and the lock is a lease.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time

from mr_gradient.errors import DataError, UsageError
from mr_gradient.folders import Folder
from mr_gradient.storage import finite

FILE = "history.jsonl"
#: Of lines in a checkpoint, before all are written to the file. With lines of 1 kB, 10,000 iterations
#: send 1.1 GB so, 0.1 MB each; to write all lines each time would send 50 GB.
_TAIL_BYTES = 64 * 1024
#: And how old they may become: people look at the file.
_TAIL_SECONDS = 60


def open_history(folder: Folder) -> LocalHistory | StoredHistory:
    """That of a folder; one on a disk must exist. Raises ``UsageError`` when another process is
    training there."""
    return LocalHistory(folder.given) if folder.is_local else StoredHistory(folder)


def _bytes(line: dict) -> bytes:
    return json.dumps(finite(line), allow_nan=False).encode() + b"\n"


class LocalHistory:
    """Appends lines to a file. ``tail``: there never are lines that are not in it."""

    tail = b""

    def __init__(self, out: str) -> None:
        self._file = open(os.path.join(out, FILE), "ab")  # noqa: SIM115  closed by close()
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise UsageError(f"--out {out}: cannot be locked: {error.strerror}") from None
            raise UsageError(f"--out {out}: another process is training in this folder; wait for "
                             "it, or choose another folder") from None

    def cut(self, keep_bytes: int, tail: bytes = b"") -> None:
        """Go on after the first ``keep_bytes`` bytes; later lines were not checkpointed."""
        self._file.truncate(min(keep_bytes, self._file.tell()))
        self._file.seek(0, os.SEEK_END)

    def append(self, line: dict) -> int:
        """Write a line; returns the length of the history in bytes."""
        self._file.write(_bytes(line))
        self._file.flush()
        return self._file.tell()

    def flush(self) -> None:
        """Have all lines in the file."""

    def close(self) -> None:
        self._file.close()


class StoredHistory:
    """As ``LocalHistory``, in a store. ``tail`` belongs into the checkpoint."""

    def __init__(self, folder: Folder) -> None:
        folder.lock()
        self._folder = folder
        self._lines = bytearray()
        #: So many bytes of the file are right, and whether there are no others in it.
        self._written, self._whole = 0, True
        self._at = -float("inf")

    @property
    def tail(self) -> bytes:
        return bytes(self._lines[self._written:])

    def cut(self, keep_bytes: int, tail: bytes = b"") -> None:
        base = keep_bytes - len(tail)
        try:
            stored = self._folder.read(FILE)
        except FileNotFoundError:
            stored = b""
        if len(stored) < base:
            raise DataError(f"{self._folder.place(FILE)}: must have at least {base} bytes, and has "
                            f"{len(stored)}; start over with --restart")
        if stored and not keep_bytes:
            self._folder.remove(FILE)
            stored = b""
        self._lines[:] = stored[:base] + tail
        self._written, self._whole = base, len(stored) == base

    def append(self, line: dict) -> int:
        self._lines += _bytes(line)
        if (len(self._lines) - self._written > _TAIL_BYTES
                or time.monotonic() - self._at > _TAIL_SECONDS):
            self._write()
        return len(self._lines)

    def flush(self) -> None:
        if self._written < len(self._lines) or not self._whole:
            self._write()

    def _write(self) -> None:
        self._folder.write(FILE, [bytes(self._lines)])
        self._written, self._whole, self._at = len(self._lines), True, time.monotonic()

    def close(self) -> None:
        """The lock goes with the folder."""
