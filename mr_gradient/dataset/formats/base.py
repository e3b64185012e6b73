"""What a format is: three functions that the driver or a task of the preparation calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mr_gradient.dataset.columns import Piece, Rows, Source
from mr_gradient.errors import BadRowError

#: Input that one map task reads, before it is moved to the end of a row.
PIECE_BYTES = 32 * 1024 * 1024


@dataclass
class BadRows:
    """What becomes of rows that cannot be read: ``fail`` at the first, or note and leave out.

    ``notes``: (file, line, column, value, what is wrong) of each that was left out, for the rejects
    file; ``count`` of them, which the driver adds up over pieces and compares with its limit. A
    piece stops by itself past ``limit``, so that a file of another kind is not read to its end.
    """

    fail: bool = True
    limit: int = 0
    count: int = 0
    notes: list[tuple[str, int, str, str, str]] = field(default_factory=list)

    def add(self, path: str, line: int, column: str, value: str, wrong: str) -> None:
        """Note a bad row, or raise ``BadRowError`` that names file, line, column and value.

        Line 0 is a file that is one row.
        """
        where = path + (f", line {line}" if line else "") + (f", column {column!r}" if column else "")
        if self.fail:
            what = "row" if line else "file"
            raise BadRowError(f"{where}: {wrong}, found {value!r}; mend the {what}, or leave such rows "
                              "out with --on-bad-row skip --max-bad-rows N")
        self.count += 1
        self.notes.append((path, line, column, value, wrong))
        if self.count > self.limit:
            raise BadRowError(f"{where}: {wrong}, found {value!r}; that is bad row {self.count}, more "
                              f"than --max-bad-rows {self.limit}")


class Format(Protocol):
    """A file format. Whoever adds one adds a file, and a line to the registry in ``__init__``.

    Libraries are imported inside the functions, since a task needs only those of its format.
    """

    #: Name of ``--format``.
    name: str
    #: Endings of file names, lower case, without ``.gz`` or ``.bz2``.
    endings: tuple[str, ...]

    def looks_like(self, head: bytes) -> bool:
        """Whether the first 64 KiB of a file (decompressed) can be of this format."""

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        """Look at the files' heads and say what is in them. Driver only.

        Raises ``DataError`` for files that are empty, not of the format, or of different kinds.
        """

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        """Cut the files into pieces of about ``size`` bytes, numbered from 0. Driver only.

        A piece begins and ends between rows; compressed files are one piece.
        """

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        """The rows of a piece, some MiB at a time."""
