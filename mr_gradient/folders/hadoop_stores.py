"""Folders in HDFS, over WebHDFS, and in whatever else the user's ``hadoop`` can talk to."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from mr_gradient.dataset import hadoop_client, hadoop_site
from mr_gradient.dataset.uris import split
from mr_gradient.dataset.webhdfs import UnreachableError, WebHdfs
from mr_gradient.folders.base import LEASES
from mr_gradient.folders.stores import Store
from mr_gradient.ownership import owned_folder

_PREFIX = "mr_gradient-put-"


class _Web:
    """HDFS over HTTP."""

    def __init__(self, uri: str) -> None:
        _, authority, path = split(uri)
        self._web, self._path = WebHdfs(authority), path.rstrip("/")
        self._made: set[str] = set()

    def times(self, below: str) -> dict[str, float]:
        try:
            found = self._web.children(self._in(below))
        except FileNotFoundError:
            return {}
        if [each["pathSuffix"] for each in found] == [""]:
            raise NotADirectoryError(errno.ENOTDIR, "must be a folder, found a file")
        return {each["pathSuffix"]: each["modificationTime"] / 1e3 for each in found}

    def read(self, name: str, stop: int | None = None) -> bytes:
        with self._web.open(self._in(name), 0, -1 if stop is None else stop) as file:
            return file.read()

    def write(self, name: str, data: bytes) -> None:
        temporary = f"{self._in(name)}.tmp-{random.SystemRandom().randrange(10**12)}"
        folder = os.path.dirname(temporary)
        if folder not in self._made:
            self._web.make_folder(folder)
            self._made.add(folder)
        try:
            self._web.create(temporary, len(data), [data])
            self._web.rename(temporary, self._in(name), overwrite=True)
        except BaseException:
            with contextlib.suppress(OSError):
                self._web.delete(temporary)
            raise

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            self._web.delete(self._in(name))

    def remove_empty(self) -> None:
        for folder in (LEASES, ""):
            with contextlib.suppress(OSError):
                self._web.delete(self._in(folder))

    def _in(self, name: str) -> str:
        return f"{self._path}/{name}" if name else self._path or "/"


class Client:
    """Whatever the user's ``hadoop`` can talk to; each operation starts a JVM.

    It writes under another name and renames, but removes a file that it replaces before that.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._made: set[str] = set()

    def times(self, below: str) -> dict[str, float]:
        try:
            said = hadoop_client.run("-stat", "%Y %n", self._in(below, "*"))
        except FileNotFoundError:
            return {}
        return {name: int(time) / 1e3 for time, name in
                (line.split(" ", 1) for line in said.splitlines())}

    def read(self, name: str, stop: int | None = None) -> bytes:
        with hadoop_client.read(self._in(name)) as file:
            return file.read(-1 if stop is None else stop)

    def write(self, name: str, data: bytes) -> None:
        folder = os.path.dirname(name)
        if folder not in self._made:
            hadoop_client.run("-mkdir", "-p", self._in(folder))
            self._made.add(folder)
        # Not through a pipe: if we were killed, its end would look like that of the file.
        with owned_folder(_PREFIX, tempfile.gettempdir()) as temporary:
            path = os.path.join(temporary, "data")
            with open(path, "wb") as file:
                file.write(data)
            hadoop_client.run("-put", "-f", path, self._in(name))

    def remove(self, names: Iterable[str]) -> None:
        hadoop_client.run("-rm", "-f", "-skipTrash", *map(self._in, names))

    def remove_empty(self) -> None:
        hadoop_client.run("-rmdir", "--ignore-fail-on-non-empty", self._in(LEASES), self._uri)

    def _in(self, *names: str) -> str:
        return "/".join(filter(None, (self._uri, *names)))


class Hdfs:
    """HDFS over HTTP, and by the client from the moment on that nobody serves that."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store: _Web | Client = _Web(uri)

    def _do(self, operation: Callable[[Store], Any]) -> Any:
        try:
            return operation(self._store)
        except UnreachableError:
            if hadoop_site.command() is None:
                raise
            self._store = Client(self._uri)
            return operation(self._store)

    def times(self, below: str) -> dict[str, float]:
        return self._do(lambda store: store.times(below))

    def read(self, name: str, stop: int | None = None) -> bytes:
        return self._do(lambda store: store.read(name, stop))

    def write(self, name: str, data: bytes) -> None:
        self._do(lambda store: store.write(name, data))

    def remove(self, names: Iterable[str]) -> None:
        self._do(lambda store: store.remove(names))

    def remove_empty(self) -> None:
        self._do(lambda store: store.remove_empty())
