"""Counts, extremes, means and squared deviations of many columns at once, mergeable.

Mean and M2 (the sum of squared deviations from the mean) by two passes over a block that fits the
cache, then by the pairwise update of Chan, Golub and LeVeque 1979, so that numbers like 1e9 plus
noise keep their variance. Sums and elementwise operations only, in a fixed order: the same bits on
every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.transforms.exact_json import (
    counts_from_json,
    flags_from_json,
    floats_from_json,
    floats_to_json,
    whole_from_json,
)

_COUNTS = ("missing", "infinite", "zeros")
_FLOATS = ("minimum", "maximum", "mean", "m2")
_BLOCK_VALUES = 1 << 16
#: Of columns that are counted one by one.
_BLOCK_BYTES = 1 << 22


@dataclass
class Moments:
    """Statistics of k columns over ``rows`` rows; every array is (k,).

    ``missing``, ``infinite``, ``zeros``: counts of values, int64; the other numbers are of the
    finite values. ``minimum``, ``maximum``: inf and -inf where there are none. ``whole``: whether
    all are whole. ``mean``, ``m2``: 0 where there are none.
    """

    rows: int
    missing: np.ndarray
    infinite: np.ndarray
    zeros: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray
    whole: np.ndarray
    mean: np.ndarray
    m2: np.ndarray

    @classmethod
    def empty(cls, k: int) -> Moments:
        return cls(0, *(np.zeros(k, np.int64) for _ in range(3)), np.full(k, np.inf),
                   np.full(k, -np.inf), np.ones(k, bool), np.zeros(k), np.zeros(k))

    @property
    def count(self) -> np.ndarray:
        """Finite values, (k,) int64."""
        return self.rows - self.missing - self.infinite

    def select(self, columns: list[int]) -> Moments:
        """The statistics of some of the columns."""
        return Moments(self.rows, *(getattr(self, name)[columns] for name in (
            *_COUNTS, "minimum", "maximum", "whole", "mean", "m2")))

    def merge(self, right: Moments) -> Moments:
        """The statistics of both; neither changes."""
        left_count, right_count = self.count, right.count
        count = np.maximum(left_count + right_count, 1)
        with np.errstate(all="ignore"):  # what is not finite is reported where it is used
            delta = right.mean - self.mean
            mean = self.mean + delta * (right_count / count)
            m2 = self.m2 + right.m2 + delta * delta * (left_count * (right_count / count))
        # Adding nothing changes nothing, not even by rounding.
        mean = np.where(left_count == 0, right.mean, np.where(right_count == 0, self.mean, mean))
        m2 = np.where(left_count == 0, right.m2, np.where(right_count == 0, self.m2, m2))
        return Moments(self.rows + right.rows, self.missing + right.missing,
                       self.infinite + right.infinite, self.zeros + right.zeros,
                       np.minimum(self.minimum, right.minimum),
                       np.maximum(self.maximum, right.maximum), self.whole & right.whole, mean, m2)

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "whole": self.whole.tolist(),
                **{name: getattr(self, name).tolist() for name in _COUNTS},
                **{name: floats_to_json(getattr(self, name)) for name in _FLOATS}}

    @classmethod
    def from_json(cls, value: Any, k: int) -> Moments:
        """Raises ``ValueError`` and its like for what ``to_json`` does not write."""
        moments = cls(rows=whole_from_json(value["rows"]), whole=flags_from_json(value["whole"], k),
                      **{name: counts_from_json(value[name], k) for name in _COUNTS},
                      **{name: floats_from_json(value[name], k) for name in _FLOATS})
        if k and (moments.count.min() < 0 or (moments.zeros > moments.count).any()):
            raise ValueError("more values than rows")
        return moments


class ColumnMoments:
    """Moments of k columns that come in batches, counted block by block of a fixed number of rows:
    the bits do not depend on where a reader ends its batches."""

    def __init__(self, start: Moments) -> None:
        """Go on from ``start``, in a new block."""
        self._counted = start
        k = len(start.mean)
        self._block = np.empty((k, min(max(_BLOCK_BYTES // (8 * max(k, 1)), 256), 8192)))
        self._filled = 0

    def add(self, columns: list[np.ndarray]) -> None:
        """Add a batch, (rows,) float64 each."""
        rows, at = len(columns[0]), 0
        while at < rows:
            taken = min(self._block.shape[1] - self._filled, rows - at)
            part = self._block[:, self._filled:self._filled + taken]
            for i, column in enumerate(columns):
                part[i] = column[at:at + taken]
            at += taken
            self._filled += taken
            if self._filled == self._block.shape[1]:
                self._counted, self._filled = self.moments(), 0

    def moments(self) -> Moments:
        """Of all rows until now."""
        if not self._filled:
            return self._counted
        return self._counted.merge(_of_rows(self._block[:, :self._filled]))


def of_matrix(matrix: np.ndarray) -> Moments:
    """Moments of the columns of a matrix (rows, width) of any real type."""
    rows, width = matrix.shape
    step = _rows_at_a_time(width)
    moments = Moments.empty(width)
    for start in range(0, rows, step):
        part = matrix[start:start + step]
        if width < 64:  # along long rows
            block = np.ascontiguousarray(part.T, np.float64)
            moments = moments.merge(_of_rows(block))
        else:
            moments = moments.merge(_of_columns(np.ascontiguousarray(part, np.float64)))
    return moments


def _rows_at_a_time(columns: int) -> int:
    """Rows of a block of 512 KiB; a function of the data alone, since it shows in the bits."""
    return min(max(_BLOCK_VALUES // max(columns, 1), 32), 8192)


def _of_rows(values: np.ndarray) -> Moments:
    """Moments of the rows of a block (k, n), float64, k and n at least 1.

    One after another, each stays in the first-level cache, and what is missing is taken out: this is
    twice as fast as all at once.
    """
    with np.errstate(all="ignore"):
        found = [_of_row(row) for row in values]
    return Moments(values.shape[1], *map(np.array, zip(*found)))


def _of_row(values: np.ndarray) -> tuple[int, int, int, float, float, bool, float, float]:
    """``Moments`` of one column, (n,), in the order of its fields, without ``rows``."""
    finite = np.isfinite(values)
    count, missing, infinite = np.count_nonzero(finite), 0, 0
    if count < len(values):
        missing = np.count_nonzero(np.isnan(values))
        infinite = len(values) - count - missing
        values = values[finite]
    if not count:
        return missing, infinite, 0, np.inf, -np.inf, True, 0.0, 0.0
    zeros = np.count_nonzero(values == 0.0)
    # 0.0 turns -0.0 into 0.0: which of the two comes out of min and max is the machine's.
    minimum, maximum = float(values.min()) + 0.0, float(values.max()) + 0.0
    whole = bool((np.rint(values) == values).all())
    if minimum == maximum:  # deviations that are rounding only would pass for a variance
        return missing, infinite, zeros, minimum, maximum, whole, minimum, 0.0
    mean = values.sum() / count
    deviation = values - mean
    lost = deviation.sum()  # what rounding the mean lost
    deviation *= deviation
    m2 = max(float(deviation.sum() - lost * lost / count), 0.0)
    return missing, infinite, zeros, minimum, maximum, whole, float(mean + lost / count) + 0.0, m2


def _of_columns(values: np.ndarray) -> Moments:
    """Moments of the columns of a block (n, k), float64, n at least 1."""
    rows = len(values)
    finite = np.isfinite(values)
    zeros = np.count_nonzero(values == 0.0, axis=0)
    if finite.all():
        count = np.full(len(zeros), rows)
        missing = np.zeros_like(count)
        bad = None
        minimum, maximum = values.min(0), values.max(0)
    else:
        count = np.count_nonzero(finite, axis=0)
        missing = np.count_nonzero(np.isnan(values), axis=0)
        bad = ~finite
        minimum = np.where(bad, np.inf, values).min(0)
        maximum = np.where(bad, -np.inf, values).max(0)
        values = np.where(bad, 0.0, values)
    divisor = np.maximum(count, 1)
    with np.errstate(all="ignore"):
        whole = (np.rint(values) == values).all(0)
        mean = values.sum(0) / divisor
        deviation = values - mean
        if bad is not None:
            deviation = np.where(bad, 0.0, deviation)
        lost = deviation.sum(0)
        deviation *= deviation
        m2 = np.maximum(deviation.sum(0) - lost * lost / divisor, 0.0)
        mean = mean + lost / divisor
    constant = minimum == maximum
    mean, m2 = np.where(constant, minimum, mean), np.where(constant, 0.0, m2)
    return Moments(rows, missing, rows - count - missing, zeros, minimum + 0.0, maximum + 0.0, whole,
                   mean + 0.0, m2)
