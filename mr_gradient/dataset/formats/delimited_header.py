"""What the first MiB of a delimited file tells: the delimiter, the header, the kinds of columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.delimited_records import (
    Layout,
    OpenQuoteError,
    find_records,
    is_open,
    last_row_end,
)
from mr_gradient.dataset.formats.delimited_rows import split_cells
from mr_gradient.dataset.formats.opening import HEAD_BYTES, LONGEST_LINE, read_head
from mr_gradient.errors import DataError, UsageError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Where two cut all rows alike, the first of these: 1,5;2,5 has decimal commas.
_DELIMITERS = "\t;|,"
_LOOKED_AT = 100
#: A column is numbers if so many of the sample's values are.
_MOSTLY = 0.95
_NUMBER, _INFINITY = re.compile(arrow.NUMBER), re.compile(arrow.INFINITY)


@dataclass
class _Seen:
    """What a sample has of a column: values, numbers (or infinities) among them, finite ones."""

    present: int = 0
    numeric: int = 0
    finite: int = 0

    @property
    def kind(self) -> str:
        """A few words or infinities among numbers make no words of them: they are bad values."""
        numbers = self.finite and self.numeric >= _MOSTLY * self.present
        return "number" if numbers or not self.present else "word"


@dataclass
class FirstLook:
    """What was found in ``path``, and in the files looked at with it."""

    path: str
    header: bool
    names: list[str]
    seen: list[_Seen]
    line: int

    def kinds(self) -> dict[str, str]:
        return {name: column.kind for name, column in zip(self.names, self.seen)}

    def and_also(self, other: FirstLook) -> FirstLook:
        """This and another file, which must have the same columns."""
        if other.names != self.names:
            pairs = zip(other.names, self.names)
            first = next((at for at, (found, wanted) in enumerate(pairs) if found != wanted),
                         min(len(other.names), len(self.names)))
            what = ", ".join(other.names[first:first + 3]) or "nothing"
            raise DataError(
                f"{other.path}, line {other.line}: must have the header of {self.path}, "
                f"{len(self.names)} columns in the same order; it differs from column {first + 1} on, "
                f"found {what}" if self.header else
                f"{other.path}, line {other.line}: must have {len(self.names)} columns as "
                f"{self.path}, found {len(other.names)}")
        return replace(self, seen=[
            _Seen(a.present + b.present, a.numeric + b.numeric, a.finite + b.finite)
            for a, b in zip(self.seen, other.seen)])


def checked_delimiter(options: Mapping[str, Any]) -> str:
    """``options["delimiter"]``, or the empty text; a shell's ``\\t`` is a tab."""
    given = {"\\t": "\t", None: ""}.get(options.get("delimiter"), options.get("delimiter"))
    if given and (len(given) > 1 or not given.isascii() or given in '"\r\n'):
        raise UsageError(f"--delimiter: must be one ASCII character, no quote, found {given!r}")
    return given


def find_delimiter(text: str) -> str:
    """The delimiter that gives most of the first rows the same number of values, at least two.

    Empty if none does.
    """
    best, best_share = "", 0.8
    for delimiter in _DELIMITERS:
        widths = []
        try:
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                if row:
                    widths.append(len(row))
                if len(widths) == _LOOKED_AT:
                    break
        except csv.Error:
            continue
        width, rows = Counter(widths).most_common(1)[0] if widths else (0, 0)
        if width > 1 and rows / len(widths) > best_share:
            best, best_share = delimiter, rows / len(widths)
    return best


def whole_lines(head: bytes, asked: int) -> bytes:
    """A head of ``asked`` bytes without the line that it cuts, unless that is all it has."""
    return head if len(head) < asked else head[:head.rfind(b"\n") + 1] or head


def sample(path: str) -> bytes:
    """The first MiB of a file, or more up to the end of a line. Raises ``DataError``."""
    size = arrow.SAMPLE_BYTES
    while len(data := read_head(path, size)) == size and b"\n" not in data and size < LONGEST_LINE:
        size *= 2
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: must be text in UTF-8, found the mark of UTF-16; convert it")
    if not data.removeprefix(BYTE_ORDER_MARK).strip():
        raise DataError(f"{path}: must hold rows, found an empty file")
    if b"\n" not in data and b"\r" in data:
        raise DataError(f"{path}, line 1: lines must end in LF or CRLF, found CR alone; convert it")
    return whole_lines(data, size)


