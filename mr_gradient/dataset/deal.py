"""Dealing rows: which shard a row goes to, and its features as the shard stores them.

A row is known by its piece and its number there, so the deal depends on the files and the seed
alone. Rows of one group are known by the group, and stay together.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

import numpy as np

from mr_gradient.dataset import csr
from mr_gradient.dataset.columns import Rows, Sparse, Words
from mr_gradient.dataset.csr import CsrRows
from mr_gradient.dataset.strata import range_of
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.statistics import column_of
from mr_gradient.dataset.writer import uniform_hash
from mr_gradient.errors import DataError

#: A piece has fewer rows than this.
_ROWS_BITS = 40


@dataclass
class Examples:
    """Dealt rows, sorted by ``shard`` (n,), in the file's order within each: ``x`` (n, width) array or
    CSR rows; ``y`` (n,); ``weight`` (n,) or None.

    Sorted batch by batch, rows are moved within the cache; sorting 64 MiB of them took 20 times as
    long.
    """

    shard: np.ndarray
    x: np.ndarray | CsrRows
    y: np.ndarray
    weight: np.ndarray | None


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
        labels = plan.target(rows)
        shard = self.shard_of(plan, piece, rows, labels)
        few = self.shards + self.held_shards <= 1 << 16
        order = np.argsort(shard.astype(np.uint16) if few else shard, kind="stable")
        x = self._features(plan, rows, order)
        weight = plan.weight(rows)
        if self.class_weights is not None:
            factors = np.array(self.class_weights)[labels]
            weight = factors if weight is None else weight * factors
        with np.errstate(over="ignore"):
            y = labels.astype(self.label_dtype)
        if y.dtype.kind == "f" and not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y)))
            raise DataError(f"line {rows.line[row]}, target {plan.labels.column!r}: must fit "
                            f"{self.label_dtype}, found {labels[row]:.6g}; use --dtype float64")
        return Examples(shard[order], x, y[order],
                        None if weight is None else weight.astype(np.float32)[order])

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

    def _features(self, plan: Plan, rows: Rows, order: np.ndarray) -> np.ndarray | CsrRows:
        """Features of the rows, put into ``order``."""
        features = plan.apply(rows, np.float64 if self.dtype == "float64" else np.float32)
        dense = features.dense
        if dense is not None and dense.dtype != self.dtype:
            with np.errstate(over="ignore"):
                dense = dense.astype(self.dtype)
        if dense is not None and dense.dtype.kind == "f":
            finite = np.isfinite(dense)
            if not finite.all():
                row, feature = map(int, np.argwhere(~finite)[0])
                advice = "--dtype float64, --numbers standardize, or clip in the transforms"
                name = plan.feature_names()[feature]
                raise DataError(f"line {rows.line[row]}, feature {name!r}: must fit {self.dtype}, "
                                f"found a larger number; use {advice}")
        dense = None if dense is None else dense[order]
        sparse = None if features.sparse is None else features.sparse.at(order)
        if self.layout == "dense":
            if sparse is None:
                return dense
            filled = np.zeros((len(order), sparse.width), self.dtype)
            row = np.repeat(np.arange(len(filled)), np.diff(sparse.indptr))
            filled[row, sparse.indices] = sparse.values
            return filled if dense is None else np.hstack([dense, filled])
        return _csr(dense, sparse, np.dtype(self.dtype))


def row_keys(piece: int, rows: Rows) -> np.ndarray:
    """64 bits that tell a row from all others of the input, (n,)."""
    return (np.uint64(piece) << np.uint64(_ROWS_BITS)) + rows.number.astype(np.uint64)


def held_hashes(keys: np.ndarray, seed: int) -> np.ndarray:
    """What decides whether a row is held out, (n,) uint64; small ones are."""
    return uniform_hash(keys, seed, 0)


def _csr(dense: np.ndarray | None, sparse: Sparse | None, dtype: np.dtype) -> CsrRows:
    """The dense features that are not 0 and, after them, the sparse ones."""
    before = 0 if dense is None else dense.shape[1]
    width = before + (0 if sparse is None else sparse.width)
    kind = csr.index_dtype(width)
    if dense is None:
        return CsrRows(sparse.indptr, sparse.indices.astype(kind, copy=False),
                       sparse.values.astype(dtype, copy=False), width)
    rows, stored = len(dense), dense != 0
    lengths = np.count_nonzero(stored, axis=1)
    indptr = np.zeros(rows + 1, np.int64)
    if sparse is None:
        np.cumsum(lengths, out=indptr[1:])
        return CsrRows(indptr, np.nonzero(stored)[1].astype(kind), dense[stored], width)
    others = np.diff(sparse.indptr)
    np.cumsum(lengths + others, out=indptr[1:])
    if rows and (others == others[0]).all():
        # As hashed columns give them, a table; it takes a third of the time.
        place = np.empty((rows, before + others[0]), kind)
        value = np.empty(place.shape, dtype)
        place[:, :before], value[:, :before] = np.arange(before), dense
        place[:, before:] = sparse.indices.reshape(rows, -1)
        place[:, before:] += kind.type(before)
        value[:, before:] = sparse.values.reshape(rows, -1)
        if stored.all():
            return CsrRows(indptr, place.reshape(-1), value.reshape(-1), width)
        kept = np.ones(place.shape, bool)
        kept[:, :before] = stored
        return CsrRows(indptr, place[kept], value[kept], width)
    place, value = np.empty(indptr[-1], kind), np.empty(indptr[-1], dtype)
    row, column = np.nonzero(stored)
    at = np.arange(len(row)) + sparse.indptr[row]
    place[at], value[at] = column, dense[stored]
    at = np.arange(len(sparse.indices)) + np.repeat(np.cumsum(lengths), others)
    place[at], value[at] = sparse.indices + before, sparse.values
    return CsrRows(indptr, place, value, width)


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
