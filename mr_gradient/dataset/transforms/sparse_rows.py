"""CSR parts side by side, and from entries in any order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mr_gradient.dataset.columns import Sparse


def one_a_row(index: np.ndarray, value: np.ndarray, width: int) -> Sparse:
    """Row i holds ``value[i]`` at ``index[i]``, or nothing where the index is -1; both (rows,)."""
    some = index >= 0
    if some.all():
        return Sparse(np.arange(len(index) + 1), index, value, width)
    indptr = np.zeros(len(index) + 1, np.int64)
    np.cumsum(some, out=indptr[1:])
    return Sparse(indptr, index[some], value[some], width)


def beside(parts: Sequence[Sparse], rows: int) -> Sparse:
    """The parts' columns one after another; every part has ``rows`` rows."""
    if len(parts) == 1:
        return parts[0]
    indptr = np.sum([part.indptr for part in parts], axis=0)
    indices = np.empty(indptr[-1], np.int64)
    values = np.empty(indptr[-1])
    free, width = indptr[:-1].copy(), 0
    for part in parts:
        counts = np.diff(part.indptr)
        if len(part.indices) == rows and (counts == 1).all():
            at = free
        else:
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
