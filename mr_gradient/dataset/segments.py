"""Segments: what one task of a preparation wrote of every shard, until the shards are put together."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.dataset import csr
from mr_gradient.dataset.deal import Deal, Examples
from mr_gradient.dataset.schema import ShardInfo
from mr_gradient.dataset.writer import write_shard

FOLDER = "segments"


@dataclass(frozen=True)
class Segment:
    """Rows ``start`` to ``stop`` of a segment file belong to one shard."""

    file: str
    start: int
    stop: int


def write_segment(folder: str, name: str, parts: list[Examples]) -> list[tuple[int, Segment]]:
    """Write rows sorted by shard; returns where the rows of each shard lie."""
    shard = np.concatenate([part.shard for part in parts])
    order = np.argsort(shard, kind="stable")
    x = _stacked([part.x for part in parts])[order]
    arrays = {"y": np.concatenate([part.y for part in parts])[order]}
    if parts[0].weight is not None:
        arrays["weight"] = np.concatenate([part.weight for part in parts])[order]
    if isinstance(x, np.ndarray):
        arrays["x"] = x
    else:
        arrays |= {"indptr": x.indptr.astype(np.int64),
                   "indices": x.indices.astype(csr.index_dtype(x.shape[1])), "values": x.data}
    path = os.path.join(folder, FOLDER, f"{name}.safetensors")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    storage.write_atomically(path, tensors.to_chunks(arrays), sync=False)
    numbers, starts = np.unique(shard[order], return_index=True)
    ends = [*starts[1:].tolist(), len(shard)]
    return [(number, Segment(os.path.basename(path), start, end))
            for number, start, end in zip(numbers.tolist(), starts.tolist(), ends)]


def assemble(folder: str, number: int, segments: list[Segment], deal: Deal) -> ShardInfo:
    """Put a shard together from its segments, in their order, and write it."""
    x, y, weight = [], [], []
    for segment in segments:
        arrays, _ = tensors.read(os.path.join(folder, FOLDER, segment.file))
        part = slice(segment.start, segment.stop)
        y.append(arrays["y"][part])
        if "weight" in arrays:
            weight.append(arrays["weight"][part])
        x.append(arrays["x"][part] if deal.layout == "dense" else _rows(arrays, part, deal.width))
    if not segments:
        x, y = [_nothing(deal)], [np.empty(0, deal.label_dtype)]
        weight = [np.empty(0, np.float32)] if deal.weighted else []
    return write_shard(folder, number, _stacked(x), np.concatenate(y),
                       np.concatenate(weight) if weight else None, deal.scale)


def _nothing(deal: Deal) -> Any:
    if deal.layout == "dense":
        return np.empty((0, deal.width), deal.dtype)
    from scipy.sparse import csr_array

    return csr_array((0, deal.width), dtype=deal.dtype)


def _rows(arrays: dict[str, np.ndarray], part: slice, width: int) -> Any:
    from scipy.sparse import csr_array

    indptr = arrays["indptr"][part.start:part.stop + 1]
    values = slice(int(indptr[0]), int(indptr[-1]))
    return csr_array((arrays["values"][values], arrays["indices"][values], indptr - indptr[0]),
                     shape=(part.stop - part.start, width))


def _stacked(parts: list) -> Any:
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    from scipy.sparse import vstack

    return vstack(parts, format="csr")
