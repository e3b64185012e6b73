"""HDFS as a file system of fsspec's, over WebHDFS: its own needs a JVM, or waits for ever."""

from __future__ import annotations

from typing import Any

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from mr_gradient.dataset.uris import is_uri, split
from mr_gradient.dataset.webhdfs import WebHdfs


class HdfsFileSystem(AbstractFileSystem):
    """The files of ``hdfs://AUTHORITY``: found, read, put there and removed, all anew each time."""

    protocol = "hdfs"
    cachable = False

    def __init__(self, authority: str, **options: Any) -> None:
        super().__init__(**options)
        self._authority, self._hdfs = authority, WebHdfs(authority)

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

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        with open(lpath, "rb") as file:
            self._hdfs.write(self._strip_protocol(rpath), file)

    def rm_file(self, path: str) -> None:
        self._hdfs.delete(self._strip_protocol(path))

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None,
              **_: Any) -> _HdfsFile:
        return _HdfsFile(self, path, mode, block_size or "default")

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        with self._hdfs.open(path, start, stop - start) as file:
            return file.read()


class _HdfsFile(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.read_range(self.path, start, end)


def _info(path: str, status: dict[str, Any]) -> dict[str, Any]:
    return {"name": path, "size": status["length"], "type": status["type"].lower()}
