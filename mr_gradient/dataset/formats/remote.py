"""Files behind a URI, in HDFS or through fsspec: with limits of time, and errors like those of local
files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import io
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from mr_gradient.dataset.formats.hdfs_reading import HdfsFile
from mr_gradient.dataset.hdfs import Hdfs
from mr_gradient.dataset.uris import split
from mr_gradient.errors import DataError, MissingPackageError, MrGradientError

#: Of the S3 client, for a server that does not answer; its own are a minute, six times over.
CONNECT_SECONDS, READ_SECONDS, TRIES = 10, 30, 2
#: What is fetched beyond what was asked for, so that whoever reads on need not wait for each piece.
READ_AHEAD = 8 * 1024 * 1024
_S3 = ("s3", "s3a")
_UNREACHABLE = "; is the network up, and AWS_ENDPOINT_URL right?"
#: What to do about errors of S3, by their class.
_HINTS = {"NoCredentialsError": "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
          "ProfileNotFound": "; set AWS_PROFILE to one of ~/.aws/config",
          "EndpointConnectionError": _UNREACHABLE, "ConnectTimeoutError": _UNREACHABLE,
          "ReadTimeoutError": _UNREACHABLE, "PermissionError": "; may these credentials read it?"}


def filesystem(uri: str) -> tuple[Any, str]:
    """fsspec's file system for a URI, and the path in it."""
    scheme, authority, path = split(uri)
    try:
        from fsspec.config import conf
        from fsspec.core import url_to_fs

        if scheme == "hdfs":
            from mr_gradient.dataset.formats.hdfs_files import HdfsFileSystem

            return HdfsFileSystem(authority), path.rstrip("/") or "/"
        limits = {}
        if scheme in _S3:
            of_user = conf.get("s3", {}).get("config_kwargs", {})
            limits["config_kwargs"] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS,
                                       "retries": {"total_max_attempts": TRIES}, **of_user}
        return url_to_fs(uri, **limits)
    except ImportError as error:
        raise MissingPackageError(
            f"{uri}: {scheme}:// needs fsspec and its driver ({error}); install them "
                        "with: pip install 'mr_gradient[cloud]'") from None
    except ValueError as error:
        raise DataError(f"{uri}: cannot be opened: {error}") from None


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """What a file system raises inside the block becomes an ``OSError`` with a number and one line.

    Each has errors of its own, of names, credentials and the network, and many are no ``OSError``.
    """
    try:
        yield
    except (MrGradientError, FileNotFoundError, IsADirectoryError):
        raise
    except Exception as error:
        text = getattr(error, "strerror", None) or str(error) or type(error).__name__
        # s3fs translates some, and keeps what it was.
        names = {type(each).__name__ for each in (error, error.__cause__) if each is not None}
        hint = next((hint for name, hint in _HINTS.items() if name in names), "")
        raise OSError(getattr(error, "errno", None) or errno.EIO,
                      " ".join(text.split()).rstrip(".") + hint) from None


def is_remote_file(uri: str) -> bool:
    """Whether there is a file. Raises ``OSError``."""
    try:
        if split(uri)[0] == "hdfs":
            return _in_hdfs(uri)["type"] == "FILE"
        system, inside = filesystem(uri)
        with file_errors():  # fsspec's own isfile takes an error for a file that is not there
            return system.info(inside)["type"] == "file"
    except FileNotFoundError:
        return False


def remote_bytes(uri: str) -> int:
    """Length of a file. Raises ``OSError``."""
    if split(uri)[0] == "hdfs":
        return _in_hdfs(uri)["length"]
    system, inside = filesystem(uri)
    with file_errors():
        return int(system.size(inside))


def _in_hdfs(uri: str) -> dict[str, Any]:
    _, authority, path = split(uri)
    return Hdfs(authority).status(path.rstrip("/") or "/")


def open_remote(uri: str, ahead: int = READ_AHEAD) -> BinaryIO:
    """A file behind a URI, which can be read and sought in."""
    if split(uri)[0] == "hdfs":
        return io.BufferedReader(HdfsFile(uri, ahead))
    system, inside = filesystem(uri)
    with file_errors():
        return io.BufferedReader(_Remote(system.open(inside, "rb", block_size=ahead)))


class _Remote(io.RawIOBase):
    """A file of fsspec's, whose errors are ``OSError``."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with file_errors():
            data = self._file.read(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        with file_errors():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def end_threads() -> None:
    """End the thread in which fsspec does its work, if it has one; it starts anew when needed.

    The driver calls this before it runs tasks: a process with other threads must not fork, and would
    have to run all tasks by itself.
    """
    asyn = sys.modules.get("fsspec.asyn")
    if asyn is None or asyn.loop[0] is None:
        return
    from fsspec.spec import AbstractFileSystem

    loop, thread = asyn.loop[0], asyn.iothread[0]
    for kind in _kinds_of(AbstractFileSystem):
        for system in list(kind._cache.values()):
            if client := getattr(system, "_s3creator", None):  # tracebacks may keep it alive
                system.close_session(system.loop, client)
        kind.clear_instance_cache()  # they belong to the thread
    gc.collect()  # closes the connections of others
    asyncio.run_coroutine_threadsafe(loop.shutdown_default_executor(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    asyn.reset_lock()


def _kinds_of(kind: type) -> Iterator[type]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds_of(each)
