"""Preparation as MapReduce: one pass to count, one to write; a line of the manifest is a piece.

In the pass ``statistics`` a mapper counts its pieces, and the reducer merges what they found along
the binary tree by piece number (law 2). In the pass ``write`` a mapper turns its pieces into
features and deals the rows: it writes them, sorted by shard, to a segment file of a name of its own,
and tells the reducer of each shard where they lie; the reducer puts the shard together in the order
of the pieces, in a file of a name of its own, too. Only files that the engine's committed records name
are read, or become shards, so a task that is retried or runs twice harms nothing.
"""

from __future__ import annotations

import functools
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import mr_gradient.jobs  # noqa: F401  before mrjob and numpy: compatibility, one BLAS thread

# isort: split
from mrjob.protocol import JSONProtocol, RawValueProtocol

from mr_gradient import storage
from mr_gradient.dataset import formats
from mr_gradient.dataset.checks import Checks
from mr_gradient.dataset.columns import Piece, Rows, Source, pack
from mr_gradient.dataset.deal import Deal, held_hashes, row_keys
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.segments import Segment, assemble, write_segment
from mr_gradient.dataset.stores import store_at
from mr_gradient.dataset.strata import Strata
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.statistics import Measures, Statistics, column_of
from mr_gradient.errors import DataError
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.partial_gradient import TreeNode, ordered_sum

SUMMARY, STATISTICS, STRATA = "summary", "statistics", "strata"
#: Folder of the shards until they have their names.
ATTEMPTS = "attempts"
#: Rows of one segment; a piece that is compressed may hold many times as many.
_SEGMENT_BYTES = 64 * 1024 * 1024
_REPORT_SECONDS = 30.0


@dataclass
class Merged(TreeNode):
    """Statistics of a node of the tree over pieces."""

    value: Statistics = None

    def add_right(self, right: Merged) -> None:
        self.value = self.value.merge(right.value)
        self.climb(right)


@dataclass(frozen=True)
class PrepareSettings:
    """What every task of a preparation gets. ``measures``: in the pass ``statistics``; ``plan`` and
    ``deal``: in the pass ``write``; ``folder``: of the store of the data set in the making. ``fail``
    and ``max_bad_rows``: what becomes of bad rows, ``checks``: which others are bad. ``strata``: column
    and seed of a stratified deal, in the pass ``statistics``. ``known``: the classes are not those of
    this input, so that labels can be of none."""

    source: Source
    fail: bool
    max_bad_rows: int
    checks: Checks
    measures: dict | None = None
    plan: dict | None = None
    deal: Deal | None = None
    folder: str = ""
    strata: tuple[str, int] | None = None
    known: bool = False

    def save(self, path: str) -> None:
        storage.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str) -> PrepareSettings:
        value = storage.read_json(path, "the settings of a preparation")
        try:
            deal = value.pop("deal")
            return cls(**{**value, "source": Source(**value["source"]),
                          "checks": Checks.from_json(value["checks"]),
                          "deal": deal and Deal.from_json(deal)})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the settings of a preparation: {error!r}") from None


