"""Files in HDFS: over WebHDFS where it answers, by the program ``hadoop`` where it does not.

What fails for a reason that may pass, such as a data node that is lost, is tried again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TypeVar

from mr_gradient.dataset import hadoop_client, hadoop_site
from mr_gradient.dataset.webhdfs import UnreachableError, WebHdfs

TRIES = 3
#: Before the second try; twice as long before the third.
PAUSE_SECONDS = 0.5
#: What another try will not mend.
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError)
_SKIPPED_BYTES = 1 << 20
_Found = TypeVar("_Found")


def again(attempt: Callable[[], _Found]) -> _Found:
    """What ``attempt`` returns, of several tries. Raises ``OSError``."""
    for number in range(1, TRIES + 1):
        try:
            return attempt()
        except (*FINAL, UnreachableError):
            raise
        except OSError:
            if number == TRIES:
                raise
            time.sleep(PAUSE_SECONDS * number)
    raise AssertionError


class Hdfs:
    """The files of ``hdfs://AUTHORITY``; paths are absolute. Every method raises ``OSError``."""

    def __init__(self, authority: str) -> None:
        self._root = f"hdfs://{authority}"
        self._web: WebHdfs | None = WebHdfs(authority)

    def status(self, path: str) -> dict[str, Any]:
        """``type`` FILE or DIRECTORY, ``length`` and others."""
        return self._either(lambda web: web.status(path),
                            lambda: hadoop_client.status(self._root + path))

    def children(self, path: str) -> list[dict[str, Any]]:
        """What is in a folder, each as ``status`` with a name ``pathSuffix``."""
        return self._either(lambda web: web.children(path),
                            lambda: hadoop_client.children(self._root + path))

    def exists(self, path: str) -> bool:
        try:
            self.status(path)
        except FileNotFoundError:
            return False
        return True

    def files(self, path: str) -> dict[str, int]:
        """All files below a folder by their path there, with their bytes; none for no folder."""
        found: dict[str, int] = {}
        path, waiting = path.rstrip("/"), [""]
        while waiting:
            inside = waiting.pop()
            try:
                children = self.children(path + inside or "/")
            except FileNotFoundError:
                continue
            for each in children:
                name = f"{inside}/{each['pathSuffix']}"
                if each["type"] == "DIRECTORY":
                    waiting.append(name)
                else:
                    found[name[1:]] = each["length"]
        return found

    def make_folder(self, path: str) -> None:
        """A folder, and those above it; no error if it is there."""
        self._either(lambda web: web.make_folder(path),
                     lambda: hadoop_client.run("-mkdir", "-p", self._root + path))

    def remove(self, path: str) -> None:
        """A file or a folder with all that is in it; no error if it is not there."""
        self._either(lambda web: web.delete(path, recursive=True), lambda: hadoop_client.run(
            "-rm", "-r", "-f", "-skipTrash", self._root + path))

    def remove_empty(self, path: str) -> None:
        """A folder without anything in it; any other is an error."""
        self._either(lambda web: web.delete(path), lambda: hadoop_client.run(
            "-rmdir", self._root + path), tries=False)

    def rename(self, path: str, to: str) -> None:
        """Raises ``FileExistsError`` if there is something of the new name."""
        def by_client() -> None:
            # The client would move it into a folder of that name.
            if self.exists(to):
                raise FileExistsError(f"{self._root}{to} is there already")
            hadoop_client.run("-mv", self._root + path, self._root + to)

        self._either(lambda web: web.rename(path, to), by_client, tries=False)

    def write(self, path: str, size: int, chunks: Callable[[], Iterable[Any]]) -> None:
        """A file of ``size`` bytes in a folder that is there: what came too late is an error.

        ``chunks`` gives the bytes, from the first on each time. After an error a part may be there.
        """
        self._either(lambda web: web.create(path, size, chunks()),
                     lambda: hadoop_client.write(self._root + path, chunks()))

    @contextlib.contextmanager
    def open(self, path: str, start: int = 0, size: int = -1) -> Iterator[BinaryIO]:
        """Bytes from ``start`` on, all of them or, at least, the next ``size``; one try."""
        with contextlib.ExitStack() as stack:
            source = None
            if self._web is not None:
                try:
                    source = stack.enter_context(self._web.open(path, start, size))
                except UnreachableError:
                    self._without_web()
            if source is None:
                source = stack.enter_context(hadoop_client.read(self._root + path))
                while start and (skipped := source.read(min(start, _SKIPPED_BYTES))):
                    start -= len(skipped)
            yield source

    def _either(self, over_web: Callable[[WebHdfs], _Found], by_client: Callable[[], _Found],
                tries: bool = True) -> _Found:
        web = self._web
        if web is not None:
            try:
                return again(lambda: over_web(web)) if tries else over_web(web)
            except UnreachableError:
                self._without_web()
        return by_client()

    def _without_web(self) -> None:
        """A cluster that has refused once is not asked over HTTP again. Where there is no client, the
        error that is being handled is raised again."""
        if hadoop_site.command() is None:
            raise
        self._web = None
