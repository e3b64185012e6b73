"""A file at a URI, read from its start to its end, by what needs no JVM where there is such a thing.

``hdfs://``: WebHDFS, else ``hadoop fs -cat``. ``http://`` and ``https://``: plain requests. All
others: fsspec, or the user's ``hadoop`` where fsspec does not know them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from mr_gradient.dataset import hadoop_client, hadoop_site, webhdfs
from mr_gradient.dataset.formats.remote import end_threads, open_remote
from mr_gradient.dataset.uris import split
from mr_gradient.errors import DataError

TRIES = 3
#: Before the second try; twice as long before the third.
PAUSE_SECONDS = 0.5
_CHUNK = 1 << 18
_SECONDS = 30
_HTTP = ("http", "https")
#: What another try will not mend.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError)


def read_bytes(uri: str) -> bytes:
    """A small file. Raises ``FileNotFoundError`` if there is none, else ``DataError``."""
    def read(sources: _Sources) -> bytes:
        with sources.open() as source:
            return source.read()

    try:
        return _with_tries(uri, read)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DataError(f"{uri}: cannot be read: {error.strerror or error}") from None


def copy_checked(uri: str, sha256: str, file: BinaryIO) -> int:
    """Fill ``file`` with the shard at a URI, and compare it with its checksum on the way.

    Returns its bytes. Raises ``DataError``.
    """
    def copy(sources: _Sources) -> int:
        size, found = _copy(sources, file)
        if found != sha256:
            raise OSError(errno.EIO, f"its SHA-256 must be {sha256}, found {found}: the file is "
                          "corrupted; prepare the data set again")
        return size

    try:
        return _with_tries(uri, copy)
    except FileNotFoundError:
        raise DataError(f"shard {uri}: no such file; prepare the data set again") from None
    except OSError as error:
        raise DataError(f"shard {uri}: cannot be read: {error.strerror or error}") from None


def _copy(sources: _Sources, file: BinaryIO) -> tuple[int, str]:
    """Bytes and SHA-256 of what was read, all of which is in ``file``."""
    digest, buffer, size = hashlib.sha256(), memoryview(bytearray(_CHUNK)), 0
    with _local(file):
        file.seek(0)
        file.truncate()
    with sources.open() as source:
        while count := source.readinto(buffer):
            digest.update(buffer[:count])
            size += count
            with _local(file):
                file.write(buffer[:count])
        if missing := getattr(source, "length", None):  # of an HTTP response: bytes still to come
            raise OSError(errno.EPIPE, f"the connection ended {missing} bytes too soon")
    with _local(file):
        file.flush()
    return size, digest.hexdigest()


@contextlib.contextmanager
def _local(file: BinaryIO) -> Iterator[None]:
    """An error of the copy is not one of the source: another try will not mend it."""
    try:
        yield
    except OSError as error:
        place = file.name if isinstance(file.name, str) else tempfile.gettempdir()
        raise DataError(f"{place}: a shard cannot be written there: {error.strerror or error}; make "
                        "room, or name another folder by MR_GRADIENT_CACHE") from None


def _with_tries(uri: str, attempt: Callable) -> Any:
    """``attempt(sources)``, again if the source fails. Raises ``OSError``."""
    sources = _Sources(uri)
    for number in range(1, sources.tries + 1):
        try:
            return attempt(sources)
        except _FINAL:
            raise
        except OSError:
            if number == sources.tries:
                raise
            time.sleep(PAUSE_SECONDS * number)


class _Sources:
    """Ways to read a URI; data nodes that failed are remembered from one try to the next."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._scheme, authority, self._path = split(uri)
        self._hdfs = webhdfs.WebHdfs(authority) if self._scheme == "hdfs" else None
        #: What fsspec has are clients that try again by themselves.
        self.tries = TRIES if self._scheme in ("hdfs", *_HTTP) else 1

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        if self._hdfs:
            with contextlib.ExitStack() as stack:
                try:
                    source = stack.enter_context(self._hdfs.open(self._path))
                except webhdfs.UnreachableError:
                    if hadoop_site.command() is None:
                        raise
                    source = stack.enter_context(hadoop_client.read(self._uri))
                yield source
        elif self._scheme in _HTTP:
            with _by_http(self._uri) as source:
                yield source
        else:
            with _by_fsspec(self._uri) as source:
                yield source


@contextlib.contextmanager
def _by_http(uri: str) -> Iterator[BinaryIO]:
    try:
        with urllib.request.urlopen(uri, timeout=_SECONDS) as source:
            yield source
    except urllib.error.HTTPError as error:
        error.close()
        kind = FileNotFoundError if error.code in (404, 410) else OSError
        raise kind(errno.ENOENT if kind is FileNotFoundError else errno.EIO,
                   f"{error.code} {error.reason}") from None
    except http.client.HTTPException as error:
        raise OSError(errno.EPROTO, f"{type(error).__name__} {error}".strip()) from None
    except urllib.error.URLError as error:
        raise OSError(errno.EHOSTUNREACH, str(error.reason)) from None


@contextlib.contextmanager
def fsspec_session() -> Iterator[None]:
    """Whatever thread fsspec works in is ended, since a process with threads must not fork."""
    try:
        yield
    finally:
        end_threads()


@contextlib.contextmanager
def _by_fsspec(uri: str) -> Iterator[BinaryIO]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(fsspec_session())
        try:
            source = stack.enter_context(open_remote(uri))
        except DataError:  # it does not know the scheme
            if hadoop_site.command() is None:
                raise
            source = stack.enter_context(hadoop_client.read(uri))
        yield source
