"""Data sets in the making at URIs: in HDFS, and through fsspec in object stores. See ``stores``."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mr_gradient.dataset.formats.remote import file_errors, filesystem
from mr_gradient.dataset.hdfs import Hdfs, again
from mr_gradient.dataset.stores import BLOCK, Chunks, Read, Span, blocks_of
from mr_gradient.dataset.uris import split
from mr_gradient.errors import DataError


class _Remote(ABC):
    """Parts are fetched into a file of the task's machine first, since they are read twice and may be
    larger than its memory."""

    beat = staticmethod(lambda: None)

    def __init__(self, folder: str) -> None:
        self.folder = folder.rstrip("/")

    @abstractmethod
    def _fetch(self, span: Span) -> Iterator[bytes | memoryview]:
        """The bytes of a part, in order."""

    @contextlib.contextmanager
    def _errors(self, name: str, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.folder}/{name}: cannot be {what}: "
                            f"{error.strerror or error}") from None

    @contextlib.contextmanager
    def near(self, spans: Sequence[Span]) -> Iterator[Read]:
        starts = [0, *itertools.accumulate(span.size for span in spans)]

        def fetch(span: Span, start: int) -> None:
            file.seek(start)
            size = 0
            for chunk in self._fetch(span):
                self.beat()
                size += file.write(chunk)
            if size != span.size:
                raise OSError(f"{size} of {span.size} bytes came")

        def read(number: int, start: int, size: int) -> Iterator[memoryview]:
            for block in blocks_of(file, starts[number] + start, size):
                self.beat()
                yield block

        with tempfile.TemporaryFile(buffering=0) as file:
            for span, start in zip(spans, starts):
                if not span.size:
                    continue
                with self._errors(span.name, "read"):
                    again(lambda span=span, start=start: fetch(span, start))
            yield read

    def sync(self, names: Iterable[str]) -> None:  # noqa: B027  a folder has something to do
        """A store keeps what it has taken."""


class HdfsStore(_Remote):
    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        _, authority, self._inside = split(self.folder)
        self._hdfs = Hdfs(authority)

    def write(self, name: str, size: int, chunks: Chunks) -> None:
        with self._errors(name, "written"):
            self._hdfs.write(f"{self._inside}/{name}", size, chunks)

    def _fetch(self, span: Span) -> Iterator[bytes]:
        left = span.size
        with self._hdfs.open(f"{self._inside}/{span.name}", span.start, span.size) as file:
            while left and (chunk := file.read(min(left, BLOCK))):
                left -= len(chunk)
                yield chunk

    def files(self, name: str) -> dict[str, int]:
        with self._errors(name, "read"):
            return self._hdfs.files(f"{self._inside}/{name}")

    def move(self, names: dict[str, str]) -> None:
        for old, new in names.items():
            with self._errors(old, "renamed"):
                self._hdfs.rename(f"{self._inside}/{old}", f"{self._inside}/{new}")

    def remove(self, name: str) -> None:
        with self._errors(name, "removed"):
            self._hdfs.remove(f"{self._inside}/{name}")

    def make_folder(self, name: str) -> None:
        with self._errors(name, "made"):
            self._hdfs.make_folder(f"{self._inside}/{name}")


class ObjectStore(_Remote):
    """An object appears when all of it has come; folders are parts of names.

    The thread in which fsspec works stays: a client takes half a second to be made. Who forks ends it
    before (``end_threads``).
    """

    @contextlib.contextmanager
    def _session(self, name: str, what: str) -> Iterator[tuple[Any, str]]:
        """fsspec's file system and the path of a file in it."""
        with self._errors(name, what), file_errors():
            system, inside = filesystem(f"{self.folder}/{name}")
            system.invalidate_cache()
            yield system, inside

    def write(self, name: str, size: int, chunks: Chunks) -> None:
        with self._session(name, "written") as (system, inside):
            file = system.open(inside, "wb")
            try:
                for chunk in chunks():
                    file.write(chunk)
            except BaseException:
                with contextlib.suppress(Exception):
                    file.discard()
                file.closed = True  # or it would put what it has
                raise
            file.close()

    def _fetch(self, span: Span) -> Iterator[bytes]:
        with self._session(span.name, "read") as (system, inside):
            yield system.cat_file(inside, start=span.start, end=span.start + span.size)

    def files(self, name: str) -> dict[str, int]:
        with self._session(name, "read") as (system, inside):
            found = system.find(inside, detail=True)
            return {path[len(inside) + 1:]: each["size"] for path, each in found.items()}

    def move(self, names: dict[str, str]) -> None:
        with self._session("", "renamed") as (system, inside):
            for old, new in names.items():
                system.cp_file(f"{inside.rstrip('/')}/{old}", f"{inside.rstrip('/')}/{new}")
                system.rm_file(f"{inside.rstrip('/')}/{old}")

    def remove(self, name: str) -> None:
        with self._session(name, "removed") as (system, inside):
            for path in system.find(inside):
                system.rm_file(path)

    def make_folder(self, name: str) -> None:
        """There are none."""

    def beginning_with(self, prefix: str) -> list[str]:
        """Names here, of files or folders, that begin alike."""
        with self._session("", "read") as (system, inside):
            try:
                found = system.ls(inside, detail=False)
            except FileNotFoundError:
                return []
            names = {path.rstrip("/").rpartition("/")[2] for path in found}
            return sorted(name for name in names if name.startswith(prefix))
