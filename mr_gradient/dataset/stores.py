"""Where a data set is in the making: a folder that the tasks of a preparation write to and read from.

On one machine it is a local folder; on a cluster it is in HDFS or an object store, so that what tasks
write goes nowhere near the driver. All three do the little that a preparation needs: write a file of a
name that nobody else has, read parts of files, move whole files. Names are relative, with ``/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, Protocol

from mr_gradient import storage
from mr_gradient.dataset.uris import is_uri, split
from mr_gradient.errors import DataError

#: Bytes that are held at a time.
BLOCK = 1 << 20

#: Gives the bytes of a file as buffers, from the first on each time that it is called; a buffer may be
#: written over by the next one.
Chunks = Callable[[], Iterable[Any]]


class Span(NamedTuple):
    """``size`` bytes of a file from ``start`` on."""

    name: str
    start: int
    size: int


#: ``read(number, start, size)``: bytes of the span of that number, as ``Chunks`` gives them.
Read = Callable[[int, int, int], Iterator[memoryview]]


class Store(Protocol):
    """Raises ``UsageError`` or ``DataError`` that names the file."""

    #: A path or a URI.
    folder: str
    #: Called with each MiB that is fetched or read.
    beat: Callable[[], None]

    def write(self, name: str, size: int, chunks: Chunks) -> None:
        """Write a file of ``size`` bytes; a killed or failed writer leaves no file that is whole."""

    def near(self, spans: Sequence[Span]) -> contextlib.AbstractContextManager[Read]:
        """Parts of files, to be read several times and a MiB at a time."""

    def files(self, name: str) -> dict[str, int]:
        """The files of a folder, with their bytes."""

    def move(self, names: dict[str, str]) -> None:
        """Give files other names, in folders that are there."""

    def remove(self, name: str) -> None:
        """A file, or a folder with all that is in it; no error if it is not there."""

    def make_folder(self, name: str) -> None:
        """A folder in this one, which is there; no error if that is there, too."""

    def sync(self, names: Iterable[str]) -> None:
        """Make files survive a power cut."""


def store_at(folder: str) -> Store:
    """The store of a folder or a URI."""
    if not is_uri(folder):
        return LocalStore(folder)
    from mr_gradient.dataset import remote_stores  # tasks on one machine need none of it

    if split(folder)[0] == "hdfs":
        return remote_stores.HdfsStore(folder)
    return remote_stores.ObjectStore(folder)


class Hashed:
    """Chunks that are counted and hashed as they pass: ``bytes`` and ``sha256`` of the last time."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        self.bytes, self.sha256 = 0, ""

    def __call__(self) -> Iterator[memoryview]:
        digest, self.bytes = hashlib.sha256(), 0
        for chunk in map(memoryview, self._chunks()):
            for start in range(0, len(chunk), BLOCK):
                part = chunk[start:start + BLOCK]  # written while it is in the cache
                digest.update(part)
                self.bytes += len(part)
                yield part
        self.sha256 = digest.hexdigest()


def blocks_of(file: BinaryIO, start: int, size: int) -> Iterator[memoryview]:
    """Bytes of an unbuffered local file. Raises ``OSError``."""
    buffer = memoryview(bytearray(min(size, BLOCK)))
    file.seek(start)
    while size:
        count = file.readinto(buffer[:size])
        if not count:
            raise OSError(f"ends {size} bytes too soon")
        yield buffer[:count]
        size -= count


class LocalStore:
    """See ``Store``."""

    beat = staticmethod(lambda: None)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def write(self, name: str, size: int, chunks: Chunks) -> None:
        storage.make_below(self._path(name))
        storage.write_atomically(self._path(name), chunks(), sync=False)

    @contextlib.contextmanager
    def near(self, spans: Sequence[Span]) -> Iterator[Read]:
        def read(number: int, start: int, size: int) -> Iterator[memoryview]:
            path = self._path(spans[number].name)
            try:
                with open(path, "rb", buffering=0) as file:
                    for block in blocks_of(file, spans[number].start + start, size):
                        self.beat()
                        yield block
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None

        yield read

    def files(self, name: str) -> dict[str, int]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._path(name)) as found:
            return {each.name: each.stat().st_size for each in found}
        return {}

    def move(self, names: dict[str, str]) -> None:
        for old, new in names.items():
            os.replace(self._path(old), self._path(new))

    def remove(self, name: str) -> None:
        path = self._path(name)
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def make_folder(self, name: str) -> None:
        os.makedirs(self._path(name), exist_ok=True)

    def sync(self, names: Iterable[str]) -> None:
        folders = set()
        for path in map(self._path, names):
            storage.sync_file(path)
            folders.add(os.path.dirname(path))
        for folder in folders:
            storage.sync_folder(folder)
