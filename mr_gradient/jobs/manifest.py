"""The manifest: a text file with one line of JSON for each split, the input of a job."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields

from mr_gradient.dataset.schema import Dataset
from mr_gradient.errors import DataError


@dataclass(frozen=True)
class Split:
    """What one map task works on: rows ``start`` to ``stop`` of a shard.

    ``rows``, ``sha256`` and ``bytes`` are the shard's, ``part`` the part of the data set that it
    belongs to.
    Splits with ``gradient`` are numbered from 0 and come first in the numbering, since the tree of
    law 2 is over their numbers; the others give metrics only. ``before``: rows of the splits of its
    part before it.
    """

    split: int
    shard: str
    start: int
    stop: int
    rows: int
    sha256: str
    part: str
    gradient: bool
    before: int = 0
    bytes: int = 0

    @classmethod
    def parse(cls, line: str) -> Split:
        """From a line of the manifest; Hadoop's NLineInputFormat puts an offset and a tab first."""
        try:
            split = cls(**json.loads(line.rpartition("\t")[2]))
            for field in fields(cls):
                if type(getattr(split, field.name)).__name__ != field.type:
                    raise TypeError(f"{field.name} must be of type {field.type}")
            if not 0 <= split.start <= split.stop <= split.rows or split.split < 0:
                raise ValueError(f"rows {split.start} to {split.stop} of {split.rows}")
            return split
        except (ValueError, TypeError, RecursionError) as error:
            raise DataError(f"manifest line {line[:80]!r}: must be a split as JSON: {error}") from None

    @property
    def mapped_bytes(self) -> int:
        """Its share of the shard, which a task that has read it holds in memory."""
        return self.bytes * (self.stop - self.start) // max(1, self.rows)


def make_splits(dataset: Dataset, gradient: bool = True, rows_per_split: int = 0) -> list[Split]:
    """Splits of both parts of a data set; only training splits can give a gradient.

    A split is a shard, or at most ``rows_per_split`` rows of one. Held-out splits are spread evenly
    between the others, so that runners which cut the manifest into equal pieces balance the work.
    """
    splits: list[Split] = []
    keys: list[tuple] = []
    for part in ("train", "held_out"):
        first, before = len(splits), 0
        for shard in getattr(dataset, part):
            step = rows_per_split or max(1, shard.rows)
            for start in range(0, max(1, shard.rows), step):
                splits.append(Split(
                    len(splits), os.path.join(dataset.folder, shard.path), start,
                    min(start + step, shard.rows), shard.rows, shard.sha256, part,
                    gradient and part == "train", before, shard.bytes))
                before += splits[-1].stop - start
        count = len(splits) - first
        keys += [((i + 0.5) / count, first + i) for i in range(count)]
    return [splits[number] for _, number in sorted(keys)]


def to_lines(splits: list[Split]) -> bytes:
    return b"".join(json.dumps(asdict(split)).encode() + b"\n" for split in splits)
