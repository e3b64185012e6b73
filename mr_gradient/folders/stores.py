"""The stores that folders can be in, behind four operations; each raises ``OSError``.

``hdfs://``: WebHDFS, or the user's ``hadoop`` where that is not served, as on clusters with Kerberos.
``http://`` and ``https://``: to read only. All others: fsspec, or ``hadoop`` where fsspec does not know
them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Protocol

from mr_gradient.dataset import fetching, hadoop_site
from mr_gradient.dataset.uris import split
from mr_gradient.errors import DataError


class Store(Protocol):
    """Files by their names below one URI. A change may be tried again."""

    def times(self, below: str) -> dict[str, float]:
        """Of what is right in a folder, when the store wrote it, in seconds by its own clock."""

    def read(self, name: str, stop: int | None = None) -> bytes:
        """A file, or its first bytes."""

    def write(self, name: str, data: bytes) -> None:
        """A new file, or another content: whole or not at all."""

    def remove(self, names: Iterable[str]) -> None:
        """Files, in this order; no error for those that are not there."""

    def remove_empty(self) -> None:
        """The folder of leases and the folder itself, if they are empty; objects have none."""


def open_store(uri: str) -> Store:
    """Raises ``DataError`` if nothing here can talk to it."""
    # Each is imported where it is needed: fsspec's clients take a second.
    from mr_gradient.folders.hadoop_stores import Client, Hdfs

    scheme, _, _ = split(uri)
    if scheme == "hdfs":
        return Hdfs(uri)
    if scheme in ("http", "https"):
        return _Http(uri)
    from mr_gradient.folders.object_store import Objects

    try:
        return Objects(uri)
    except DataError:  # fsspec does not know the scheme
        if hadoop_site.command() is None:
            raise
        return Client(uri)


class _Http:
    """Files of a web server, which keeps nothing and lists nothing."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def read(self, name: str, stop: int | None = None) -> bytes:
        return fetching.read_bytes(f"{self._uri}/{name}")[:stop]

    def times(self, below: str) -> dict[str, float]:
        raise OSError(errno.EROFS, "a web server can be read only; use another store")

    write = remove = remove_empty = times
