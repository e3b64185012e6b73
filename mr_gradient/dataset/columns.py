"""Rows between a reader and the transforms: numpy arrays only, whatever library parsed the file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Numbers:
    """A numeric column: ``values`` (rows,) float64, NaN where the value is missing."""

    values: np.ndarray


@dataclass
class Words:
    """A text column: row i holds ``words[codes[i]]``; code -1 where the value is missing.

    ``codes`` (rows,) int32; ``words`` are distinct. Transforms work on the words, not on the rows.
    """

    codes: np.ndarray
    words: list[str]


@dataclass
class Sparse:
    """Features of rows as CSR: row i has ``values[indptr[i]:indptr[i + 1]]`` at ``indices[...]``.

    ``indptr`` (rows + 1,) int64; ``indices`` int64, rising within a row; ``values`` float64.
    """

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    width: int


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
    columns = {name: Numbers(column.values[kept]) if isinstance(column, Numbers)
               else Words(column.codes[kept], column.words) for name, column in rows.columns.items()}
    features = rows.features
    if isinstance(features, Sparse):
        lengths = np.diff(features.indptr)
        values = np.repeat(kept, lengths)
        indptr = np.concatenate(([0], np.cumsum(lengths[kept])))
        features = Sparse(indptr, features.indices[values], features.values[values], features.width)
    elif features is not None:
        features = features[kept]
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
