"""Files through the user's program ``hadoop``, which knows the user's tickets and tokens.

Each call starts a JVM, which takes a second: for where WebHDFS is not served, as with Kerberos.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from mr_gradient.dataset import hadoop_site
from mr_gradient.errors import UsageError

_ERRORS = (("No such file", FileNotFoundError, errno.ENOENT),
           ("Permission denied", PermissionError, errno.EACCES),
           ("File exists", FileExistsError, errno.EEXIST))


@contextlib.contextmanager
def read(uri: str) -> Iterator[BinaryIO]:
    """A file from its start; who does not read to the end kills the client."""
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            [hadoop_site.command(), "fs", "-cat", uri], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, env=_environment()) as process:
        try:
            yield process.stdout
            if not process.stdout.peek(1):
                _check(process.wait(), errors, "-cat")
        finally:
            process.kill()


def write(uri: str, chunks: Iterable[Any]) -> None:
    """A new file, whole or absent, in a folder that is there."""
    status(uri.rpartition("/")[0])  # what is read from a pipe is put into folders that are made for it
    with tempfile.TemporaryFile() as errors, subprocess.Popen(
            [hadoop_site.command(), "fs", "-put", "-f", "-", uri], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=errors, env=_environment()) as process:
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as file:  # it says why
                file.writelines(chunks)
        except BaseException:
            process.kill()
            raise
        _check(process.wait(), errors, "-put")


def run(*arguments: str) -> str:
    """``hadoop fs ARGUMENTS``; returns its stdout. Raises the ``OSError`` that it tells of."""
    with tempfile.TemporaryFile() as errors:
        done = subprocess.run([hadoop_site.command(), "fs", *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=errors, check=False,
                              env=_environment())
        _check(done.returncode, errors, arguments[0])
    return done.stdout.decode(errors="surrogateescape")


def status(uri: str) -> dict[str, Any]:
    """``type`` FILE or DIRECTORY and ``length``, as WebHDFS has them."""
    return _parse(run("-ls", "-d", uri))[0]


def children(uri: str) -> list[dict[str, Any]]:
    """What is in a folder, each as ``status`` with a name ``pathSuffix``."""
    return _parse(run("-ls", uri))


def _environment() -> dict[str, str]:
    """Without Kerberos, a task is who started its job; its process may be another user's."""
    with contextlib.suppress(UsageError):
        return {**os.environ, "HADOOP_USER_NAME": hadoop_site.user()}
    return dict(os.environ)


def _parse(listed: str) -> list[dict[str, Any]]:
    """Lines of mode, replicas, owner, group, bytes, date, time and path."""
    found = []
    for line in listed.splitlines():
        words = line.split(None, 7)
        if len(words) == 8 and words[0][0] in "-d":
            found.append({"type": "DIRECTORY" if words[0][0] == "d" else "FILE",
                          "length": int(words[4]), "pathSuffix": words[7].rpartition("/")[2]})
    return found


def _check(code: int, errors: BinaryIO, what: str) -> None:
    if not code:
        return
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace").strip().splitlines()
    message = said[-1] if said else f"status {code}"
    for words, kind, number in _ERRORS:
        if words in message:
            raise kind(number, message)
    raise OSError(errno.EIO, f"hadoop fs {what}: {message}")
