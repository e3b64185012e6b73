"""Temporary folders whose owner may be killed: a lock in the folder tells whether it still lives.

A POSIX lock belongs to a process and goes with it, however it ends, and forked children do not
hold it. Process numbers would not do: they are reused, and differ between containers that share a
folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator

_LOCK = ".owner"
_OLD_SECONDS = 60
#: This process's own: it would get its own locks once more.
_mine: set[str] = set()


@contextlib.contextmanager
def owned_folder(prefix: str, parent: str) -> Iterator[str]:
    """A new folder of this process's, removed at the end of the block.

    Those with the same prefix whose owners were killed are removed first.
    """
    for name in os.listdir(parent):
        if name.startswith(prefix):
            remove_if_abandoned(os.path.join(parent, name))
    done = False
    while not done:
        folder = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=parent)
        try:
            with open(os.path.join(folder, _LOCK), "wb") as lock:
                _mine.add(folder)
                fcntl.lockf(lock, fcntl.LOCK_EX)
                # Before it was locked, another process may have taken it for abandoned.
                if os.path.exists(lock.name):
                    done = True
                    yield folder
        finally:
            _mine.discard(folder)
            shutil.rmtree(folder, ignore_errors=True)


def give_up_lock(folder: str) -> None:
    """Remove the lock's file from a folder that is about to get its final name."""
    os.unlink(os.path.join(folder, _LOCK))


def remove_if_abandoned(folder: str) -> None:
    """Remove the folder if it is ours, has a lock's file, and nobody holds the lock.

    An empty one that is old was left by a kill between the making of the folder and of its lock.
    """
    if folder in _mine:
        return
    with contextlib.suppress(OSError):
        if time.time() - os.stat(folder).st_mtime > _OLD_SECONDS:
            os.rmdir(folder)
            return
    # An error means: held, another user's, or gone meanwhile.
    with contextlib.suppress(OSError), open(os.path.join(folder, _LOCK), "r+b") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
