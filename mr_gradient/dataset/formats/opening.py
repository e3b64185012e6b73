"""Input files as bytes: plain, .gz or .bz2, local or behind fsspec; cut between lines, in one place."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np

from mr_gradient.dataset.columns import Piece
from mr_gradient.dataset.formats.remote import (
    READ_AHEAD,
    is_remote_file,
    open_remote,
    remote_bytes,
)
from mr_gradient.dataset.uris import is_uri
from mr_gradient.errors import DataError

#: What a format is told from.
HEAD_BYTES = 64 * 1024
#: What a text format reads at a time.
CHUNK_BYTES = 4 * 1024 * 1024
#: A longer line is no line: the file is of another kind, and would fill the memory.
LONGEST_LINE = 256 * 1024 * 1024
_BLOCK = 1 << 20
_COMPRESSED = {".gz": "gzip", ".bz2": "bzip2"}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def compression(path: str) -> str | None:
    """``gzip`` or ``bzip2`` by the file's name, as Hadoop tells them, or None."""
    return _COMPRESSED.get(os.path.splitext(path)[1].lower())


def uncompressed_name(path: str) -> str:
    """The path without ``.gz`` or ``.bz2``."""
    return os.path.splitext(path)[0] if compression(path) else path


def open_stored(path: str, ahead: int = READ_AHEAD) -> BinaryIO:
    """A file's bytes as they are stored, compressed or not, at a path or a URI.

    ``ahead``: bytes to fetch from a URI beyond those that are asked for. Raises ``OSError``.
    """
    return open_remote(path, ahead) if is_uri(path) else open(path, "rb")


@contextlib.contextmanager
def open_input(path: str, ahead: int = READ_AHEAD) -> Iterator[BinaryIO]:
    """A file's bytes, decompressed, while the block runs; ``ahead`` as in ``open_stored``.

    Whatever goes wrong with the file inside the block, a truncated or corrupt compressed file
    included, becomes a ``DataError`` that names it.
    """
    kind = compression(path)
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_stored(path, ahead))
            if kind == "gzip":
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            elif kind == "bzip2":
                file = stack.enter_context(bz2.BZ2File(file))
            yield file
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: must be a file, found a folder") from None
    except EOFError:
        raise DataError(f"{path}: the {kind or 'file'} data end too soon; the file was cut off, get "
                        "it again") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: must be {kind or 'whole'}, found damaged data ({error}); get it "
                        "again") from None
    except OSError as error:
        # bz2 says so with an error that has no number.
        if kind and error.errno is None:
            raise DataError(f"{path}: must be {kind}, found damaged data ({error}); get it "
                            "again") from None
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_head(path: str, size: int = HEAD_BYTES) -> bytes:
    """The first ``size`` bytes of a file, decompressed."""
    with open_input(path, min(size, READ_AHEAD)) as file:
        return file.read(size)


def file_bytes(path: str) -> int:
    """Length of the file as it lies there, compressed or not."""
    try:
        return remote_bytes(path) if is_uri(path) else os.path.getsize(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def is_file(path: str) -> bool:
    if not is_uri(path):
        return os.path.isfile(path)
    try:
        return is_remote_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def line_aligned_pieces(paths: Sequence[str], size: int) -> list[Piece]:
    """Pieces of text files: cut at every ``size`` bytes, each cut moved to the next line's start.

    A cut that is a line's start already stays. A line longer than ``size`` is in one piece; a
    compressed file is one piece; an empty one has none.
    """
    pieces: list[Piece] = []
    for path in paths:
        if compression(path):
            pieces.append(Piece(len(pieces), path, 0, -1))
            continue
        length, start = file_bytes(path), 0
        with open_input(path, HEAD_BYTES) as file:
            for cut in range(size, length, size):
                if cut <= start:
                    continue
                stop = _line_start(file, cut, length)
                pieces.append(Piece(len(pieces), path, start, stop))
                start = stop
        if start < length:
            pieces.append(Piece(len(pieces), path, start, length))
    return pieces


def _line_start(file: BinaryIO, at: int, length: int) -> int:
    """The first start of a line at or after ``at``, the end of the file at the latest."""
    file.seek(at - 1)
    at -= 1
    while block := file.read(HEAD_BYTES):
        found = block.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(block)
    return length


def line_chunks(path: str, start: int = 0, stop: int = -1,
                size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Bytes ``start`` to ``stop`` in chunks of whole lines; only the file's last may lack its end.

    A byte order mark at the start of the file is left out.
    """
    held: list[bytes] = []
    left = stop - start if stop >= 0 else None
    mark = start == 0
    with open_input(path) as file:
        if start:
            file.seek(start)
        while read := file.read(size if left is None else min(size, left)):
            if left is not None:
                left -= len(read)
            if mark:
                mark, read = False, read.removeprefix(_BYTE_ORDER_MARK)
            cut = read.rfind(b"\n") + 1
            if cut:
                yield b"".join((*held, read[:cut]))
                held = []
            held.append(read[cut:])
            if len(held) * size > LONGEST_LINE:
                raise DataError(f"{path}: must be lines of text, found a line of more than "
                                f"{LONGEST_LINE >> 20} MiB; name the format with --format")
        if left:
            raise DataError(f"{path}: ends {left} bytes before it did when the preparation began; "
                            "leave the input alone until the preparation is done")
    last = b"".join(held)
    if last:
        yield last


def lines_before(path: str, start: int) -> int:
    """How many lines end before byte ``start``: a pass over them, so only for messages, and once."""
    count = 0
    with open_input(path) as file:
        while start > 0 and (block := file.read(min(_BLOCK, start))):
            count += block.count(b"\n")
            start -= len(block)
    return count


class FileLines:
    """Line numbers of rows of a piece, as ``Rows.line``; they are counted when somebody looks.

    To know the line at which a piece starts, all of the file before it must be read; that would
    make reading all pieces quadratic in the file, and only messages need it. Index it with a
    number, a slice or a mask; ``numpy.asarray`` gives the array.
    """

    def __init__(self, path: str, start: int, within: np.ndarray) -> None:
        self.path, self.start, self.within = path, start, within
        self._before: int | None = None

    @property
    def before(self) -> int:
        if self._before is None:
            self._before = lines_before(self.path, self.start)
        return self._before

    def __len__(self) -> int:
        return len(self.within)

    def __getitem__(self, key: Any) -> Any:
        found = self.within[key]
        if isinstance(found, np.ndarray):
            part = FileLines(self.path, self.start, found)
            part._before = self._before
            return part
        return int(found) + self.before

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        lines = self.within + self.before
        return lines if dtype is None else lines.astype(dtype)