def first_look(path: str, data: bytes, layout: Layout, header: bool | None,
               declared: Collection[str], names: list[str] | None = None) -> FirstLook:
    """What the sample of a file tells; ``header`` None: find out.

    A header is a first row that is all text, over rows that hold numbers, or over none that are right,
    or that has the names which the user ``declared``. Without one the columns are called ``names``.
    Raises ``DataError``, or ``OpenQuoteError`` with the line from 0.
    """
    data = data.removeprefix(BYTE_ORDER_MARK)
    if layout.multiline:
        data = data[:last_row_end(data, layout)] or data
    records = find_records(data, layout)
    rows = []
    for start, stop, line in zip(records.start, records.stop, records.line.tolist()):
        rows.append(data[start:stop])
        if not layout.multiline and is_open(rows[-1], layout):
            raise OpenQuoteError(line)
    line = int(records.line[0]) + 1
    first = _cells(path, line, rows[0], layout)
    below = _look_at_columns(rows[1:], len(first), layout)
    if header is None:
        header = all(_is_text(cell, layout) for cell in first) and (
            not any(column.present for column in below)
            or any(column.finite and column.kind == "number" for column in below)
            or (len(declared) > 0 and set(declared) <= set(first)))
    if header:
        return FirstLook(path, True, _names(path, line, first), below, line)
    names = names or [f"c{at}" for at in range(len(first))]
    if len(names) != len(first):
        raise DataError(f"{path}, line {line}: must have {len(names)} values, found {len(first)}")
    return FirstLook(path, False, names,
                     _look_at_columns(rows, len(first), layout), line)


def header_bytes(path: str, layout: Layout) -> int:
    """Where the rows below the header begin."""
    size = HEAD_BYTES
    while True:
        data = read_head(path, size)
        mark = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
        records = find_records(data[mark:], layout)
        # The last row may be cut: it is whole if another follows, or if the file ends.
        if len(records.stop) > 1 or len(data) < size:
            return min(mark + int(records.stop[0]) + 1, len(data))
        size *= 2


def _cells(path: str, line: int, row: bytes, layout: Layout) -> list[str]:
    wrong = arrow.not_utf8(row)
    if wrong:
        raise DataError(f"{path}, line {line}: {wrong}; convert the file")
    try:
        cells = next(csv.reader(io.StringIO(row.decode(), newline=""), delimiter=layout.delimiter))
    except csv.Error as error:
        raise DataError(f"{path}, line {line}: not {layout.delimiter!r}-separated: {error}") from None
    return [cell.strip() for cell in cells]


def _is_text(cell: str, layout: Layout) -> bool:
    return cell not in layout.missing and not _NUMBER.match(cell) and not _INFINITY.match(cell)


def _names(path: str, line: int, names: list[str]) -> list[str]:
    if "" in names:
        raise DataError(f"{path}, line {line}: all columns must have a name, found none for column "
                        f"{names.index('') + 1}; name it, or say --header no")
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise DataError(f"{path}, line {line}: column names must differ, found {repeated[0]!r} "
                        "twice; rename one, or say --header no")
    return names


def _look_at_columns(rows: list[bytes], width: int, layout: Layout) -> list[_Seen]:
    """What the rows hold; those that are not right are told of when they are read."""
    import pyarrow.compute as compute

    fine = [row for row in rows if arrow.not_utf8(row) is None and b"\r" not in row.rstrip(b"\r")]
    layout = replace(layout, columns=dict.fromkeys(map(str, range(width)), "word"))
    found = []
    for cells in split_cells(fine, layout)[0]:
        texts = cells.drop_null()
        finite = compute.match_substring_regex(texts, arrow.NUMBER)
        endless = compute.match_substring_regex(texts, arrow.INFINITY)
        found.append(_Seen(len(texts), *(
            compute.sum(matches, min_count=0).as_py() for matches in (
                compute.or_(finite, endless), finite))))
    return found
