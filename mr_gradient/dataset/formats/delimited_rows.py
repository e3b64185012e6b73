"""Bytes of a delimited file to rows: pyarrow reads a block; where it cannot, the bad rows are found.

Without ``multiline`` a line is a row: that makes it possible to cut a file at any line. A quoted
value that goes on to the next line would break it; it is found out because the block then has fewer
rows than lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Words
from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.delimited_records import (
    SPACES,
    Layout,
    OpenQuoteError,
    find_records,
    is_open,
)
from mr_gradient.errors import DataError

_MARK = b"\xef\xbb\xbf"
#: What pyarrow parses at a time: a fifth faster than 4 MiB, which stay for all that comes after.
_PARSED_BYTES = 1 << 20


@dataclass
class Block:
    """``columns`` of the rows that are right; their ``row`` and ``line`` in the block, (rows,) int64
    from 0; ``rows``: how many the block has, bad ones included."""

    columns: dict[str, Numbers | Words]
    row: np.ndarray
    line: np.ndarray
    rows: int


@dataclass
class Wrong:
    """A row that is left out. ``row`` and ``line`` of the block, from 0."""

    row: int
    line: int
    column: str
    value: str
    wrong: str


def read_block(data: bytes, layout: Layout) -> tuple[dict[str, Numbers | Words], int] | None:
    """Columns and number of rows of a block all of whose rows are right, or None.

    Arrow passes over blank lines, and so does ``find_records``; a value with a line break makes
    the rows fewer than the lines, as long as no lone carriage return makes them more.
    """
    import pyarrow as pa
    from pyarrow import csv

    parse, convert = layout.arrow_options
    # pyarrow takes one byte order mark off every text that it is given; a block is not a file.
    text = _MARK + data if data.startswith(_MARK) else data
    # Where pyarrow cuts, a quoted value could be torn.
    size = _PARSED_BYTES if b'"' not in data and not layout.multiline else len(text) + 1
    try:
        table = csv.read_csv(pa.BufferReader(text), parse_options=parse, convert_options=convert,
                             read_options=csv.ReadOptions(use_threads=False, block_size=size,
                                                          column_names=list(layout.columns)))
    except pa.ArrowInvalid:
        return None
    if b"\r" in data and not layout.multiline and data.count(b"\r") != data.count(b"\r\n"):
        return None
    columns: dict[str, Numbers | Words] = {}
    for (name, kind), chunked in zip(layout.columns.items(), table.columns):
        array = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
        if kind == "number":
            values = arrow.numbers(array)
            # NaN is missing, unless it was read from a text that does not stand for that.
            if np.count_nonzero(np.isfinite(values)) != len(values) - array.null_count:
                return None
            columns[name] = Numbers(values)
        else:
            # The values that stand for none are out already, unless there are spaces around them.
            columns[name] = (arrow.words(array, layout.tidy) if arrow.holds_spaces(array)
                             else arrow.words_as_parsed(array))
    return columns, table.num_rows


def read_exactly(data: bytes, layout: Layout) -> tuple[Block, list[Wrong]]:
    """The rows that are right, and those that are not; in time, a few times ``read_block``.

    Lines of spaces alone are no rows. Raises ``OpenQuoteError``.
    """
    import pyarrow as pa

    texts, lines = _row_texts(data, layout)
    wrongs: list[Wrong] = []
    rows = list(range(len(texts)))
    if arrow.not_utf8(data) or b"\r" in data:
        said = [arrow.not_utf8(text) or _lone_return(text, layout) for text in texts]
        rows = [row for row in rows if not said[row]]
        wrongs += [Wrong(row, lines[row], "", _as_shown(texts[row]), wrong)
                   for row, wrong in enumerate(said) if wrong]
    table, ragged = split_cells([texts[row] for row in rows], layout)
    for at, width in ragged.items():
        row = rows[at]
        hint = ("; if values hold line breaks, read with --multiline"
                if b'"' in texts[row] and not layout.multiline else "")
        wrongs.append(Wrong(row, lines[row], "", _as_shown(texts[row]),
                            f"must have {len(layout.columns)} values, has {width}{hint}"))
    kept = np.array([row for at, row in enumerate(rows) if at not in ragged], np.int64)
    fine = np.ones(len(kept), bool)
    found: dict[str, np.ndarray | Any] = dict(zip(layout.columns, table))
    for name, kind in layout.columns.items():
        if kind == "number":
            cells = found[name]
            found[name], bad = arrow.numbers_in(cells)
            for at in sorted(bad):
                if fine[at]:  # only the first of a row is told
                    fine[at] = False
                    row = int(kept[at])
                    wrongs.append(Wrong(row, lines[row], name, arrow.shown(cells[at]), bad[at]))
    columns = {name: Numbers(cells[fine]) if isinstance(cells, np.ndarray)
               else arrow.words(cells.filter(pa.array(fine)), layout.tidy)
               for name, cells in found.items()}
    kept = kept[fine]
    return (Block(columns, kept, np.array(lines, np.int64)[kept], len(texts)),
            sorted(wrongs, key=lambda wrong: wrong.row))


def _row_texts(data: bytes, layout: Layout) -> tuple[list[bytes], list[int]]:
    """Text and line, in the block, of each row. Raises ``OpenQuoteError``."""
    records = find_records(data, layout)
    blank, delimiter = re.compile(rb"[ \t\r]*\Z"), layout.delimiter.encode()
    texts, lines = [], []
    for start, stop, line in zip(records.start.tolist(), records.stop.tolist(), records.line.tolist()):
        text = data[start:stop]
        if delimiter not in text and blank.match(text) and (
                len(layout.columns) > 1 or not text.strip(b"\r")):
            continue
        if not layout.multiline and is_open(text, layout):
            raise OpenQuoteError(line)
        texts.append(text)
        lines.append(line)
    return texts, lines


def _as_shown(text: bytes) -> str:
    return arrow.shown(text.decode("utf-8", "backslashreplace").rstrip("\r"))


def _lone_return(text: bytes, layout: Layout) -> str | None:
    plain = layout.quoted.sub(b"", text) if b'"' in text else text
    if b"\r" in plain.rstrip(b"\r"):
        return "must not hold a carriage return outside quotes"
    return None


def split_cells(rows: list[bytes], layout: Layout) -> tuple[list[Any], dict[int, int]]:
    """Rows of UTF-8 as an Arrow array of texts a column, null where missing, and the ragged rows.

    Ragged rows are left out of the columns: their number among ``rows`` to the values they have.
    """
    import pyarrow as pa
    import pyarrow.compute as compute
    from pyarrow import csv

    ragged: dict[int, int] = {}

    def leave_out(row: Any) -> str:
        ragged[row.number - 1] = row.actual_columns
        return "skip"

    names = [str(at) for at in range(len(layout.columns))]
    if not rows:
        return [pa.array([], pa.string()) for _ in names], ragged
    text = _MARK + b"\n".join(rows) + b"\n"
    table = csv.read_csv(
        pa.BufferReader(text),
        read_options=csv.ReadOptions(use_threads=False, block_size=len(text), column_names=names),
        parse_options=csv.ParseOptions(delimiter=layout.delimiter, invalid_row_handler=leave_out),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()),
                                           strings_can_be_null=False))
    if table.num_rows + len(ragged) != len(rows):
        raise DataError("quotes of the text do not balance")
    missing, none = pa.array(sorted(layout.missing)), pa.scalar(None, pa.string())
    cells = [compute.utf8_trim(column.combine_chunks(), characters=SPACES) for column in table.columns]
    return [compute.if_else(compute.is_in(column, missing), none, column) for column in cells], ragged
