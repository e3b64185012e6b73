"""JSON lines: an object of plain values a line.

pyarrow reads a block of lines into the columns of the sample. A block that it does not take is read
line by line with the standard library, which takes some more (a number in a text column, true among
numbers) and tells what is wrong with which line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Piece, Rows, Source, Words
from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.opening import (
    LONGEST_LINE,
    FileLines,
    line_aligned_pieces,
    line_chunks,
    lines_before,
    read_head,
)
from mr_gradient.errors import DataError

_MARK = b"\xef\xbb\xbf"


class _Number(str):
    """A number as it is written: only a column of numbers makes a float64 of it."""


class _WrongError(Exception):
    """Column, value, and what is wrong with it."""


class JsonLines:
    """null and absent keys are missing values; true and false are 1 and 0.

    Columns are the keys of the first MiB of each file, in order of appearance: words if any value
    is a text, else numbers. A key that comes later is a bad row, unless its value is null.
    ``options["columns"]``, name -> ``number`` or ``word``, overrides: a number that is declared a
    word is the text of the file, which takes the slower reader.
    """

    name = "jsonl"
    endings = (".jsonl", ".ndjson", ".jsonlines")

    def looks_like(self, head: bytes) -> bool:
        """Told by the first line that is not blank, and by its start if it is longer than the head."""
        line, ended, _ = head.removeprefix(_MARK).lstrip().partition(b"\n")
        if not ended and len(line) > 1000:
            return line.startswith(b'{"')
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        arrow.load("pyarrow.json", f"reading {self.name}")
        types: dict[str, set[str]] = {}
        for path in paths:
            rows = 0
            for line, text in enumerate(_sample(path).split(b"\n"), 1):
                if not text.strip():
                    continue
                rows += 1
                try:
                    values = _parse(text)
                    for name, value in values.items():
                        types.setdefault(name, set()).add(_kind(name, value))
                except _WrongError as error:
                    # A line that is no object is a bad row, told when it is read, unless it is the
                    # first: then the file is of another kind. Nested values are of another kind too.
                    if error.args[0] or rows == 1:
                        raise _as_data_error(path, line, error) from None
            if not rows:
                raise DataError(f"{path}: must hold JSON objects, one a line, found an empty file")
        found = {name: "word" if "word" in kinds else "number" for name, kinds in types.items()}
        if not found:
            raise DataError(f"{paths[0]}: the objects must have keys, found none")
        booleans = [name for name, kinds in types.items() if kinds - {"null"} == {"boolean"}]
        kinds = arrow.declared_kinds(found, options, paths[0])
        return Source(self.name, kinds, options={"booleans": [
            name for name in booleans if kinds[name] == "number"]})

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        return line_aligned_pieces(paths, size)

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        """``Rows.line`` is a ``FileLines``: the lines before a piece are counted on demand."""
        number, line = 0, 1
        for data in line_chunks(piece.path, piece.start, piece.stop, arrow.BLOCK_BYTES):
            newlines = data.count(b"\n")
            found = _read_block(data, newlines, source)
            if found:
                columns, rows = found
                kept = lines = np.arange(rows)
            else:
                columns, kept, lines, wrongs, rows = _read_exactly(data, source)
                for at, wrong in wrongs:
                    bad.add(piece.path, lines_before(piece.path, piece.start) + line + at, *wrong.args)
            if len(kept):
                yield Rows(columns, None, kept + number,
                           FileLines(piece.path, piece.start, lines + line))
            number += rows
            line += newlines


def _sample(path: str) -> bytes:
    """Whole lines of the first MiB, or one longer line."""
    size = arrow.SAMPLE_BYTES
    while len(data := read_head(path, size)) == size and b"\n" not in data and size < LONGEST_LINE:
        size *= 2
    data = data.removeprefix(_MARK) if len(data) < size else data[:data.rfind(b"\n") + 1] or data
    return data.removeprefix(_MARK)


def _as_data_error(path: str, line: int, error: _WrongError) -> DataError:
    column, value, wrong = error.args
    where = f"{path}, line {line}" + (f", column {column!r}" if column else "")
    return DataError(f"{where}: {wrong}, found {value!r}")


def _read_block(data: bytes, newlines: int,
                source: Source) -> tuple[dict[str, Numbers | Words], int] | None:
    """Columns and number of rows where every line is an object that pyarrow takes, else None."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    lines = newlines + (not data.endswith(b"\n"))
    # pyarrow also takes two objects on a line, an object on two, and -NaN; JSON lines are stricter.
    if data.count(b"\n{") + data.startswith(b"{") != lines or b"-NaN" in data:
        return None
    types = {"number": pa.float64(), "word": pa.string()}
    schema = pa.schema([(name, pa.bool_() if name in source.options["booleans"] else types[kind])
                        for name, kind in source.columns.items()])
    try:
        table = arrow_json.read_json(
            pa.BufferReader(data),
            arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            arrow_json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"))
        if table.num_rows != lines:
            return None
        columns: dict[str, Numbers | Words] = {}
        for name, kind in source.columns.items():
            array = table.column(name).combine_chunks()
            if kind == "word":
                columns[name] = arrow.words(array)
                continue
            values = arrow.numbers(array.cast(pa.float64()))
            if len(arrow.infinite(values)):
                return None
            columns[name] = Numbers(values)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return columns, lines


def _read_exactly(data: bytes, source: Source) -> tuple:
    """Columns, rows and lines of the objects that are right, what is wrong with others, rows."""
    wrongs: list[tuple[int, _WrongError]] = []
    kept, lines, rows = [], [], 0
    found: dict[str, list[Any]] = {name: [] for name in source.columns}
    for line, text in enumerate(data.split(b"\n")):
        if not text.strip():
            continue
        rows += 1
        try:
            row = _row(text, source.columns)
        except _WrongError as error:
            wrongs.append((line, error))
            continue
        kept.append(rows - 1)
        lines.append(line)
        for name, value in row.items():
            found[name].append(value)
    columns = {name: Numbers(np.array(values, np.float64)) if source.columns[name] == "number"
               else _as_words(values) for name, values in found.items()}
    return columns, np.array(kept, np.int64), np.array(lines, np.int64), wrongs, rows


def _as_words(values: list[str | None]) -> Words:
    places: dict[str, int] = {}
    codes = [-1 if value is None else places.setdefault(value, len(places)) for value in values]
    return Words(np.array(codes, np.int32), list(places))


def _row(text: bytes, columns: dict[str, str]) -> dict[str, Any]:
    """A value for each column: float (NaN missing) or text (None missing)."""
    values = _parse(text)
    for name, value in values.items():
        if name not in columns and value is not None:
            raise _WrongError(name, arrow.shown(value), "no row of the first MiB of the files has "
                              "this key")
    row: dict[str, Any] = {}
    for name, kind in columns.items():
        value = values.get(name)
        if value is not None and _kind(name, value) == "boolean":
            value = _Number(int(value)) if kind == "number" else str(value).lower()
        if kind == "word":
            row[name] = None if value is None else str(value)
            continue
        if value is not None and not isinstance(value, _Number):
            raise _WrongError(name, arrow.shown(value), arrow.NOT_A_NUMBER)
        row[name] = float("nan") if value is None else float(value)
        if value is not None and not isfinite(row[name]):
            raise _WrongError(name, arrow.shown(value), arrow.NOT_FINITE)
    return row


def _kind(name: str, value: Any) -> str:
    """``number``, ``boolean``, ``word`` or ``null``. Raises ``_WrongError`` for a nested value."""
    if isinstance(value, dict | list):
        raise _WrongError(name, arrow.shown(_as_json(value)), "must be a plain value, not "
                          f"{'an object' if isinstance(value, dict) else 'a list'} in the object")
    if isinstance(value, _Number):
        return "number"
    return "boolean" if isinstance(value, bool) else "null" if value is None else "word"


def _as_json(value: Any) -> str:
    """A nested value as it was in the file, for a message: numbers stay as they are written."""
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)}: {_as_json(each)}" for name, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_json, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value)


def _parse(text: bytes) -> dict[str, Any]:
    """The object of a line, numbers as ``_Number``; NaN, which Python writes, is a missing value."""
    wrong = arrow.not_utf8(text)
    if wrong:
        raise _WrongError("", arrow.shown(text.decode("utf-8", "backslashreplace")), wrong)
    line = text.decode().strip(" \t\r")
    try:
        value = json.loads(line, object_pairs_hook=_once_each, parse_int=_Number, parse_float=_Number,
                           parse_constant=lambda text: None if text == "NaN" else _Number(text))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise _WrongError("", arrow.shown(line), f"must be a JSON object ({error})") from None
    if not isinstance(value, dict):
        raise _WrongError("", arrow.shown(line), "must be a JSON object")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _WrongError(twice, arrow.shown(dict(pairs)[twice]), "a key must stand once in a row")
    return found


FORMAT = JsonLines()
