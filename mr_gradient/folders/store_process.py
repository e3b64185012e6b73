"""The process that works on a folder in a store: a request a line on stdin, an answer on stdout.

A request is JSON, ``[bytes of content, operation, arguments ...]``, and the content; an answer
``[error or null, bytes of content]``, and the content. The end of stdin is the end of the driver.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from mr_gradient.errors import MrGradientError
from mr_gradient.folders.lease import Lease
from mr_gradient.folders.stores import Store, open_store

#: Before each other try, once the store has served us.
_PAUSES = (0.5, 1, 2, 4, 8)
#: What another try will not mend.
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class _Server:
    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._store: Store | None = None
        self._lease: Lease | None = None
        self._served = False

    def do(self, content: bytes, operation: str, *arguments: Any) -> bytes:
        """Raises ``OSError`` or ``MrGradientError``."""
        self._store = self._store or open_store(self._uri)
        if operation == "names":
            return json.dumps(sorted(self._tried(lambda: self._store.times(*arguments)))).encode()
        if operation == "read":
            return self._tried(lambda: self._store.read(*arguments))
        if operation == "lock":
            self._tried(lambda: self._lock(*arguments))
        else:
            if self._lease:
                self._tried(self._lease.check)
            if operation == "write":
                self._tried(lambda: self._store.write(*arguments, content))
            else:
                self._tried(lambda: self._store.remove(arguments))
        return b""

    def close(self) -> None:
        """Give the lock back, and the folders that it alone needed."""
        if self._lease:
            with contextlib.suppress(Exception):
                self._lease.close()
                self._store.remove_empty()

    def _lock(self, pid: int) -> None:
        self._lease = Lease(self._store, self._uri, pid)

    def _tried(self, operation: Callable[[], Any]) -> Any:
        """A store that has served us is waited for; one that never has is told at once."""
        for pause in (*_PAUSES, None):
            try:
                found = operation()
            except _FINAL:
                self._served = True
                raise
            except OSError:
                if pause is None or not self._served:
                    raise
                time.sleep(pause)
            else:
                self._served = True
                return found


def serve(uri: str, requests: BinaryIO, answers: BinaryIO) -> None:
    """Do what is asked until there is nobody left to ask."""
    server = _Server(uri)
    try:
        while line := requests.readline():
            if not line.endswith(b"\n"):
                break
            size, *request = json.loads(line)
            content = requests.read(size)
            if len(content) < size:  # the driver was killed in the middle of it
                break
            error, answer = None, b""
            try:
                answer = server.do(content, *request)
            except MrGradientError as what:
                error = [type(what).__name__, None, str(what)]
            except OSError as what:
                number = errno.ENOENT if isinstance(what, FileNotFoundError) else errno.EIO
                error = ["OSError", what.errno or number, what.strerror or str(what)]
            except Exception as what:  # a client's own, of which there are many
                error = ["OSError", errno.EIO, " ".join(f"{type(what).__name__}: {what}".split())]
            answers.write(json.dumps([error, len(answer)]).encode() + b"\n")
            answers.write(answer)
            answers.flush()
    except BrokenPipeError:
        pass
    finally:
        server.close()


def main() -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a client prints is no answer
    serve(sys.argv[1], sys.stdin.buffer, answers)
    os._exit(0)  # threads of clients are not waited for


if __name__ == "__main__":
    main()
