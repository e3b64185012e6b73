"""CSR parts side by side, and from entries in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Sparse
from mr_gradient.dataset.csr import index_dtype


def one_a_row(index: np.ndarray, value: np.ndarray, width: int) -> Sparse:
    """Row i holds ``value[i]`` at ``index[i]``, or nothing where the index is -1; both (rows,)."""
    some = index >= 0
    if some.all():
        return Sparse(np.arange(len(index) + 1), index, value, width)
    indptr = np.zeros(len(index) + 1, np.int64)
    np.cumsum(some, out=indptr[1:])
    return Sparse(indptr, index[some], value[some], width)


def beside(parts: Sequence[Sparse], rows: int, dtype: Any = np.float64) -> Sparse:
    """The parts' columns one after another, values in ``dtype``; every part has ``rows`` rows."""
    if len(parts) == 1:
        part = parts[0]
        return Sparse(part.indptr, part.indices, part.values.astype(dtype, copy=False), part.width)
    kind = index_dtype(sum(part.width for part in parts))
    if all(len(part.indices) == rows and (np.diff(part.indptr) == 1).all() for part in parts):
        # As hashed columns are: a table of rows.
        indices, values = np.empty((rows, len(parts)), kind), np.empty((rows, len(parts)), dtype)
        width = 0
        for at, part in enumerate(parts):
            np.add(part.indices, width, out=indices[:, at], casting="same_kind")
            values[:, at] = part.values
            width += part.width
        indptr = np.arange(0, indices.size + 1, len(parts))
        return Sparse(indptr, indices.reshape(-1), values.reshape(-1), width)
    indptr = np.sum([part.indptr for part in parts], axis=0)
    indices, values = np.empty(indptr[-1], kind), np.empty(indptr[-1], dtype)
    free, width = indptr[:-1].copy(), 0
    for part in parts:
        counts = np.diff(part.indptr)
        at = np.repeat(free - part.indptr[:-1], counts) + np.arange(len(part.indices))
        indices[at] = part.indices + width
        values[at] = part.values
        free = free + counts
        width += part.width
    return Sparse(indptr, indices, values, width)


def from_entries(row: np.ndarray, index: np.ndarray, value: np.ndarray, rows: int,
                 width: int) -> Sparse:
    """Entries in any order; those of the same place are added, and left out where they cancel.

    The values must be whole numbers, so that the order of the sum does not show.
    """
    key = row * width + index
    places, inverse = np.unique(key, return_inverse=True)
    sums = np.bincount(inverse, weights=value, minlength=len(places))
    places, sums = places[sums != 0], sums[sums != 0]
    indptr = np.zeros(rows + 1, np.int64)
    np.cumsum(np.bincount(places // width, minlength=rows), out=indptr[1:])
    return Sparse(indptr, places % width, sums, width)
