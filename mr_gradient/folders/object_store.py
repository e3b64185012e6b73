"""Folders in stores of objects, such as S3, through fsspec."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from mr_gradient.dataset.formats.remote import file_errors, filesystem

#: When an object was written; each client of fsspec's has a name of its own for it.
_TIMES = ("LastModified", "mtime", "updated", "last_modified", "created")


class Objects:
    """A store of objects, each written by one PUT, or by parts that appear together."""

    def __init__(self, uri: str) -> None:
        self._system, inside = filesystem(uri)
        self._inside = inside.rstrip("/")

    def times(self, below: str) -> dict[str, float]:
        folder = f"{self._inside}/{below}".rstrip("/")
        with file_errors():
            self._system.invalidate_cache()
            try:
                found = self._system.ls(folder, detail=True)
            except FileNotFoundError:
                return {}
        times = {}
        for each in found:
            name = each["name"].rstrip("/")
            if name == folder:
                if each["type"] == "file" and not each["name"].endswith("/") and each["size"]:
                    raise NotADirectoryError(errno.ENOTDIR, "must be a folder, found a file")
                continue  # an object whose name ends in / stands for a folder
            times[name.rpartition("/")[2]] = _seconds(each)
        return times

    def read(self, name: str, stop: int | None = None) -> bytes:
        with file_errors():
            return self._system.cat_file(f"{self._inside}/{name}", start=None if stop is None else 0,
                                         end=stop)

    def write(self, name: str, data: bytes) -> None:
        with file_errors():
            self._system.pipe_file(f"{self._inside}/{name}", data)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError), file_errors():
                self._system.rm_file(f"{self._inside}/{name}")

    def remove_empty(self) -> None:
        """There are no folders."""


def _seconds(status: dict[str, Any]) -> float:
    time = next((status[name] for name in _TIMES if status.get(name) is not None), 0.0)
    if isinstance(time, str):
        time = datetime.fromisoformat(time.replace("Z", "+00:00"))
    return time.timestamp() if isinstance(time, datetime) else float(time)
