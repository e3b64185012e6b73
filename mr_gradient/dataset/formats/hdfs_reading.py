"""A file of HDFS for the readers of formats, which seek. Tasks need no fsspec for it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import time
from typing import Any, BinaryIO

from mr_gradient.dataset.hdfs import FINAL, PAUSE_SECONDS, TRIES, Hdfs
from mr_gradient.dataset.uris import split


class HdfsFile(io.RawIOBase):
    """Who reads on gets the bytes of one answer, of ``ahead`` bytes at least; when a data node is lost,
    the next one goes on. Raises ``OSError``.
    """

    def __init__(self, uri: str, ahead: int) -> None:
        super().__init__()
        _, authority, self._path = split(uri)
        self._hdfs, self._ahead = Hdfs(authority), ahead
        self._answer = contextlib.ExitStack()
        self._source: BinaryIO | None = None
        self._at = self._source_at = self._source_stop = 0
        status = self._hdfs.status(self._path)
        if status["type"] != "FILE":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._length = status["length"]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        before = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._length}[whence]
        self._at = max(0, before + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[:max(0, self._length - self._at)]
        for number in range(1, TRIES + 1) if len(view) else ():
            try:
                return self._read(view)
            except FINAL:
                raise
            except OSError:
                self._source = None
                with contextlib.suppress(OSError):
                    self._answer.__exit__(*sys.exc_info())  # so that the data node counts as lost
                if number == TRIES:
                    raise
                time.sleep(PAUSE_SECONDS * number)
        return 0

    def _read(self, view: memoryview) -> int:
        if self._source is None or self._source_at != self._at or self._at >= self._source_stop:
            self._end_answer()
            size = min(max(self._ahead, len(view)), self._length - self._at)
            self._source = self._answer.enter_context(self._hdfs.open(self._path, self._at, size))
            self._source_at, self._source_stop = self._at, self._at + size
        count = self._source.readinto(view[:self._source_stop - self._at])
        if not count:
            raise OSError(errno.EPIPE, "the connection ended too soon")
        self._at += count
        self._source_at += count
        return count

    def _end_answer(self) -> None:
        self._source = None
        self._answer.close()

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(OSError):
                self._end_answer()
        super().close()
