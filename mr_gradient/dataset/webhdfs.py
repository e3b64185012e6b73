"""HDFS over HTTP, as its REST interface WebHDFS serves it: no JVM starts, nothing is installed.

The name node answers questions itself, and sends whoever reads or writes on to a data node. Without
Kerberos: a cluster that asks for it answers ``PermissionError``.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from mr_gradient.dataset import hadoop_site

#: Seconds without an answer, or without any bytes of one.
SECONDS = 30
_ERRORS = {"FileNotFoundException": FileNotFoundError, "AccessControlException": PermissionError,
           "SecurityException": PermissionError, "InvalidToken": PermissionError,
           "FileAlreadyExistsException": FileExistsError}


class UnreachableError(OSError):
    """No name node answers, or none that may."""


@dataclass(frozen=True)
class DataNode:
    """``host``: as the cluster calls it; ``web``: HOST:PORT that serves WebHDFS; ``address``: IP:PORT
    by which the name node knows it."""

    host: str
    web: str
    address: str


class WebHdfs:
    """The files of ``hdfs://AUTHORITY``; paths are absolute. Every method raises ``OSError``.

    ``lost``: data nodes that did not answer, or stopped answering; others are asked from then on.
    """

    def __init__(self, authority: str) -> None:
        self._name_nodes = hadoop_site.web_addresses(authority)
        self._user = hadoop_site.user()
        self.lost: list[str] = []

    def status(self, path: str) -> dict[str, Any]:
        """``type`` FILE or DIRECTORY, ``length`` and others."""
        return self._ask("GET", path, "GETFILESTATUS")["FileStatus"]

    def children(self, path: str) -> list[dict[str, Any]]:
        """What is in a folder, each as ``status`` with a name ``pathSuffix``."""
        return self._ask("GET", path, "LISTSTATUS")["FileStatuses"]["FileStatus"]

    def delete(self, path: str, recursive: bool = False) -> None:
        """A file or a folder, which must be empty unless ``recursive``; no error if not there."""
        self._ask("DELETE", path, "DELETE", {"recursive": "true"} if recursive else None)

    def make_folder(self, path: str, permission: str = "755") -> None:
        """A folder, and those above it; no error if it is there."""
        self._ask("PUT", path, "MKDIRS", {"permission": permission})

    def replicas(self, path: str) -> list[DataNode]:
        """The data nodes that hold the first block of a file."""
        blocks = self._ask("GET", path, "GET_BLOCK_LOCATIONS", {"length": 1})["LocatedBlocks"]
        port = "infoSecurePort" if self._name_nodes[0].startswith("https:") else "infoPort"
        found = [each for block in blocks["locatedBlocks"][:1] for each in block["locations"]]
        return [DataNode(each["hostName"], f"{each['hostName']}:{each[port]}",
                         f"{each['ipAddr']}:{each['xferPort']}") for each in found]

    @contextlib.contextmanager
    def open(self, path: str, start: int = 0, length: int = -1) -> Iterator[http.client.HTTPResponse]:
        """Bytes of a file from ``start``, all of them or ``length``, to be read."""
        part = {"offset": start, **({"length": length} if length >= 0 else {})}
        with self._redirected("GET", path, "OPEN", part) as where, \
                _connected(where) as connection:
            connection.request("GET", _target(where))
            yield _checked(connection.getresponse())

    def write(self, path: str, file: BinaryIO) -> None:
        """A new file, or a new content for one, and the folders above it."""
        with self._redirected("PUT", path, "CREATE", {"overwrite": "true"}) as where, \
                _connected(where) as connection:
            size = os.fstat(file.fileno()).st_size
            connection.request("PUT", _target(where), file, {"Content-Length": str(size)})
            _checked(connection.getresponse()).read()

    def create(self, path: str, size: int, chunks: Iterable[Any]) -> None:
        """As ``write``, of ``size`` bytes in ``chunks``; the folder must be there."""
        query = {"overwrite": "true", "createparent": "false"}
        with self._redirected("PUT", path, "CREATE", query) as where, \
                _connected(where) as connection:
            connection.request("PUT", _target(where), iter(chunks), {"Content-Length": str(size)})
            _checked(connection.getresponse()).read()

    def rename(self, path: str, to: str, overwrite: bool = False) -> None:
        """At once for all who read. Raises ``FileExistsError`` if there is something of the new name,
        but for a file with ``overwrite``."""
        # Without an option, a folder would be moved into one of the new name.
        option = "OVERWRITE" if overwrite else "NONE"
        self._ask("PUT", path, "RENAME", {"destination": to, "renameoptions": option})

    def write_at(self, path: str, data: bytes, node: DataNode | None) -> None:
        """A small file with one replica, which is kept by the data node that writes it: this one."""
        where = urlsplit(self._ask("PUT", path, "CREATE", {"overwrite": "true", "replication": "1"}))
        url = where._replace(netloc=node.web if node else where.netloc).geturl()
        with _connected(url) as connection:
            connection.request("PUT", _target(url), data)
            _checked(connection.getresponse()).read()

    @contextlib.contextmanager
    def _redirected(self, method: str, path: str, operation: str, query: dict) -> Iterator[str]:
        """The URL at a data node, which is lost if the block fails to talk to it."""
        avoid = {"excludedatanodes": self._avoided(path, operation)} if self.lost else {}
        where = self._ask(method, path, operation, {**query, **avoid})
        try:
            yield where
        except (FileNotFoundError, PermissionError):
            raise
        except OSError:
            self.lost.append(urlsplit(where).netloc)
            raise

    def _avoided(self, path: str, operation: str) -> str:
        """The lost data nodes as the name node knows them, which is not by their web addresses."""
        if operation == "OPEN":
            return ",".join(each.address for each in self.replicas(path) if each.web in self.lost)
        return ",".join(socket.gethostbyname(urlsplit(f"//{each}").hostname) for each in self.lost)

    def _ask(self, method: str, path: str, operation: str, query: dict | None = None) -> Any:
        """The active name node's answer: a JSON object, or the address of a data node."""
        reason = f"{hadoop_site.WEB_HDFS} is off" if not self._name_nodes else ""
        for url in self._name_nodes:
            asked = urlencode({"op": operation, "user.name": self._user, **(query or {})})
            try:
                with _connected(url) as connection:
                    connection.request(method, f"/webhdfs/v1{quote(path)}?{asked}")
                    answer = connection.getresponse()
                    if answer.status in (http.client.UNAUTHORIZED, http.client.NOT_IMPLEMENTED):
                        raise ConnectionError(f"it answers {answer.status} {answer.reason}")
                    if answer.status == http.client.TEMPORARY_REDIRECT:
                        return answer.headers["Location"]
                    return json.loads(_checked(answer).read() or b"{}")
            except (ConnectionError, TimeoutError, _StandbyError) as error:
                reason = f"WebHDFS at {url} does not serve us ({error.strerror or error})"
            except ValueError:
                reason = f"at {url} is no WebHDFS"
        raise UnreachableError(errno.EHOSTUNREACH, f"{reason}; set HADOOP_CONF_DIR, or "
                          f"{hadoop_site.WEB_HDFS} to the name node's web address")