class PrepareJob(BaseJob):
    """See the module. Values begin with a number as text, by which a key's records are sorted."""

    INPUT_PROTOCOL = RawValueProtocol
    INTERNAL_PROTOCOL = JSONProtocol
    OUTPUT_PROTOCOL = JSONProtocol
    SORT_VALUES = True
    PACKAGES = (*BaseJob.PACKAGES, "fsspec", "s3fs", "pyarrow", "pillow", "scikit-learn")
    TASKS_PER_CORE = 4

    def add_options(self) -> None:
        self.add_file_arg("--settings", help="settings, as 'mr-gradient prepare' writes them")

    def mapper_init(self) -> None:
        self._reported = time.monotonic()
        self._settings = PrepareSettings.load(self.options.settings)
        if self._settings.plan:
            self._store = store_at(self._settings.folder)
            self._store.beat = self._report
            self._plan = Plan.from_json(self._settings.plan)

    reducer_init = mapper_init

    def mapper(self, _: None, line: bytes | str) -> Iterator[tuple[str, Any]]:
        piece = Piece(**json.loads((line.decode() if isinstance(line, bytes) else line)
                                   .rpartition("\t")[2]))
        bad = BadRows(self._settings.fail, self._settings.max_bad_rows)
        self.set_status(f"piece {piece.piece}")
        work = self._count if self._settings.plan is None else self._write
        rows = yield from work(piece, self._batches(piece, bad))
        yield SUMMARY, [f"{piece.piece:08d}", {
            "piece": piece.piece, "rows": rows, "bad": bad.count,
            "notes": sorted(bad.notes, key=itemgetter(1))}]

    def _report(self) -> None:
        """Tell the cluster now and then that this task works, or it would be killed after ten minutes:
        a compressed file is one piece, however long it is."""
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            self.set_status("working")

    def _batches(self, piece: Piece, bad: BadRows) -> Iterator[Rows]:
        """The good rows of a piece."""
        settings = self._settings
        known = self._plan.labels if settings.known else None
        packed = settings.source.options.get("packed")
        for batch in formats.get(settings.source.format).read(piece, settings.source, bad):
            self._report()
            rows = settings.checks.usable(batch, known, piece.path, bad)
            if len(rows.number):
                yield pack(rows, packed) if packed else rows

    def _count(self, piece: Piece, batches: Iterator[Rows]) -> Iterator[tuple[str, Any]]:
        """Statistics of a piece; returns its rows."""
        statistics, strata = Statistics(Measures.from_json(self._settings.measures)), Strata()
        for batch in batches:
            statistics.add(batch)
            if self._settings.strata:
                column, seed = self._settings.strata
                strata.add(column_of(batch, column), held_hashes(row_keys(piece.piece, batch), seed))
        yield STATISTICS, [f"{piece.piece:08d}", statistics.to_json()]
        if self._settings.strata:
            yield STRATA, [f"{piece.piece:08d}", strata.to_json()]
        return statistics.rows

    def _write(self, piece: Piece, batches: Iterator[Rows]) -> Iterator[tuple[str, Any]]:
        """Write a piece to segments and say where each shard's rows lie; returns its rows."""
        rows = 0
        for number, (held, count) in enumerate(self._segments(piece, batches)):
            rows += count
            for shard, segment in held:
                yield f"{shard:08d}", [f"{piece.piece:08d}.{number:06d}", asdict(segment)]
        return rows

    def _segments(self, piece: Piece, batches: Iterator[Rows]) -> Iterator[tuple[list, int]]:
        """Write segments of bounded size; yields (shard, where its rows lie) and rows of each."""
        settings, waiting, size, count = self._settings, [], 0, 0
        name = f"{piece.piece:08d}-{uuid.uuid4().hex}"  # of this attempt alone
        for batch in batches:
            try:
                part = settings.deal.examples(self._plan, piece.piece, batch)
            except DataError as error:
                raise DataError(f"{piece.path}, {error}") from None
            waiting.append(part)
            size += part.x.nbytes
            count += len(part.y)
            if size >= _SEGMENT_BYTES:
                yield write_segment(self._store, f"{name}-{count}", waiting, settings.deal), count
                waiting, size, count = [], 0, 0
        if waiting:
            yield write_segment(self._store, f"{name}-end", waiting, settings.deal), count

    def reducer(self, key: str, values: Iterator) -> Iterator[tuple[str, Any]]:
        if key == SUMMARY:
            for _, summary in values:
                yield SUMMARY, summary
        elif key == STATISTICS:
            node = ordered_sum(Merged(int(number), 0, Statistics.from_json(value))
                               for number, value in values)
            yield STATISTICS, node.value.to_json()
        elif key == STRATA:
            yield STRATA, functools.reduce(
                Strata.merge, (Strata.from_json(value) for _, value in values)).to_json()
        else:
            segments = [Segment(**value) for _, value in values]
            name = f"{ATTEMPTS}/{key}-{uuid.uuid4().hex}.safetensors"
            shard = assemble(self._store, name, segments, self._settings.deal)
            yield key, asdict(shard)


if __name__ == "__main__":
    PrepareJob.run()
