"""Segments: what one task of a preparation wrote of every shard, until the shards are put together.

A segment file holds the rows of each shard together. Rows go from the batches into it, and from there
into the shards, with no copy in between.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.dataset import csr
from mr_gradient.dataset.deal import Deal, Examples
from mr_gradient.dataset.schema import ShardInfo
from mr_gradient.dataset.writer import write_tensors

FOLDER = "segments"


@dataclass(frozen=True)
class Segment:
    """Rows ``start`` to ``stop`` of a segment file belong to one shard; so do, of sparse rows, the
    stored numbers ``first`` to ``last``."""

    file: str
    start: int
    stop: int
    first: int = 0
    last: int = 0


def write_segment(folder: str, name: str, parts: list[Examples]) -> list[tuple[int, Segment]]:
    """Write batches, each sorted by shard; returns where the rows of each shard lie."""
    shards = np.unique(np.concatenate([part.shard for part in parts]))
    # (parts, shards + 1): where each shard begins in each part.
    cuts = [np.append(np.searchsorted(part.shard, shards), len(part.shard)) for part in parts]
    sparse = isinstance(parts[0].x, csr.CsrRows)
    stored = [part.x.indptr[cut] if sparse else np.zeros_like(cut) for part, cut in zip(parts, cuts)]

    def dealt(arrays: list[np.ndarray], cuts: list[np.ndarray]) -> list[np.ndarray]:
        return [array[cut[at]:cut[at + 1]] for at in range(len(shards))
                for array, cut in zip(arrays, cuts)]

    arrays = {"y": dealt([part.y for part in parts], cuts)}
    if parts[0].weight is not None:
        arrays["weight"] = dealt([part.weight for part in parts], cuts)
    if sparse:
        arrays |= {"lengths": dealt([np.diff(part.x.indptr) for part in parts], cuts),
                   "indices": dealt([part.x.indices for part in parts], stored),
                   "values": dealt([part.x.values for part in parts], stored)}
    else:
        arrays["x"] = dealt([part.x for part in parts], cuts)
    path = os.path.join(folder, FOLDER, f"{name}.safetensors")
    storage.make_below(path)
    storage.write_atomically(path, tensors.to_chunks(arrays), sync=False)
    ends = (np.sum(each, axis=0) - sum(cut[0] for cut in each) for each in (cuts, stored))
    rows, numbers = (end.tolist() for end in ends)
    return [(number, Segment(os.path.basename(path), *rows[at:at + 2], *numbers[at:at + 2]))
            for at, number in enumerate(shards.tolist())]


def assemble(folder: str, number: int, segments: list[Segment], deal: Deal) -> ShardInfo:
    """Put a shard together from its segments, in their order, and write it."""
    files = [tensors.read(os.path.join(folder, FOLDER, segment.file))[0] for segment in segments]

    def joined(name: str, stored: bool = False) -> list[np.ndarray]:
        return [file[name][segment.first:segment.last] if stored
                else file[name][segment.start:segment.stop] for file, segment in zip(files, segments)]

    arrays: dict[str, np.ndarray | list[np.ndarray]] = {}
    metadata: dict[str, str] = {}
    if deal.layout == "dense":
        arrays["x"] = joined("x") or np.empty((0, deal.width), deal.dtype)
    else:
        lengths = np.concatenate([np.zeros(1, np.int64), *joined("lengths")])
        arrays["indptr"] = np.cumsum(lengths)
        arrays["indices"] = joined("indices", True) or np.empty(0, csr.index_dtype(deal.width))
        metadata = {"width": str(deal.width)}
        values = joined("values", True)
        if all((part == 1).all() for part in values):
            metadata["values"] = "ones"
        else:
            arrays["values"] = values
    arrays["y"] = joined("y") or np.empty(0, deal.label_dtype)
    if deal.weighted:
        arrays["weight"] = joined("weight") or np.empty(0, np.float32)
    return write_tensors(folder, number, arrays, {**metadata, "scale": repr(deal.scale)},
                         sum(segment.stop - segment.start for segment in segments), sync=False)
