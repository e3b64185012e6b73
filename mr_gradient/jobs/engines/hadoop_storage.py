"""What a driver keeps in HDFS for the time of its run: one private folder.

Over WebHDFS where it answers, since a start of the client ``hadoop`` takes a second; by the client
where it does not, as on clusters with Kerberos.
"""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mr_gradient.dataset.uris import split
from mr_gradient.dataset.webhdfs import UnreachableError, WebHdfs
from mr_gradient.errors import TaskError, UsageError
from mr_gradient.jobs.engines import hadoop_client

_Found = TypeVar("_Found")
#: Data nodes fail; the next try asks another one.
_TRIES = 3
_PAUSE_SECONDS = 0.5


class HadoopStorage:
    """Files below the folder ``uri`` of HDFS. ``hadoop``: the client's command."""

    def __init__(self, hadoop: list[str], uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._hadoop = hadoop
        scheme, authority, self._path = split(self.uri)
        self._web = WebHdfs(authority) if scheme == "hdfs" else None

    def exists(self) -> bool:
        """Whether an earlier driver of this run left its folder."""
        def over_web(web: WebHdfs) -> bool:
            try:
                return web.status(self._path)["type"] == "DIRECTORY"
            except FileNotFoundError:
                return False

        return self._either(over_web, lambda: hadoop_client.run(
            self._hadoop, "fs", "-test", "-d", self.uri).returncode == 0)

    def begin(self) -> None:
        """Make the folder anew; what an earlier driver of this run left goes."""
        self.remove("")
        self.make()

    def make(self) -> None:
        """Make the folder, readable by nobody else; no error if it is there."""
        def by_client() -> None:
            self._run("-mkdir", "-p", self.uri)
            self._run("-chmod", "700", self.uri)

        self._either(lambda web: web.make_folder(self._path, "700"), by_client)

    def put(self, path: str) -> str:
        """Copy a local file here; returns its URI."""
        uri = f"{self.uri}/{os.path.basename(path)}"

        def over_web(web: WebHdfs) -> None:
            with open(path, "rb") as file:
                web.write(f"{self._path}/{os.path.basename(path)}", file)

        self._either(over_web, lambda: self._run("-put", "-f", path, uri))
        return uri

    def lines(self, folder: str) -> Iterator[bytes]:
        """The lines of the files ``part-*`` of a folder here."""
        def over_web(web: WebHdfs) -> list[str]:
            found = web.children(f"{self._path}/{folder}")
            return [each["pathSuffix"] for each in found if each["pathSuffix"].startswith("part-")]

        parts = self._either(over_web, lambda: None)
        if parts is None:
            yield from self._cat(f"{self.uri}/{folder}/part-*")
        for part in sorted(parts or ()):
            yield from io.BytesIO(self._read(f"{folder}/{part}"))

    def _read(self, name: str) -> bytes:
        """A whole file here."""
        def over_web(web: WebHdfs) -> bytes:
            with web.open(f"{self._path}/{name}") as file:
                return file.read()  # raises for a connection that ended too soon

        def by_client() -> bytes:
            return b"".join(self._cat(f"{self.uri}/{name}"))

        return self._either(over_web, by_client)

    def remove(self, name: str) -> None:
        """A file or a folder here, or all of it; no error if it is not there."""
        self._remove(f"{self._path}/{name}".rstrip("/"), f"{self.uri}/{name}".rstrip("/"))

    def remove_elsewhere(self, path: str) -> None:
        """The same for a path of this file system that is not here."""
        self._remove(path, path)

    def _remove(self, path: str, uri: str) -> None:
        self._either(lambda web: web.delete(path, recursive=True),
                     lambda: self._run("-rm", "-r", "-f", "-skipTrash", uri))

    def _either(self, over_web: Callable[[WebHdfs], _Found], by_client: Callable[[], _Found]) -> _Found:
        """The first that works; a cluster that has refused once is not asked over HTTP again."""
        for left in reversed(range(_TRIES)):
            if self._web is None:
                break
            try:
                return over_web(self._web)
            except UnreachableError:
                self._web = None
            except OSError as error:
                if isinstance(error, PermissionError):
                    raise UsageError(f"-r hadoop: {self.uri}: {error.strerror or error}; name a folder "
                                     "of yours with --hadoop-tmp-dir") from None
                if isinstance(error, FileNotFoundError) or not left:
                    raise TaskError(f"-r hadoop: {self.uri}: {error.strerror or error}") from None
                time.sleep(_PAUSE_SECONDS)
        return by_client()

    def _cat(self, pattern: str) -> Iterator[bytes]:
        with subprocess.Popen([*self._hadoop, "fs", "-cat", pattern], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              start_new_session=True) as client:
            try:
                yield from client.stdout
            except BaseException:
                hadoop_client.end(client)
                raise
            said = client.stderr.read().decode(errors="replace")
        if client.returncode:
            raise TaskError("-r hadoop: the output of a job cannot be read: "
                            f"{hadoop_client.last_line(said)}")

    def _run(self, *arguments: str) -> None:
        done = hadoop_client.run(self._hadoop, "fs", *arguments)
        if done.returncode:
            raise UsageError(f"-r hadoop: 'hadoop fs {arguments[0]}' failed: "
                             f"{hadoop_client.last_line(done.stderr)}; is HADOOP_CONF_DIR that of the "
                             "cluster, and does it run?")
