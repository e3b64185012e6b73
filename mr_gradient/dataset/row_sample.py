"""Rows of the training part that fit the memory: all of a small data set, evenly spread ones else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mr_gradient.dataset import csr
from mr_gradient.dataset.schema import Dataset, ShardInfo
from mr_gradient.dataset.shards import Shard, open_shard
from mr_gradient.errors import DataError

#: Features of a sample fill about so much; looking at them then takes less than a second.
SAMPLE_BYTES = 32 * 1024 * 1024
#: A sample of a part is so many runs of rows: what lies beside each other in a file may be alike.
_RUNS = 64
#: Numbers of one block: as float64 they stay in the cache.
_BLOCK = 1 << 17


@dataclass
class RowSample:
    """``x`` (rows, width) as stored, an array or CSR rows, and ``y`` (rows,)."""

    x: np.ndarray | csr.CsrRows
    y: np.ndarray

    @property
    def rows(self) -> int:
        return len(self.y)

    def blocks(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Features ``start`` to ``stop``, (n, stop - start) float64, some rows at a time."""
        step = max(1, _BLOCK // max(1, stop - start))
        for lo in range(0, self.rows, step):
            hi = min(lo + step, self.rows)
            if isinstance(self.x, np.ndarray):
                yield self.x[lo:hi, start:stop].astype(np.float64)
                continue
            entries = slice(int(self.x.indptr[lo]), int(self.x.indptr[hi]))
            row = np.repeat(np.arange(hi - lo), np.diff(self.x.indptr[lo:hi + 1]))
            feature = self.x.indices[entries]
            inside = (feature >= start) & (feature < stop)
            block = np.zeros((hi - lo, stop - start))
            values = 1.0 if self.x.values is None else self.x.values[entries][inside]
            block[row[inside], feature[inside] - start] = values
            yield block

    def stored(self) -> Iterator[np.ndarray]:
        """All stored numbers, (n, 1) float64, some at a time: of sparse rows, those that are not 0, and
        one for all where they are ones."""
        if isinstance(self.x, np.ndarray):
            for block in self.blocks(0, self.x.shape[1]):
                yield block.reshape(-1, 1)
        elif self.x.values is None:
            yield from [np.ones((1, 1))] if len(self.x.indices) else []
        else:
            for lo in range(0, len(self.x.values), _BLOCK):
                yield self.x.values[lo:lo + _BLOCK, None].astype(np.float64)

    def filled(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Those of the features ``start`` to ``stop`` that any row has, counted from ``start``, and how
        many rows have each."""
        if isinstance(self.x, np.ndarray):
            counts = np.count_nonzero(self.x[:, start:stop], axis=0)
            features = np.flatnonzero(counts)
            return features, counts[features]
        features, counts = self._entries
        part = slice(*np.searchsorted(features, [start, stop]))
        return features[part] - start, counts[part]

    @cached_property
    def _entries(self) -> tuple[np.ndarray, np.ndarray]:
        return np.unique(self.x.indices, return_counts=True)


def open_checked(dataset: Dataset, info: ShardInfo) -> Shard:
    """A shard of a data set. Raises ``DataError`` if it has other rows or features than it must."""
    shard = open_shard(os.path.join(dataset.folder, info.path), info.sha256)
    if shard.x.shape != (info.rows, dataset.schema.width):
        raise DataError(f"shard {shard.path}: must have {info.rows} rows of {dataset.schema.width} "
                        f"features, found {shard.x.shape[0]} of {shard.x.shape[1]}; prepare the data "
                        "set again")
    return shard


def take_sample(dataset: Dataset, most_bytes: int = SAMPLE_BYTES) -> RowSample:
    """Rows of the training part, of about ``most_bytes``, the same ones each time."""
    schema, total = dataset.schema, dataset.rows("train")
    if schema.layout == "csr":
        row_bytes = schema.nonzeros * (csr.index_dtype(schema.width).itemsize + 4)
    else:
        row_bytes = schema.width * np.dtype(schema.dtype).itemsize
    runs = _runs(total, min(total, max(1, most_bytes // max(1, row_bytes))))
    parts, before = [], 0
    for info in dataset.train:
        inside = [(max(lo - before, 0), min(hi - before, info.rows)) for lo, hi in runs]
        inside = [(lo, hi) for lo, hi in inside if lo < hi]
        before += info.rows
        if inside:
            shard = open_checked(dataset, info)
            parts += [(_rows(shard.x, lo, hi), shard.y[lo:hi]) for lo, hi in inside]
    if not parts:
        shard = open_checked(dataset, dataset.train[0])
        return RowSample(shard.x, shard.y)
    return RowSample(_joined([x for x, _ in parts]), np.concatenate([y for _, y in parts]))


def _runs(total: int, wanted: int) -> list[tuple[int, int]]:
    """``wanted`` of ``total`` rows as half-open ranges, evenly spread; all of them as one range."""
    if wanted == total:
        return [(0, total)]
    count = min(_RUNS, wanted)
    starts = [total * i // count for i in range(count)]
    return [(start, start + wanted // count) for start in starts]


def _rows(x: np.ndarray | csr.CsrRows, lo: int, hi: int) -> np.ndarray | csr.CsrRows:
    if isinstance(x, np.ndarray):
        return x[lo:hi]
    entries = slice(int(x.indptr[lo]), int(x.indptr[hi]))
    return csr.CsrRows(x.indptr[lo:hi + 1] - x.indptr[lo], x.indices[entries],
                       None if x.values is None else x.values[entries], x.width)


def _joined(parts: list) -> np.ndarray | csr.CsrRows:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    sizes = np.concatenate([np.diff(part.indptr) for part in parts])
    values = None
    if any(part.values is not None for part in parts):  # a shard of ones alone leaves them out
        values = np.concatenate([np.ones(len(part.indices), np.float32) if part.values is None
                                 else part.values for part in parts])
    return csr.CsrRows(np.append(0, np.cumsum(sizes)), np.concatenate([p.indices for p in parts]),
                       values, parts[0].width)