class _StandbyError(OSError):
    """A name node that waits for the active one to fail."""


@contextlib.contextmanager
def _connected(url: str) -> Iterator[http.client.HTTPConnection]:
    """A connection whose errors are ``OSError``, closed at the end."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=SECONDS)
    try:
        try:
            connection.connect()
        except OSError as error:
            raise ConnectionError(errno.EHOSTUNREACH, error.strerror or str(error)) from None
        yield connection
    except http.client.HTTPException as error:
        raise ConnectionError(errno.EPROTO, f"{type(error).__name__} {error}".strip()) from None
    finally:
        connection.close()


def _target(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}"


def _checked(answer: http.client.HTTPResponse) -> http.client.HTTPResponse:
    """The answer if it is a good one. Raises the ``OSError`` that the cluster tells of."""
    if answer.status < http.client.MULTIPLE_CHOICES:
        return answer
    said = answer.read()
    try:
        remote = json.loads(said)["RemoteException"]
        name, message = remote["exception"], " ".join(remote["message"].split())
    except (ValueError, KeyError, TypeError, AttributeError):
        name, message = "", f"{answer.status} {answer.reason}"
    if name == "StandbyException":
        raise _StandbyError(errno.EAGAIN, message)
    kind = _ERRORS.get(name, OSError)
    numbers = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES,
               FileExistsError: errno.EEXIST}
    raise kind(numbers.get(kind, errno.EIO), message)
