"""libsvm and svmlight: ``label [qid:N] index:value ... # comment``, a line a row.

scikit-learn's parser reads a chunk of lines at a time. It stops at the first thing that it does not
like and does not say where: such a chunk is read again, line by line, in Python, which finds each
bad row. Both accept the same rows. Without scikit-learn the second reads everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import isfinite
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Piece, Rows, Source, Sparse
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.opening import (
    FileLines,
    line_aligned_pieces,
    line_chunks,
    lines_before,
    read_head,
)
from mr_gradient.errors import DataError, UsageError

_SAMPLE = 1 << 20
_LOOKED_AT = 20
_LARGEST = 2**63 - 1
#: Above this, two different whole numbers may be the same float64.
_EXACT = 2**53
_COMMENT = re.compile(rb"#[^\n]*")
_INDEX_0 = re.compile(rb"(?<!\S)[+-]?0+:")
_QID = re.compile(rb"^[^\S\n]*[^\s:]+[^\S\n]+qid:(\S+)", re.MULTILINE)
#: Enough where the parser has found that each row has one, and that it stands where it must.
_ANY_QID = re.compile(rb"qid:(\S+)")
_LINE = re.compile(rb"[+-]?[\d.]+(e[+-]?\d+)?(\s+qid:\d+)?(\s+\d+:[^\s:]+)*\s*$", re.IGNORECASE)

#: Tells of a bad row: the line within the chunk from 0, column, value, what is wrong.
_Report = Callable[[int, str, str, str], None]


@dataclass(frozen=True)
class _Layout:
    """``first``: the first index, 0 or 1. ``width``: 0 if it is not declared. ``qid``: expected."""

    first: int
    width: int
    qid: bool


@dataclass
class _Chunk:
    """Rows of a chunk; ``kept``: which of its rows they are, the bad ones counted."""

    labels: np.ndarray
    qids: np.ndarray | None
    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    kept: np.ndarray


class _WrongError(Exception):
    """Column, value, and what is wrong with it."""


class LibSvm:
    """The label is the column ``label``, a query number ``qid``; the features are ``Sparse``.

    Where the width is not declared (``options["width"]``), ``Source.width`` is 0 and the width of
    each batch is 1 + its largest index: whoever needs the width of all takes the largest of them.
    """

    name = "libsvm"
    endings = (".libsvm", ".svmlight", ".svm")

    def looks_like(self, head: bytes) -> bool:
        lines = [line for line in _COMMENT.sub(b"", _whole_lines(head, 64 * 1024)).split(b"\n")
                 if line.strip()][:_LOOKED_AT]
        return any(b":" in line for line in lines) and all(
            _LINE.match(line.strip()) for line in lines)

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        """Find the first index, unless ``options["first_index"]`` says it, and whether rows have a qid.

        The indices are 1-based if the first MiB of no file has an index 0.
        """
        first, width = options.get("first_index"), options.get("width") or 0
        if first not in (None, 0, 1):
            raise UsageError(f"first_index: must be 0 or 1, found {first!r}")
        if not isinstance(width, int) or width < 0:
            raise UsageError(f"width: must be the number of features, found {width!r}")
        from_0 = qid = False
        for path in paths:
            sample = _COMMENT.sub(b"", _whole_lines(read_head(path, _SAMPLE), _SAMPLE))
            if not sample.strip():
                raise DataError(f"{path}: must be lines 'label index:value ...', found none")
            from_0 = from_0 or _INDEX_0.search(sample) is not None
            qid = qid or _QID.search(sample) is not None
        columns = {"label": "number", "qid": "number"} if qid else {"label": "number"}
        start = first if first is not None else 0 if from_0 else 1
        return Source(self.name, columns, width, "float64", {"first_index": start})

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        return line_aligned_pieces(paths, size)

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        layout = _Layout(source.options["first_index"], source.width, "qid" in source.columns)
        number, line = 0, 1
        before = cache(lambda: lines_before(piece.path, piece.start))
        for chunk in line_chunks(piece.path, piece.start, piece.stop):
            text = _COMMENT.sub(b"", chunk) if b"#" in chunk else chunk
            lines = _occupied(text)

            def report(at: int, *wrong: str, line: int = line) -> None:
                bad.add(piece.path, before() + line + at, *wrong)

            found = _parse_fast(text, len(lines), layout)
            if found is None:
                found = _parse_exactly(text, lines, layout, report)
            if len(found.kept):
                columns = {"label": Numbers(found.labels)}
                if found.qids is not None:
                    columns["qid"] = Numbers(found.qids)
                width = layout.width or int(found.indices.max(initial=-1)) + 1
                at = lines[found.kept] + line
                yield Rows(columns, Sparse(found.indptr, found.indices, found.values, width),
                           found.kept + number,
                           FileLines(piece.path, piece.start, at) if piece.start else at)
            number += len(lines)
            line += chunk.count(b"\n")


def _whole_lines(head: bytes, asked: int) -> bytes:
    """A head without its last line, if that was cut; of one long line, the part before a space."""
    if len(head) < asked:
        return head
    whole, _, rest = head.rpartition(b"\n")
    return whole if whole.strip() else rest.rpartition(b" ")[0]


def _occupied(text: bytes) -> np.ndarray:
    """Which lines hold a row: all that are not blank."""
    lines = text.split(b"\n")
    return np.array([i for i, line in enumerate(lines) if line and not line.isspace()], np.int64)


def _parse_fast(text: bytes, rows: int, layout: _Layout) -> _Chunk | None:
    """All rows by scikit-learn's parser, or None where it cannot, or what it read may be wrong."""
    try:
        from sklearn.datasets import load_svmlight_file
    except ImportError:
        return None
    # Python's digit separators are no number here, and scikit-learn passes over a qid.
    queries = text.count(b"qid")
    if b"_" in text or queries != (rows if layout.qid else 0):
        return None
    try:
        matrix, labels = load_svmlight_file(BytesIO(text), zero_based=layout.first == 0)
        qids = np.array(list(map(int, _ANY_QID.findall(text))), np.float64) if layout.qid else None
    except (ValueError, OverflowError):
        return None
    indptr, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
    rising = indices[1:] > indices[:-1]
    starts = indptr[1:-1]
    rising[starts[(starts > 0) & (starts < len(indices))] - 1] = True
    sound = (len(labels) == rows and rising.all() and np.isfinite(labels).all()
             and np.isfinite(matrix.data).all() and indices.min(initial=0) >= 0
             and (not layout.width or indices.max(initial=-1) < layout.width)
             and (qids is None or (len(qids) == rows and np.abs(qids).max(initial=0) < _EXACT)))
    return _Chunk(labels, qids, indptr, indices, matrix.data, np.arange(rows)) if sound else None


