"""CSV and TSV: what the columns are, where a file may be cut, and its rows, read by pyarrow.

A piece is cut at line ends, so a line is a row; ``options["multiline"]`` lets quoted values hold
line breaks, and then a file is one piece. ``delimited_rows`` has how a block is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Piece, Rows, Source
from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.delimited_header import (
    BYTE_ORDER_MARK,
    FirstLook,
    checked_delimiter,
    find_delimiter,
    first_look,
    header_bytes,
    sample,
    whole_lines,
)
from mr_gradient.dataset.formats.delimited_records import (
    Layout,
    OpenQuoteError,
    count_newlines,
    find_records,
    last_is_open,
    whole_rows,
)
from mr_gradient.dataset.formats.delimited_rows import Block, Wrong, read_block, read_exactly
from mr_gradient.dataset.formats.opening import (
    HEAD_BYTES,
    FileLines,
    line_aligned_pieces,
    line_chunks,
    lines_before,
)
from mr_gradient.errors import DataError

MISSING = ("", "?", "N/A", "NA", "NULL", "NaN", "None", "nan", "null")


@dataclass(frozen=True)
class Delimited:
    """``delimiter``: the format's own, or empty where it is found out.

    Options: ``delimiter``; ``header`` True or False; ``names`` of the columns where there is no header;
    ``missing``, the texts that stand for no value
    beside the empty one; ``multiline``; ``columns``, name -> ``number`` or ``word``. What is not
    given is found in the first MiB of each file.
    """

    name: str
    endings: tuple[str, ...]
    delimiter: str

    def looks_like(self, head: bytes) -> bool:
        if b"\0" in head or head.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"["):
            return False
        found = find_delimiter(whole_lines(head, HEAD_BYTES).decode("utf-8-sig", "replace"))
        return found != "" and (found == "\t") == (self.delimiter == "\t")

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        arrow.load("pyarrow.csv", f"reading {self.name}")
        layout = Layout(checked_delimiter(options) or self.delimiter, {},
                        frozenset(options.get("missing") or MISSING) | {""},
                        bool(options.get("multiline")))
        found: FirstLook | None = None
        for path in paths:
            data = sample(path)
            if not layout.delimiter:
                text = data.decode("utf-8-sig", "replace")
                layout = replace(layout, delimiter=find_delimiter(text) or ",")
            header = found.header if found else options.get("header")
            try:
                look = first_look(path, data, layout, header, options.get("columns") or (),
                                  options.get("names"))
            except OpenQuoteError as error:
                raise _open_quote(path, 1 + error.args[0], layout) from None
            found = found.and_also(look) if found else look
        kinds = arrow.declared_kinds(found.kinds(), options, paths[0])
        return Source(self.name, kinds, options={
            "delimiter": layout.delimiter, "header": found.header,
            "missing": sorted(layout.missing), "multiline": layout.multiline})

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        layout = _layout(source)
        starts = {path: header_bytes(path, layout) if source.options["header"] else 0
                  for path in paths}
        found = [Piece(0, path, 0, -1) for path in paths] if layout.multiline else (
            line_aligned_pieces(paths, size))
        moved = [replace(piece, start=max(piece.start, starts[piece.path])) for piece in found]
        return [replace(piece, piece=number) for number, piece in enumerate(
            piece for piece in moved if piece.stop < 0 or piece.start < piece.stop)]

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        """``Rows.line`` is a ``FileLines``: the lines before a piece are counted on demand."""
        layout = _layout(source)
        number, line = 0, 1
        chunks = line_chunks(piece.path, piece.start, piece.stop, arrow.BLOCK_BYTES)
        if layout.multiline:
            chunks = whole_rows(chunks, layout)
        try:
            for data in chunks:
                newlines = count_newlines(data)
                block, wrongs = _read(data, newlines, layout)
                for wrong in wrongs:
                    bad.add(piece.path, lines_before(piece.path, piece.start) + line + wrong.line,
                            wrong.column, wrong.value, wrong.wrong)
                if len(block.row):
                    yield Rows(block.columns, None, block.row + number,
                               FileLines(piece.path, piece.start, block.line + line))
                number += block.rows
                line += newlines
        except OpenQuoteError as error:
            before = lines_before(piece.path, piece.start)
            raise _open_quote(piece.path, before + line + error.args[0], layout) from None


def _read(data: bytes, newlines: int, layout: Layout) -> tuple[Block, list[Wrong]]:
    """A block's rows, and its bad ones."""
    columns, rows = read_block(data, layout) or (None, -1)
    if not layout.multiline and rows == newlines + (not data.endswith(b"\n")):
        line = np.arange(rows)  # of all rows; where there are blank lines it takes longer to say
    else:
        line = find_records(data, layout).line
    is_open = last_is_open(data, layout)
    if is_open and layout.multiline:
        raise OpenQuoteError(int(line[-1]))
    if columns is not None and rows == len(line) and not is_open:
        return Block(columns, np.arange(rows), line, rows), []
    return read_exactly(data, layout)


def _layout(source: Source) -> Layout:
    options = source.options
    return Layout(options["delimiter"], source.columns, frozenset(options["missing"]),
                  options["multiline"])


def _open_quote(path: str, line: int, layout: Layout) -> DataError:
    if layout.multiline:
        return DataError(f"{path}, line {line}: a quoted value has no end; mend the quote")
    return DataError(f"{path}, line {line}: a quoted value does not end on its line; if values hold "
                     "line breaks, read with --multiline, else mend the quote")


CSV = Delimited("csv", (".csv",), "")
TSV = Delimited("tsv", (".tsv", ".tab"), "\t")
