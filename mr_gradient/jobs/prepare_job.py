"""Preparation as MapReduce: one pass to count, one to write; a line of the manifest is a piece.

In the pass ``statistics`` a mapper counts its pieces, and the reducer merges what they found along
the binary tree by piece number (law 2). In the pass ``write`` a mapper turns its pieces into
features and deals the rows: it writes them, sorted by shard, to a segment file of a name of its own,
and tells the reducer of each shard where they lie; the reducer puts the shard together in the order
of the pieces. Only segments that the engine's committed records name are read, so a task that is
retried or runs twice harms nothing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import mr_gradient.jobs  # noqa: F401  before mrjob and numpy: compatibility, one BLAS thread

# isort: split
from mrjob.protocol import JSONProtocol, RawValueProtocol

from mr_gradient import storage
from mr_gradient.dataset import formats
from mr_gradient.dataset.columns import Piece, Rows, Source, pack
from mr_gradient.dataset.deal import Deal
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.segments import Segment, assemble, write_segment
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.statistics import Measures, Statistics
from mr_gradient.errors import DataError
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.partial_gradient import TreeNode, ordered_sum

SUMMARY, STATISTICS = "summary", "statistics"
#: Rows of one segment; a piece that is compressed may hold many times as many.
_SEGMENT_BYTES = 64 * 1024 * 1024


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
    ``deal``: in the pass ``write``; ``folder``: of the data set in the making. ``fail`` and
    ``max_bad_rows``: what becomes of bad rows."""

    source: Source
    fail: bool
    max_bad_rows: int
    measures: dict | None = None
    plan: dict | None = None
    deal: Deal | None = None
    folder: str = ""

    def save(self, path: str) -> None:
        storage.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str) -> PrepareSettings:
        value = storage.read_json(path, "the settings of a preparation")
        try:
            deal = value.pop("deal")
            return cls(**{**value, "source": Source(**value["source"]),
                          "deal": deal and Deal.from_json(deal)})
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the settings of a preparation: {error!r}") from None


class PrepareJob(BaseJob):
    """See the module. Values begin with a number as text, by which a key's records are sorted."""

    INPUT_PROTOCOL = RawValueProtocol
    INTERNAL_PROTOCOL = JSONProtocol
    OUTPUT_PROTOCOL = JSONProtocol
    SORT_VALUES = True

    def add_options(self) -> None:
        self.add_file_arg("--settings", help="settings, as 'mr-gradient prepare' writes them")

    def mapper_init(self) -> None:
        self._settings = PrepareSettings.load(self.options.settings)
        if self._settings.plan:
            self._plan = Plan.from_json(self._settings.plan)

    reducer_init = mapper_init

    def mapper(self, _: None, line: bytes | str) -> Iterator[tuple[str, Any]]:
        piece = Piece(**json.loads((line.decode() if isinstance(line, bytes) else line)
                                   .rpartition("\t")[2]))
        settings = self._settings
        bad = BadRows(settings.fail, settings.max_bad_rows)
        rows = formats.get(settings.source.format).read(piece, settings.source, bad)
        if packed := settings.source.options.get("packed"):
            rows = (pack(batch, packed) for batch in rows)
        counted = 0
        self.set_status(f"piece {piece.piece}")
        if settings.plan is None:
            statistics = Statistics(Measures.from_json(settings.measures))
            for batch in rows:
                statistics.add(batch)
            counted = statistics.rows
            yield STATISTICS, [f"{piece.piece:08d}", statistics.to_json()]
        else:
            for number, (held, count) in enumerate(self._segments(piece, rows)):
                counted += count
                for shard, segment in held:
                    yield f"{shard:08d}", [f"{piece.piece:08d}.{number:06d}", asdict(segment)]
        yield SUMMARY, [f"{piece.piece:08d}", {"piece": piece.piece, "rows": counted,
                                               "bad": bad.count, "notes": bad.notes}]

    def _segments(self, piece: Piece, batches: Iterator[Rows]) -> Iterator[tuple[list, int]]:
        """Write segments of bounded size; yields (shard, where its rows lie) and rows of each."""
        settings, waiting, size, count = self._settings, [], 0, 0
        name = f"{piece.piece:08d}-{uuid.uuid4().hex}"  # of this attempt alone
        for batch in batches:
            if not len(batch.number):
                continue
            part = settings.deal.examples(self._plan, piece.piece, batch)
            waiting.append(part)
            size += part.nbytes
            count += len(part.y)
            if size >= _SEGMENT_BYTES:
                yield write_segment(settings.folder, f"{name}-{count}", waiting), count
                waiting, size, count = [], 0, 0
        if waiting:
            yield write_segment(settings.folder, f"{name}-end", waiting), count

    def reducer(self, key: str, values: Iterator) -> Iterator[tuple[str, Any]]:
        if key == SUMMARY:
            for _, summary in values:
                yield SUMMARY, summary
        elif key == STATISTICS:
            node = ordered_sum(Merged(int(number), 0, Statistics.from_json(value))
                               for number, value in values)
            yield STATISTICS, node.value.to_json()
        else:
            segments = [Segment(**value) for _, value in values]
            shard = assemble(self._settings.folder, int(key), segments, self._settings.deal)
            yield key, asdict(shard)


if __name__ == "__main__":
    PrepareJob.run()
