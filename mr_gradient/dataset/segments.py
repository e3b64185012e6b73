"""Segments: what one task of a preparation wrote of every shard, until the shards are put together.

A segment file holds the numbers of one shard after another, so that whoever puts a shard together
reads one range of it. Rows go from the batches into it with no copy in between. What it holds is in the
records alone: the file has no header.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from mr_gradient import tensors
from mr_gradient.dataset import csr
from mr_gradient.dataset.deal import Deal, Examples
from mr_gradient.dataset.schema import ShardInfo
from mr_gradient.dataset.stores import Hashed, Read, Span, Store

FOLDER = "segments"


@dataclass(frozen=True)
class Segment:
    """``rows`` of one shard begin at byte ``start`` of a segment file; sparse ones have ``stored``
    numbers."""

    file: str
    start: int
    rows: int
    stored: int = 0


@dataclass(frozen=True)
class _Field:
    """What lies of a shard in a segment: ``each`` numbers a row, or one a stored number if it is 0."""

    name: str
    dtype: np.dtype
    each: int

    def bytes_in(self, segment: Segment) -> int:
        return self.dtype.itemsize * (segment.rows * self.each if self.each else segment.stored)


def _fields(deal: Deal) -> list[_Field]:
    """In the order in which they lie there."""
    fields = [("y", deal.label_dtype, 1)] + [("weight", np.float32, 1)] * deal.weighted
    if deal.layout == "dense":
        fields.append(("x", deal.dtype, deal.width))
    else:
        fields += [("lengths", np.int64, 1), ("indices", csr.index_dtype(deal.width), 0),
                   ("values", deal.dtype, 0)]
    return [_Field(name, np.dtype(dtype), each) for name, dtype, each in fields]


def write_segment(store: Store, name: str, parts: list[Examples],
                  deal: Deal) -> list[tuple[int, Segment]]:
    """Write batches, each sorted by shard; returns where the rows of each shard lie."""
    shards = np.unique(np.concatenate([part.shard for part in parts]))
    # (parts, shards + 1): where each shard begins in each part.
    cuts = np.array([np.append(np.searchsorted(part.shard, shards), len(part.shard)) for part in parts])
    sparse = isinstance(parts[0].x, csr.CsrRows)
    stored = np.array([part.x.indptr[cut] if sparse else np.zeros_like(cut)
                       for part, cut in zip(parts, cuts)])
    arrays = {"y": [part.y for part in parts], "weight": [part.weight for part in parts]}
    if sparse:
        arrays |= {"lengths": [np.diff(part.x.indptr) for part in parts],
                   "indices": [part.x.indices for part in parts],
                   "values": [part.x.values for part in parts]}
    else:
        arrays["x"] = [part.x for part in parts]
    fields = _fields(deal)
    placed, buffers, start = [], [], 0
    for at, number in enumerate(shards.tolist()):
        rows, numbers = ((cut[:, at + 1] - cut[:, at]).sum() for cut in (cuts, stored))
        segment = Segment(f"{name}.segment", start, int(rows), int(numbers))
        for field in fields:
            ends = (cuts if field.each else stored)[:, at:at + 2].tolist()
            for array, (lo, hi) in zip(arrays[field.name], ends):
                if hi > lo:
                    buffers.append(_bytes_of(array[lo:hi], field))
            start += field.bytes_in(segment)
        placed.append((number, segment))
    store.write(f"{FOLDER}/{name}.segment", start, lambda: buffers)
    return placed


def _bytes_of(array: np.ndarray, field: _Field) -> memoryview:
    if array.dtype != field.dtype:
        raise TypeError(f"{field.name} must be {field.dtype}, found {array.dtype}")
    return memoryview(np.ascontiguousarray(array).reshape(-1)).cast("B")


def assemble(store: Store, name: str, segments: list[Segment], deal: Deal) -> ShardInfo:
    """Put a shard together from its segments, in their order, and write it to the file ``name``."""
    fields = _fields(deal)
    spans = [Span(f"{FOLDER}/{segment.file}", segment.start,
                  sum(field.bytes_in(segment) for field in fields)) for segment in segments]
    rows = sum(segment.rows for segment in segments)
    stored = sum(segment.stored for segment in segments)
    with store.near(spans) as read:
        sources = {field.name: partial(_read, read, segments, fields, field) for field in fields}
        dtypes = {field.name: field.dtype for field in fields}
        specs: dict[str, tuple] = {}
        metadata: dict[str, str] = {}
        if deal.layout == "dense":
            specs["x"] = (dtypes["x"], (rows, deal.width))
        else:
            lengths = np.frombuffer(b"".join(map(bytes, sources["lengths"]())), np.int64)
            indptr = np.zeros(rows + 1, np.int64)
            np.cumsum(lengths, out=indptr[1:])
            sources["indptr"] = lambda: iter([memoryview(indptr).cast("B")])
            specs = {"indptr": (indptr.dtype, indptr.shape), "indices": (dtypes["indices"], (stored,))}
            metadata = {"width": str(deal.width)}
            if all((np.frombuffer(block, dtypes["values"]) == 1).all()
                   for block in sources["values"]()):
                metadata["values"] = "ones"
            else:
                specs["values"] = (dtypes["values"], (stored,))
        specs |= {field.name: (field.dtype, (rows,)) for field in fields
                  if field.name in ("y", "weight")}
        head, offsets = tensors.header(specs, {**metadata, "scale": repr(deal.scale)})

        def chunks() -> Iterator[bytes | memoryview]:
            yield head
            for tensor in sorted(specs, key=offsets.get):
                yield from sources[tensor]()

        hashed = Hashed(chunks)
        store.write(name, len(head) + sum(dtype.itemsize * prod(shape)
                                          for dtype, shape in specs.values()), hashed)
    return ShardInfo(name, rows, hashed.bytes, hashed.sha256)


def _read(read: Read, segments: list[Segment], fields: list[_Field],
          field: _Field) -> Iterator[memoryview]:
    """One field of all segments."""
    for number, segment in enumerate(segments):
        start = sum(each.bytes_in(segment) for each in fields[:fields.index(field)])
        yield from read(number, start, field.bytes_in(segment))
