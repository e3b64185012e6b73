"""One iteration as a MapReduce job: splits in, one gradient sum for each parameter block out.

    python -m mr_gradient.jobs.gradient_job -r inline --params FILE MANIFEST

A mapper gets lines of the manifest, adds up loss and gradient over each split, adds the sums of
splits that are siblings in the tree of law 2, and emits a record a block and a summary a split.
The reducer adds what is left of each block in the order of the splits.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import mr_gradient.jobs  # noqa: F401  before mrjob and numpy: compatibility, one BLAS thread

# isort: split
import numpy as np
from mrjob.protocol import RawValueProtocol

from mr_gradient import fingerprint
from mr_gradient.dataset import node_cache
from mr_gradient.dataset.shards import Shard, open_shard
from mr_gradient.errors import DataError
from mr_gradient.jobs import broadcast, model_code, task_errors
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.jobs.manifest import Split
from mr_gradient.jobs.measure import measure
from mr_gradient.jobs.outputs import Outputs, Sums
from mr_gradient.jobs.protocol import SUMMARY, RecordProtocol
from mr_gradient.models.base import AtPoint, accumulate_chunks
from mr_gradient.partial_gradient import Node, SiblingSum, ordered_sum

#: What a generator is for: each has a stream of its own.
SAMPLE, DROPOUT, SHUFFLE = range(3)


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
        model_code.add_options(self)

    def mapper_init(self) -> None:
        if not self.options.params:
            raise DataError("--params: must name a parameter file, found nothing; "
                            "'mr-gradient train' writes one for each iteration")
        self._broadcast = broadcast.read(self.options.params, model_code.of_task(self.options))
        self._outputs = Outputs.of(self._broadcast.settings, self._broadcast.layout)
        self._sums = [SiblingSum() for _ in range(1 + self._outputs.hessian)]

    def mapper(self, _: None, line: bytes | str) -> Iterator[tuple[str, dict]]:
        started, fetched = time.perf_counter(), replace(node_cache.counts)
        split = Split.parse(line.decode() if isinstance(line, bytes) else line)
        self.place = f"split {split.split}"
        self.set_status(self.place)
        shard = self._open(split)
        opened = time.perf_counter()
        sums, emitted = self._add_split(split, shard)
        yield SUMMARY, {
            "split": split.split, "part": split.part, "sums": sums, "blocks": emitted,
            "read_seconds": opened - started, "compute_seconds": time.perf_counter() - opened,
            "bytes": (shard.x.nbytes // max(1, len(shard.y))) * (split.stop - split.start),
            "node_cache": node_cache.counts.since(fetched), "host": task_errors.node(),
            "fingerprint": fingerprint.describe()["digest"]}

    def _open(self, split: Split) -> Shard:
        """The split's shard, after a look at whether it is what the data set says."""
        shard = open_shard(split.shard, split.sha256, self.options.verify_shards,
                           not self.options.no_node_cache)
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

    def _add_split(self, split: Split, shard: Shard) -> tuple[list[dict], int]:
        """Sums of a split at each point, and how many blocks it touches."""
        with np.errstate(all="ignore"):  # what is not finite is found and reported by the driver
            if not split.gradient:
                return self._measure(split, shard), 0
            found, sums = self._train(split, shard)
        arrays = self._outputs.arrays(sums)
        touched = [np.zeros(len(self._outputs.blocks), np.int64) for _ in arrays]
        for number, block in enumerate(self._outputs.blocks):
            part = arrays[block.array][block.start:block.stop]
            if part.any():
                # Without negative zeros a block that is left out and a block of zeros add up alike.
                part += 0.0
                touched[block.array][number] = 1
        for sibling_sum, array, blocks in zip(self._sums, arrays, touched):
            sibling_sum.add(Node(split.split, 0, array, blocks))
        return found, int(sum(blocks.sum() for blocks in touched))

    def _train(self, split: Split, shard: Shard) -> tuple[list[dict], Sums]:
        """Gradient sums of a split: its metrics at each point, and what travels."""
        job, sums = self._broadcast, self._outputs.zeros()
        points = [AtPoint(parameters, gradient, hessian, self._generator(split, DROPOUT))
                  for parameters, gradient, hessian in zip_longest(
                      job.points, sums.gradients, sums.hessians)]
        chunks = (self._weighted(*chunk)
                  for chunk in self.heartbeat.during(self._chunks(split, shard), self.place))
        return accumulate_chunks(job.model, points, chunks), sums

    def _weighted(self, x: Any, y: np.ndarray, weight: np.ndarray | None) -> tuple:
        """A chunk of training examples with the weights of its classes."""
        if self._broadcast.settings.class_weights is None:
            return x, y, weight
        of_class = np.array(self._broadcast.settings.class_weights)[y]
        return x, y, of_class if weight is None else weight * of_class

    def _measure(self, split: Split, shard: Shard) -> list[dict]:
        """Sums of a split that gives no gradient; all metrics, of the first point, if wanted."""
        job = self._broadcast
        chunks = self.heartbeat.during(shard.chunks(
            split.start, split.stop, job.settings.rows_per_chunk, job.dtype), self.place)
        if job.settings.metrics:
            return [measure(job.settings, job.model, job.points[0], chunks)]
        return accumulate_chunks(job.model, [AtPoint(point) for point in self._measured()], chunks)

    def _measured(self) -> list[dict[str, np.ndarray]]:
        """The points that splits without a gradient look at."""
        return self._broadcast.points

    def _chunks(self, split: Split, shard: Shard) -> Iterator[tuple]:
        """The rows of a split, or those of them that are drawn in this iteration."""
        settings, dtype = self._broadcast.settings, self._broadcast.dtype
        if not settings.sample:
            return shard.chunks(split.start, split.stop, settings.rows_per_chunk, dtype)
        rows, count = split.stop - split.start, self._count(split)
        generator = self._generator(split, SAMPLE)
        drawn = split.start + np.sort(generator.choice(rows, count, replace=False, shuffle=False))
        return shard.chunks_of(drawn, settings.rows_per_chunk, dtype)

    def _count(self, split: Split) -> int:
        """How many of a split's rows are drawn.

        Systematic sampling (Madow 1949): all splits together give exactly as many as were asked for,
        and every row is drawn with the same probability.
        """
        settings = self._broadcast.settings
        wanted, of = settings.sample
        start = np.random.default_rng(np.random.SeedSequence(
            [settings.seed, settings.iteration])).integers(of)
        lo, hi = ((before * wanted + int(start)) // of
                  for before in (split.before, split.before + split.stop - split.start))
        return hi - lo

    def _generator(self, split: Split, purpose: int) -> np.random.Generator:
        settings = self._broadcast.settings
        return np.random.default_rng(np.random.SeedSequence(
            [settings.seed, settings.iteration, split.split, purpose]))

    def mapper_final(self) -> Iterator[tuple[int, Node]]:
        blocks = self._outputs.blocks
        for array, sibling_sum in enumerate(self._sums):
            for node in sibling_sum.nodes():
                for number in np.flatnonzero(node.splits).tolist():
                    if blocks[number].array == array:
                        part = node.values[blocks[number].start:blocks[number].stop]
                        yield number, replace(node, values=part, splits=int(node.splits[number]))

    def reducer(self, key: int | str, values: Iterator) -> Iterator[tuple]:
        if key == SUMMARY:
            for summary in values:
                yield SUMMARY, summary
        else:
            self.place = f"block {key}"
            yield key, ordered_sum(self.heartbeat.during(values, self.place))


if __name__ == "__main__":
    GradientJob.run()
