"""The lock of a folder in a store: a small file for each driver, which says that it lives.

A driver writes a file of its own name, and then looks for others': whoever comes second sees the first
one. Nothing more is asked of a store than that a file that was written is in the list at once, which
HDFS, S3 and their like promise. No clock is compared with another: the age of a file is how long before
ours the store wrote it. Two drivers that start within the same moment may both be refused.

A file is written anew every ``RENEW_SECONDS``. One that was not for ``ABANDONED_SECONDS`` was left by a
driver that is lost with its machine; one of this machine is also abandoned when its processes are gone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from typing import Any

from mr_gradient import storage
from mr_gradient.errors import DataError, UsageError
from mr_gradient.folders.base import LEASES
from mr_gradient.folders.stores import Store

RENEW_SECONDS, ABANDONED_SECONDS = 30, 180
_WORKER_SECONDS = 60


class Lease:
    """Taken by ``Lease``, given back by ``close``. Methods raise ``OSError`` as the store does."""

    def __init__(self, store: Store, uri: str, pid: int) -> None:
        """``pid``: the driver's. Raises ``UsageError`` when another driver has the folder."""
        self._store, self._uri = store, uri
        self._name = f"{LEASES}/{uuid.uuid4().hex}.json"
        self._content = json.dumps(_describe(pid)).encode()
        self._lost, self._renewing = False, threading.Lock()
        self._write()
        try:
            self._refuse_others()
        except BaseException:
            with contextlib.suppress(OSError):
                store.remove([self._name])
            raise
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Before anything is written. Raises ``UsageError`` if another driver has taken the folder, as
        it may when this machine has slept."""
        if time.time() - self._written > RENEW_SECONDS * 2:
            self._write_again()
        if self._lost:
            raise UsageError(f"--out {self._uri}: another process has taken over this folder, since "
                             "this one gave no sign of life for minutes; wait for it, or choose "
                             "another folder")

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._store.remove([self._name])

    def _write(self) -> None:
        self._store.write(self._name, self._content)
        self._written = time.time()

    def _write_again(self) -> None:
        with self._renewing:
            if self._ended.is_set() or self._lost:
                return
            if self._name.rpartition("/")[2] in self._store.times(LEASES):
                self._write()
            else:
                self._lost = True

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with contextlib.suppress(Exception):  # the next time, then
                self._write_again()

    def _refuse_others(self) -> None:
        times = self._store.times(LEASES)
        now = times.pop(self._name.rpartition("/")[2], None)
        if now is None:
            raise OSError(errno.EIO, "the store does not list a file that was just written, so drivers "
                          "would not see each other")
        for other, then in sorted(times.items()):
            name = f"{LEASES}/{other}"
            try:
                owner = storage.parse_json(self._store.read(name), name, "a lease")
            except FileNotFoundError:  # it has ended meanwhile
                continue
            except DataError:
                owner = {}
            if now - then > ABANDONED_SECONDS or _has_gone(owner):
                self._store.remove([name])
                continue
            raise UsageError(f"--out {self._uri}: another process is training in this folder (number "
                             f"{owner.get('pid')} on {owner.get('host')}); wait for it, or choose "
                             "another folder; if it was lost with its machine, this lock ends "
                             f"{ABANDONED_SECONDS // 60} minutes after that")


def _describe(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "space": _space(), "begun": _begun(pid),
            "worker": {"pid": os.getpid(), "begun": _begun(os.getpid())}}


def _has_gone(owner: dict[str, Any]) -> bool:
    """Whether a driver was one of this machine's, and has ended. The process that worked on the store
    for it is awaited: it may still be writing."""
    try:
        if not owner["space"] or owner["space"] != _space() or _lives(owner):
            return False
        end = time.monotonic() + _WORKER_SECONDS
        while _lives(owner["worker"]) and time.monotonic() < end:
            time.sleep(0.1)
        return not _lives(owner["worker"])
    except (KeyError, TypeError, ValueError):
        return False


def _lives(process: dict[str, Any]) -> bool:
    return process["begun"] == _begun(int(process["pid"])) != ""


def _space() -> str:
    """Where numbers of processes mean the same: this start of this machine, and this container."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _begun(pid: int) -> str:
    """When a process began, in ticks, or nothing if there is none: numbers are used again."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            state, *rest = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]
