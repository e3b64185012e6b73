"""Rows between a reader and the transforms: numpy arrays only, whatever library parsed the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np


@dataclass
class Numbers:
    """A numeric column: ``values`` (rows,) float64, NaN where the value is missing."""

    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts in UTF-8, end to end: text i is ``letters[starts[i]:starts[i + 1]]``.

    ``letters`` uint8; ``starts`` (texts + 1,) int32 or int64.
    """

    letters: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        joined = "".join(texts)
        encoded = None if joined.isascii() else [text.encode() for text in texts]
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded or texts), np.int64, len(texts)), out=starts[1:])
        return cls(np.frombuffer(b"".join(encoded) if encoded else joined.encode(), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def characters(self) -> np.ndarray:
        """Length of each text in characters, not bytes, (texts,) int64."""
        starts = self.starts
        held = self.letters[starts[0]:starts[-1]]
        if held.max(initial=0) >= 0x80:
            # All bytes of a character but the first are 10xxxxxx.
            begun = np.zeros(len(held) + 1, np.int64)
            np.cumsum(held & 0xC0 != 0x80, out=begun[1:])
            starts = begun[starts - starts[0]]
        return np.diff(starts).astype(np.int64, copy=False)

    def decoded(self) -> list[str]:
        text = self.letters[self.starts[0]:self.starts[-1]]
        ends = self.starts[1:] - self.starts[0]
        if not len(ends) or not text.all():
            return [text[start:end].tobytes().decode() for start, end in pairwise([0, *ends.tolist()])]
        # To put zeros between and split there takes a third of the time.
        place = np.ones(len(text) + len(ends), bool)
        place[ends + np.arange(len(ends))] = False
        separated = np.zeros(len(place), np.uint8)
        separated[place] = text
        return separated[:-1].tobytes().decode().split("\0")


@dataclass(frozen=True, eq=False)
class RowTexts:
    """A text column as it stands in a file: nobody has looked yet which texts differ.

    ``present``: texts of the rows that have one, in order; ``missing`` (rows,) bool. ``encode`` gives
    codes and distinct texts, as ``Words`` has them.
    """

    present: Texts
    missing: np.ndarray
    encode: Callable[[], tuple[np.ndarray, Texts]]


class Words:
    """A text column: row i holds ``words[codes[i]]``; code -1 where the value is missing.

    ``codes`` (rows,) int32; ``words`` are distinct. Transforms work on the words, not on the rows, and
    on ``texts``, the words as bytes, where they can. What nobody asks for is not made: with many
    categories, to find out which texts differ took as long as to parse them, and as long again to make
    a string of each. ``each`` is the column as it was read while nobody has asked, else None.
    """

    def __init__(self, codes: np.ndarray, words: Sequence[str] | Texts) -> None:
        self.codes = codes
        self.each: RowTexts | None = None
        if isinstance(words, Texts):
            self.texts = words
        else:
            self.words = words

    @classmethod
    def of_rows(cls, each: RowTexts) -> Words:
        column = cls.__new__(cls)
        column.each = each
        return column

    def _encode(self) -> None:
        self.codes, self.texts = self.each.encode()
        self.each = None

    @cached_property
    def codes(self) -> np.ndarray:
        self._encode()
        return self.codes

    @cached_property
    def texts(self) -> Texts:
        if self.each is None:
            return Texts.of(self.words)
        self._encode()
        return self.texts

    @cached_property
    def words(self) -> Sequence[str]:
        return self.texts.decoded()

    def missing(self) -> np.ndarray:
        """Which rows have no word, (rows,) bool."""
        return self.codes < 0 if self.each is None else self.each.missing

    def characters(self) -> int:
        """Of the words of all rows together."""
        if self.each is None:
            return int(np.append(self.texts.characters(), 0)[self.codes].sum())
        return int(self.each.present.characters().sum())

    def at(self, rows: np.ndarray) -> Words:
        """Some of the rows, by a mask or by their numbers; the words stay."""
        codes = self.codes[rows]
        return Words(codes, vars(self).get("texts") or self.words)

    def __len__(self) -> int:
        """How many words there are."""
        return len(self.words if "words" in vars(self) else self.texts)


@dataclass
class Sparse:
    """Features of rows as CSR: row i has ``values[indptr[i]:indptr[i + 1]]`` at ``indices[...]``.

    ``indptr`` (rows + 1,) int64; ``indices`` int64 or int32, rising within a row; ``values`` float64
    or float32.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    width: int

    def at(self, rows: np.ndarray) -> Sparse:
        """Some of the rows, by a mask or by their numbers."""
        lengths = np.diff(self.indptr)
        if len(lengths) and lengths[0] and (lengths == lengths[0]).all():
            # A table; it takes a third of the time.
            shape = len(lengths), int(lengths[0])
            indices, values = (each.reshape(shape)[rows] for each in (self.indices, self.values))
            return Sparse(np.arange(0, indices.size + 1, shape[1]), indices.reshape(-1),
                          values.reshape(-1), self.width)
        lengths = lengths[rows]
        indptr = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=indptr[1:])
        at = np.repeat(self.indptr[:-1][rows] - indptr[:-1], lengths) + np.arange(indptr[-1])
        return Sparse(indptr, self.indices[at], self.values[at], self.width)


@dataclass
class Rows:
    """Consecutive rows of a piece of the input.

    ``columns``: named columns, the target's included. ``features``: features that come as one
    matrix, dense (rows, width) in the file's own type or ``Sparse``, or None. ``number``: position
    in the piece of each row, (rows,) int64, as counted before bad rows are left out; it keys the
    deal to shards, so that it does not depend on how a reader batches. ``line``: where each row
    stands in its file, lines or rows from 1, for messages: (rows,) int64, or something that is
    indexed like it and counts lines only when somebody looks.
    """

    columns: dict[str, Numbers | Words]
    features: np.ndarray | Sparse | None
    number: np.ndarray
    line: np.ndarray


def select(rows: Rows, kept: np.ndarray) -> Rows:
    """The rows for which ``kept`` (rows,) is true."""
    columns = {name: Numbers(column.values[kept]) if isinstance(column, Numbers) else column.at(kept)
               for name, column in rows.columns.items()}
    features = rows.features
    if features is not None:
        features = features.at(kept) if isinstance(features, Sparse) else features[kept]
    return Rows(columns, features, rows.number[kept], rows.line[kept])


def pack(rows: Rows, names: list[str]) -> Rows:
    """The number columns ``names`` as one matrix (rows, len(names)) float64, and the others."""
    values = np.empty((len(rows.number), len(names)))
    for at, name in enumerate(names):
        values[:, at] = rows.columns[name].values
    others = {name: column for name, column in rows.columns.items() if name not in set(names)}
    return Rows(others, values, rows.number, rows.line)


@dataclass(frozen=True)
class Source:
    """What the driver found in the input before any job ran; the same for all pieces.

    ``format``: name of the format. ``columns``: name -> ``number`` or ``word``, in order, the
    target's, weight's and group's included. ``width``: number of matrix features, 0 if there are
    none. ``dtype``: type of matrix features as stored. ``options``: what else the reader needs to
    read every piece alike, as JSON (delimiter, first index, class folders, height and width);
    ``packed``, of any format: number columns that are taken together as the matrix.
    """

    format: str
    columns: dict[str, str] = field(default_factory=dict)
    width: int = 0
    dtype: str = "float64"
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """What one map task of a preparation reads: bytes (or rows) ``start`` to ``stop`` of a file.

    Pieces are properties of the files, never of cores: cut by size at fixed places, then moved to
    the next row. ``stop`` -1 is the end of the file.
    """

    piece: int
    path: str
    start: int
    stop: int
