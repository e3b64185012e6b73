"""HDFS as a file system of fsspec's, which lists and matches patterns: its own needs a JVM, or waits
for ever."""

from __future__ import annotations

import io
from typing import Any

from fsspec.spec import AbstractFileSystem

from mr_gradient.dataset.formats.hdfs_reading import HdfsFile
from mr_gradient.dataset.hdfs import Hdfs
from mr_gradient.dataset.uris import is_uri, split


class HdfsFileSystem(AbstractFileSystem):
    """The files of ``hdfs://AUTHORITY``: found and read, anew each time."""

    protocol = "hdfs"
    cachable = False

    def __init__(self, authority: str, **options: Any) -> None:
        super().__init__(**options)
        self._authority, self._hdfs = authority, Hdfs(authority)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return (split(path)[2] if is_uri(path) else path).rstrip("/") or "/"

    def unstrip_protocol(self, name: str) -> str:
        return name if is_uri(name) else f"hdfs://{self._authority}{name}"

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        return _info(path, self._hdfs.status(path))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list:
        path = self._strip_protocol(path)
        found = [_info("/".join(filter(None, (path.rstrip("/"), each["pathSuffix"]))), each)
                 for each in self._hdfs.children(path)]
        return found if detail else [each["name"] for each in found]

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None,
              **_: Any) -> io.BufferedReader:
        return io.BufferedReader(HdfsFile(self.unstrip_protocol(path), block_size or 0))


def _info(path: str, status: dict[str, Any]) -> dict[str, Any]:
    return {"name": path, "size": status["length"], "type": status["type"].lower()}
