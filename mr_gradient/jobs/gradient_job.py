"""One iteration as a MapReduce job: splits in, one gradient sum for each parameter block out.

    python -m mr_gradient.jobs.gradient_job -r inline --params FILE MANIFEST

A mapper gets lines of the manifest, adds up loss and gradient over each split, adds the sums of
splits that are siblings in the tree of law 2, and emits a record a block and a summary a split.
The reducer adds what is left of each block in the order of the splits.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import mr_gradient.jobs  # noqa: F401  before mrjob and numpy: compatibility, one BLAS thread

# isort: split
import numpy as np
from mrjob.protocol import RawValueProtocol

from mr_gradient import fingerprint
from mr_gradient.dataset.shards import Shard, open_shard
from mr_gradient.errors import DataError
from mr_gradient.jobs import broadcast
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.jobs.manifest import Split
from mr_gradient.jobs.protocol import SUMMARY, RecordProtocol
from mr_gradient.models.base import accumulate_chunks
from mr_gradient.partial_gradient import Node, SiblingSum, ordered_sum


class GradientJob(BaseJob):
    """See the module. ``SORT_VALUES``: a reducer reads the records of a block in split order."""

    INPUT_PROTOCOL = RawValueProtocol
    INTERNAL_PROTOCOL = RecordProtocol
    OUTPUT_PROTOCOL = RecordProtocol
    SORT_VALUES = True

    def add_options(self) -> None:
        self.add_file_arg("--params", help="parameters and settings, as the driver writes them")
        self.add_passthru_arg("--verify-shards", action="store_true", default=False,
                              help="compare every shard with its checksum")

    def mapper_init(self) -> None:
        if not self.options.params:
            raise DataError("--params: must name a parameter file, found nothing; "
                            "'mr-gradient train' writes one for each iteration")
        self._broadcast = broadcast.read(self.options.params)
        self._blocks = self._broadcast.layout.blocks(self._broadcast.settings.block_bytes,
                                                     self._broadcast.dtype.itemsize)
        self._sums = SiblingSum()

    def mapper(self, _: None, line: bytes | str) -> Iterator[tuple[str, dict]]:
        started = time.perf_counter()
        split = Split.parse(line.decode() if isinstance(line, bytes) else line)
        shard = self._open(split)
        opened = time.perf_counter()
        self.set_status(f"split {split.split}")
        sums, emitted = self._add_split(split, shard)
        yield SUMMARY, {
            "split": split.split, "part": split.part, "sums": sums, "blocks": emitted,
            "read_seconds": opened - started, "compute_seconds": time.perf_counter() - opened,
            "bytes": (shard.x.nbytes // max(1, len(shard.y))) * (split.stop - split.start),
            "host": socket.gethostname(), "fingerprint": fingerprint.describe()["digest"]}

    def _open(self, split: Split) -> Shard:
        """The split's shard, after a look at whether it is what the data set says."""
        shard = open_shard(split.shard, split.sha256, self.options.verify_shards)
        settings = self._broadcast.settings
        if shard.x.shape != (split.rows, settings.features):
            raise DataError(f"shard {split.shard}: must have {split.rows} rows of "
                            f"{settings.features} features, as the data set says, found "
                            f"{shard.x.shape}; prepare the data set again")
        if self.options.verify_shards and settings.classes and split.rows:
            low, high = int(shard.y.min()), int(shard.y.max())
            if low < 0 or high >= settings.classes:
                raise DataError(f"shard {split.shard}: labels must be classes 0 to "
                                f"{settings.classes - 1}, found {low} to {high}; prepare the data "
                                "set again")
        return shard

    def _add_split(self, split: Split, shard: Shard) -> tuple[dict, int]:
        """Sums of a split, and how many blocks its gradient touches."""
        job = self._broadcast
        flat = np.zeros(job.layout.size, job.dtype) if split.gradient else None
        gradient = None if flat is None else job.layout.views(flat)
        chunks = shard.chunks(split.start, split.stop, job.settings.rows_per_chunk, job.dtype)
        with np.errstate(all="ignore"):  # what is not finite is found and reported by the driver
            sums = accumulate_chunks(job.model, job.parameters, chunks, gradient)
        if flat is None:
            return sums, 0
        touched = np.zeros(len(self._blocks), np.int64)
        for number, block in enumerate(self._blocks):
            part = flat[block.start:block.stop]
            if part.any():
                # Without negative zeros a block that is left out and a block of zeros add up alike.
                part += 0.0
                touched[number] = 1
        self._sums.add(Node(split.split, 0, flat, touched))
        return sums, int(touched.sum())

    def mapper_final(self) -> Iterator[tuple[int, Node]]:
        for node in self._sums.nodes():
            for number in np.flatnonzero(node.splits).tolist():
                block = self._blocks[number]
                yield number, replace(node, values=node.values[block.start:block.stop],
                                      splits=int(node.splits[number]))

    def reducer(self, key: int | str, values: Iterator) -> Iterator[tuple]:
        if key == SUMMARY:
            for summary in values:
                yield SUMMARY, summary
        else:
            yield key, ordered_sum(values)


if __name__ == "__main__":
    GradientJob.run()
