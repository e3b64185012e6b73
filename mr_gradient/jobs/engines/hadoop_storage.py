"""What a driver keeps in HDFS for the time of its run: one private folder.

Over WebHDFS where it answers, since a start of the client ``hadoop`` takes a second; by the client
where it does not, as on clusters with Kerberos.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import TypeVar

from mr_gradient.dataset.uris import split
from mr_gradient.dataset.webhdfs import UnreachableError, WebHdfs
from mr_gradient.errors import TaskError, UsageError

_Found = TypeVar("_Found")
_READ_BYTES = 1 << 20


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

        return self._either(over_web, lambda: subprocess.run(
            [*self._hadoop, "fs", "-test", "-d", self.uri], stdin=subprocess.DEVNULL,
            capture_output=True, check=False).returncode == 0)

    def begin(self) -> None:
        """Make the folder, readable by nobody else; what an earlier driver of this run left goes."""
        def by_client() -> None:
            self._run("-mkdir", "-p", self.uri)
            self._run("-chmod", "700", self.uri)

        self.remove("")
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
            with self._web.open(f"{self._path}/{folder}/{part}") as file:
                yield from file

    def remove(self, name: str) -> None:
        """A file or a folder here, or all of it; no error if it is not there."""
        end = f"/{name}" if name else ""
        self._either(lambda web: web.delete(self._path + end, recursive=True),
                     lambda: self._run("-rm", "-r", "-f", "-skipTrash", self.uri + end))

    def _either(self, over_web: Callable[[WebHdfs], _Found], by_client: Callable[[], _Found]) -> _Found:
        """The first that works; a cluster that has refused once is not asked over HTTP again."""
        if self._web is not None:
            try:
                return over_web(self._web)
            except UnreachableError:
                self._web = None
            except OSError as error:
                raise TaskError(f"-r hadoop: {self.uri}: {error.strerror or error}") from None
        return by_client()

    def _cat(self, pattern: str) -> Iterator[bytes]:
        with subprocess.Popen([*self._hadoop, "fs", "-cat", pattern], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            yield from client.stdout
            said = client.stderr.read().decode(errors="replace")
        if client.returncode:
            raise TaskError(f"-r hadoop: the output of a job cannot be read: {_last(said)}")

    def _run(self, *arguments: str) -> None:
        done = subprocess.run([*self._hadoop, "fs", *arguments], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError(f"-r hadoop: 'hadoop fs {arguments[0]}' failed: {_last(done.stderr)}")


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
