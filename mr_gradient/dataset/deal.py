"""Dealing rows: which shard a row goes to, and its features as the shard stores them.

A row is known by its piece and its number there, so the deal depends on the files and the seed
alone. Rows of one group are known by the group, and stay together.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Rows, Sparse, Words
from mr_gradient.dataset.strata import range_of
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.statistics import column_of
from mr_gradient.dataset.writer import uniform_hash
from mr_gradient.errors import DataError

#: A piece has fewer rows than this.
_ROWS_BITS = 40


@dataclass
class Examples:
    """Dealt rows: ``shard`` (n,) of each; ``x`` (n, width) array or scipy CSR; ``y``; ``weight``."""

    shard: np.ndarray
    x: Any
    y: np.ndarray
    weight: np.ndarray | None

    @property
    def nbytes(self) -> int:
        return self.x.nbytes if isinstance(self.x, np.ndarray) else self.x.data.nbytes * 2


@dataclass(frozen=True)
class Deal:
    """``shards`` for training, then ``held_shards``; ``test_fraction`` of the rows go to the latter.

    ``layout``, ``dtype``, ``label_dtype``: of the stored features and labels; ``width`` features.
    ``class_weights``: one a class, by which sample weights are multiplied, or None.
    ``held_ranges``: how many ranges of hashes of each class are held out (``strata``), or None.
    """

    seed: int
    test_fraction: float
    shards: int
    held_shards: int
    layout: str
    dtype: str
    label_dtype: str
    width: int
    scale: float = 1.0
    weighted: bool = False
    class_weights: tuple[float, ...] | None = None
    held_ranges: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, value: dict) -> Deal:
        lists = {name: value[name] and tuple(value[name]) for name in ("class_weights", "held_ranges")}
        return cls(**{**value, **lists})

    def to_json(self) -> dict:
        return asdict(self)

    def examples(self, plan: Plan, piece: int, rows: Rows) -> Examples:
        """Features, labels, weights and shards of a batch. Raises ``DataError`` on overflow."""
        x = self._features(plan, rows)
        labels = plan.target(rows)
        weight = plan.weight(rows)
        if self.class_weights is not None:
            factors = np.array(self.class_weights)[labels]
            weight = factors if weight is None else weight * factors
        with np.errstate(over="ignore"):
            y = labels.astype(self.label_dtype)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            raise DataError(f"target {plan.labels.column!r}: has numbers beyond {self.label_dtype}; "
                            "use --dtype float64")
        return Examples(self.shard_of(plan, piece, rows, labels), x, y,
                        None if weight is None else weight.astype(np.float32))

    def shard_of(self, plan: Plan, piece: int, rows: Rows, labels: np.ndarray) -> np.ndarray:
        """Shard of each row, (n,) int64: a hash of the row, or of its group."""
        key = row_keys(piece, rows)
        if plan.group_column is not None:
            key = _group_keys(rows, plan.group_column)
        if self.held_ranges is not None:
            held = range_of(held_hashes(key, self.seed)) < np.array(self.held_ranges)[labels]
        else:
            limit = np.uint64(min(int(self.test_fraction * 2**64), 2**64 - 1))
            held = held_hashes(key, self.seed) < limit
        hashes = uniform_hash(key, self.seed, 1)
        return np.where(held, self.shards + hashes % np.uint64(max(1, self.held_shards)),
                        hashes % np.uint64(self.shards)).astype(np.int64)

    def _features(self, plan: Plan, rows: Rows) -> Any:
        features = plan.apply(rows, np.float64 if self.dtype == "float64" else np.float32)
        dense = features.dense
        if dense is not None and dense.dtype != self.dtype:
            with np.errstate(over="ignore"):
                dense = dense.astype(self.dtype)
        if dense is not None and dense.dtype.kind == "f":
            wrong = ~np.isfinite(dense).all(axis=1)
            if wrong.any():
                raise DataError(f"line {rows.line[int(np.argmax(wrong))]}: has features that are not "
                                f"finite, or beyond {self.dtype}; use --dtype float64, or clip")
        if self.layout == "dense":
            if features.sparse is None:
                return dense
            filled = np.zeros((len(rows.number), features.sparse.width), self.dtype)
            row = np.repeat(np.arange(len(filled)), np.diff(features.sparse.indptr))
            filled[row, features.sparse.indices] = features.sparse.values
            return filled if dense is None else np.hstack([dense, filled])
        return _csr(dense, features.sparse, np.dtype(self.dtype))


def row_keys(piece: int, rows: Rows) -> np.ndarray:
    """64 bits that tell a row from all others of the input, (n,)."""
    return (np.uint64(piece) << np.uint64(_ROWS_BITS)) + rows.number.astype(np.uint64)


def held_hashes(keys: np.ndarray, seed: int) -> np.ndarray:
    """What decides whether a row is held out, (n,) uint64; small ones are."""
    return uniform_hash(keys, seed, 0)


def _csr(dense: np.ndarray | None, sparse: Sparse | None, dtype: np.dtype) -> Any:
    """One scipy CSR array of the dense features and, after them, the sparse ones."""
    from scipy.sparse import csr_array, hstack

    parts = []
    if dense is not None:
        parts.append(csr_array(dense))
    if sparse is not None:
        parts.append(csr_array((sparse.values.astype(dtype), sparse.indices, sparse.indptr),
                               shape=(len(sparse.indptr) - 1, sparse.width)))
    return parts[0] if len(parts) == 1 else hstack(parts, format="csr")


def _group_keys(rows: Rows, name: str) -> np.ndarray:
    """64 bits a row from its group's value; words are hashed once each."""
    column = column_of(rows, name)
    if isinstance(column, Words):
        if (column.codes < 0).any():
            raise DataError(f"line {rows.line[int(np.argmax(column.codes < 0))]}, group {name!r}: must "
                            "be there in every row, found it missing")
        keys = [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
                for word in column.words]
        return np.array(keys, np.uint64)[column.codes]
    return (column.values + 0.0).view(np.uint64)