def _parse_exactly(text: bytes, occupied: np.ndarray, layout: _Layout, report: _Report) -> _Chunk:
    """The rows that are right, one by one; the others are reported."""
    labels, qids, ends, indices, values, kept = [], [], [0], [], [], []
    lines = text.split(b"\n")
    for row, at in enumerate(occupied.tolist()):
        try:
            label, qid, row_indices, row_values = _parse_line(lines[at], layout)
        except _WrongError as wrong:
            report(at, *wrong.args)
            continue
        labels.append(label)
        qids.append(qid)
        indices += row_indices
        values += row_values
        ends.append(len(indices))
        kept.append(row)
    return _Chunk(np.array(labels, np.float64), np.array(qids, np.float64) if layout.qid else None,
                  np.array(ends, np.int64), np.array(indices, np.int64),
                  np.array(values, np.float64), np.array(kept, np.int64))


def _parse_line(line: bytes, layout: _Layout) -> tuple[float, float, list[int], list[float]]:
    """Label, qid (NaN without), indices from 0, and values. Raises ``_WrongError``."""
    tokens = line.split()
    label = _finite("label", tokens[0])
    qid, at = float("nan"), 1
    if len(tokens) > 1 and tokens[1].startswith(b"qid:"):
        qid, at = _query(tokens[1][4:], layout), 2
    last, indices, values = -1, [], []
    for token in tokens[at:]:
        name, colon, text = token.partition(b":")
        if not colon:
            raise _WrongError("", _shown(token), "a feature must be index:value")
        index = _whole(name)
        if index is None or index > _LARGEST:
            raise _WrongError("", _shown(token), "the index of a feature must be a whole number"
                              + ("" if index is None else " below 2**63"))
        index -= layout.first
        if index < 0:
            raise _WrongError("", _shown(token), f"the first index is {layout.first} "
                              "(--first-index 0 says otherwise)" if layout.first else
                              "an index must be 0 or more")
        if index <= last:
            raise _WrongError("", _shown(token), "an index must stand once in a row" if index == last
                              else f"indices must rise, and {last + layout.first} is before it")
        if layout.width and index >= layout.width:
            raise _WrongError("", _shown(token), f"the declared width is {layout.width}, so an index "
                              f"must be at most {layout.width - 1 + layout.first}")
        indices.append(index)
        values.append(_finite(_shown(name), text))
        last = index
    return label, qid, indices, values


def _query(text: bytes, layout: _Layout) -> float:
    query = _whole(text)
    if query is None or abs(query) >= _EXACT:
        raise _WrongError("qid", _shown(text), "must be a whole number below 2**53")
    if not layout.qid:
        raise _WrongError("qid", _shown(text), "the first rows of the files have no qid")
    return float(query)


def _finite(column: str, text: bytes) -> float:
    """The finite number that a text is; Python's digit separators are none."""
    try:
        number = float(text) if b"_" not in text else None
    except ValueError:
        number = None
    if number is None or not isfinite(number):
        raise _WrongError(column, _shown(text),
                          "must be a number" if number is None else "must be a finite number")
    return number


def _whole(text: bytes) -> int | None:
    try:
        return int(text) if b"_" not in text else None
    except ValueError:
        return None


def _shown(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


FORMAT = LibSvm()
