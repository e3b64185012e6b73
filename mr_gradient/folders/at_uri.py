"""A folder in a store: HDFS, S3 and others. All that is done there, a process of its own does.

That process (``store_process``) keeps connections open for as long as the folder is, where the driver
could not: clients of stores work in threads, and a driver with threads must not fork for its tasks. It
also keeps the lock alive while the driver waits for a job, and gives it back when the driver has ended,
however that was.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import mr_gradient
from mr_gradient import errors, storage, tensors
from mr_gradient.dataset.uris import split
from mr_gradient.errors import DataError, MrGradientError, UsageError
from mr_gradient.folders.base import Folder, Tensors

_LEFTOVER = re.compile(r"\.tmp-\d+$|\._COPYING_$")
#: For the process to give back the lock; a store may just not answer.
_END_SECONDS = 60


class UriFolder(Folder):
    """See ``Folder``. A file appears with one PUT, or by a rename where the store has that."""

    def __init__(self, uri: str) -> None:
        scheme, authority, _ = split(uri)
        if ":" in authority.rpartition("@")[0]:
            host = authority.rpartition("@")[2]
            raise UsageError(f"{scheme}://...@{host}: a URI must not hold a password, which would get "
                             "into files and logs; give it in the store's own variables or files")
        self.given = self.where = uri.rstrip("/")
        self._process: subprocess.Popen | None = None
        self._ended = False

    def place(self, name: str) -> str:
        return f"{self.where}/{name}"

    def check(self) -> None:
        try:
            self._ask("names", "")
        except OSError as error:
            raise UsageError(f"--out {self.where}: cannot be used: {error.strerror or error}") from None

    def lock(self) -> None:
        try:
            self._ask("lock", os.getpid())
        except OSError as error:
            raise UsageError(f"--out {self.where}: cannot be written: "
                             f"{error.strerror or error}") from None

    def names(self, below: str = "") -> list[str]:
        return json.loads(bytes(self._read(below, "names", below)))

    def read(self, name: str) -> bytes:
        return bytes(self._read(name, "read", name))

    def read_json(self, name: str, what: str) -> dict:
        try:
            return storage.parse_json(self.read(name), self.place(name), what)
        except FileNotFoundError:
            raise DataError(f"{self.place(name)}: no such file; {what} was expected there") from None

    def tensors(self, name: str, sha256: str = "") -> Tensors | None:
        try:
            data = self._read(name, "read", name)
        except FileNotFoundError:
            raise DataError(f"{self.place(name)}: cannot be read: No such file") from None
        if sha256 and storage.sha256_of(data) != sha256:
            return None
        return tensors.parse(self.place(name), data)

    def metadata(self, name: str) -> dict[str, str]:
        return tensors.metadata_of(self.place(name),
                                   lambda size: bytes(self._read(name, "read", name, size)))

    def make(self, below: str = "") -> None:
        """Nothing: writing a file makes the folders above it."""

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        self._change(name, "write", name, chunks=list(map(memoryview, chunks)))

    def remove(self, *names: str) -> None:
        if names:
            self._change(names[0], "remove", *names)

    def remove_leftovers(self, below: str = "") -> None:
        found = [name for name in self.names(below) if _LEFTOVER.search(name)]
        self.remove(*(f"{below}/{name}" if below else name for name in found))

    def close(self) -> None:
        """The process gives back the lock when nobody is left who could ask it for anything."""
        process, self._process, self._ended = self._process, None, True
        if process is None:
            return
        with contextlib.suppress(BrokenPipeError):  # of what was still to be sent
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _read(self, name: str, *request: Any) -> mmap.mmap | bytes:
        try:
            return self._ask(*request)
        except FileNotFoundError:
            raise
        except OSError as error:
            place = self.place(name).rstrip("/")
            raise DataError(f"{place}: cannot be read: {error.strerror or error}") from None

    def _change(self, name: str, *request: Any, chunks: Iterable[memoryview] = ()) -> None:
        try:
            self._ask(*request, chunks=chunks)
        except OSError as error:
            raise UsageError(f"{self.place(name)}: cannot be written: {error.strerror or error}; run "
                             "the same command again to go on") from None

    def _ask(self, *request: Any, chunks: Iterable[memoryview] = ()) -> mmap.mmap | bytes:
        """Have the process do something; raises what it did there."""
        if self._ended:
            raise OSError(errno.EPIPE, "interrupted")
        if self._process is None:
            self._process = _start(self.where)
        size = sum(chunk.nbytes for chunk in chunks)
        try:
            self._process.stdin.write(json.dumps([size, *request]).encode() + b"\n")
            for chunk in chunks:
                self._process.stdin.write(chunk)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if not line.endswith(b"\n"):
                raise BrokenPipeError
            error, size = json.loads(line)
            answer = _bytes(self._process.stdout, size)
        except BrokenPipeError:
            self.close()
            raise UsageError(f"{self.where}: the process that talks to the store was killed; run the "
                             "same command again to go on") from None
        except BaseException:
            self.close()  # or the answer would be taken for that to another request
            raise
        if error is not None:
            raise _rebuilt(*error)
        return answer


def _start(uri: str) -> subprocess.Popen:
    """The process, in a session of its own: Ctrl-C is the driver's business."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(mr_gradient.__file__)))
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen([sys.executable, "-m", "mr_gradient.folders.store_process", uri],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
                            env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"})


def _bytes(source: Any, size: int) -> mmap.mmap | bytes:
    """So many bytes, at an address as a mapped file has it: BLAS may add up in another order at
    another alignment (law 2)."""
    if not size:
        return b""
    data = mmap.mmap(-1, size)
    view = memoryview(data)
    filled = 0
    while filled < size and (count := source.readinto(view[filled:])):
        filled += count
    view.release()
    if filled < size:
        raise BrokenPipeError
    return data


def _rebuilt(kind: str, number: int | None, message: str) -> Exception:
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, MrGradientError):
        return known(message)
    return OSError(number, message)  # of the number's own class, such as FileNotFoundError
