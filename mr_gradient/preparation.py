"""The driver of a preparation: look at the input, count, fit the plan, write the shards.

Two jobs over the same pieces (``jobs/prepare_job.py``); between them the driver fits the plan of
transforms, which is kept with the data set and goes on into the model.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

from mr_gradient import storage
from mr_gradient.dataset.checks import Checks
from mr_gradient.dataset.columns import Piece, Source
from mr_gradient.dataset.deal import Deal
from mr_gradient.dataset.formats.discovery import find_inputs
from mr_gradient.dataset.formats.remote import end_threads
from mr_gradient.dataset.making import folder_at
from mr_gradient.dataset.schema import FILE, Dataset, Schema, ShardInfo
from mr_gradient.dataset.segments import FOLDER as SEGMENTS
from mr_gradient.dataset.segments import assemble
from mr_gradient.dataset.sizing import decide, decide_like, packed
from mr_gradient.dataset.stores import Store, store_at
from mr_gradient.dataset.strata import Strata
from mr_gradient.dataset.transforms.plan import Plan, make_plan
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import Statistics
from mr_gradient.dataset.upload import output_folder
from mr_gradient.dataset.uris import is_uri, local_path, without_file_scheme
from mr_gradient.dataset.writer import REJECTS, SHARD_BYTES, shard_path
from mr_gradient.errors import DataError, TaskError, UsageError
from mr_gradient.jobs.engines import Engine, Work
from mr_gradient.jobs.launch import elsewhere, launcher
from mr_gradient.jobs.prepare_job import (
    ATTEMPTS,
    STATISTICS,
    STRATA,
    SUMMARY,
    PrepareJob,
    PrepareSettings,
)
from mr_gradient.preparation_config import PreparationConfig
from mr_gradient.preparation_input import Before, check_visible, kept, look
from mr_gradient.progress import Progress, Silent

#: List of the input's files, in the folder in the making.
_LISTING = "listing"
#: What a mapper holds: a segment, and the batches of a reader; and a reducer, which merges statistics.
_MAP_BYTES, _REDUCE_BYTES = 192 << 20, 128 << 20


class Prepared(NamedTuple):
    """A data set that was written, the plan it was made by, and how many rows were left out."""

    dataset: Dataset
    plan: Plan
    bad_rows: int


def prepare(config: PreparationConfig, shown: Progress | None = None) -> Prepared:
    """Write the data set ``config.out``; it appears there only when it is whole.

    ``shown`` tells of the jobs on a cluster. Raises ``UsageError`` or ``DataError`` that names what is
    wrong with the options or the input.
    """
    shown = shown or Silent()
    config.check()
    out = without_file_scheme(config.out)
    if command := elsewhere(config.arguments):
        check_visible(config, command)
    place = folder_at if command and is_uri(out) else output_folder
    # Tasks run in folders of their own.
    paths = find_inputs([local_path(each) for each in config.inputs])
    before = Before.load(config.like) if config.like else None
    # So that it finds the jobs of a driver of the same data set that was killed.
    name = hashlib.sha256(f"prepare {out}".encode()).hexdigest()[:12] if is_uri(out) else ""
    with launcher(config.arguments, run=name) as jobs:
        jobs.engine.note = shown.note
        chosen, source = look(config, paths, jobs.scratch, before)
        with place(out, config.overwrite) as folder:
            store = store_at(folder)
            pieces = chosen.pieces(paths, source, config.piece_bytes)
            run = _Run(config, jobs.engine, jobs.scratch, store, pieces, shown)
            if command:
                source = _visible(source, store)
            if not pieces:
                raise run.no_rows()
            if before:
                plan, schema = before.plan, before.schema
                deal, rows = decide_like(schema, plan, config), None
                checks = config.checks_like(plan)
            else:
                source, checks, plan, schema, deal, rows = _fit(run, source)
            parts = run.write(source, checks, plan, deal, rows)
            for each in (SEGMENTS, ATTEMPTS, _LISTING):
                store.remove(each)
            store.sync(shard.path for shard in itertools.chain(*parts))
            options = {"inputs": [os.path.basename(path) for path in config.inputs],
                       "seed": config.seed, "test_fraction": config.test_fraction,
                       "bad_rows": run.bad_rows, "source": asdict(kept(source)),
                       "plan": plan.to_json()}
            data = storage.json_bytes(Dataset(folder, schema, *parts, options).to_json())
            store.write(FILE, len(data), lambda: [data])
            store.sync([FILE])
    folder = out.rstrip("/") if is_uri(out) else os.path.abspath(out)
    return Prepared(Dataset(folder, schema, *parts, options), plan, run.bad_rows)


def _visible(source: Source, store: Store) -> Source:
    """The source, whose list of files lies where every task can open it."""
    listing = source.options.get("listing")
    if listing is None:
        return source
    with open(listing, "rb") as file:
        data = file.read()
    store.write(_LISTING, len(data), lambda: [data])
    return replace(source, options={**source.options, "listing": f"{store.folder}/{_LISTING}"})


def _fit(run: _Run, source: Source) -> tuple[Source, Checks, Plan, Schema, Deal, int]:
    """Count, and fit the plan to what was counted; the last is how many rows there are."""
    config = run.config
    spec = config.transforms_for(source)
    checks = config.checks(source, spec)
    counted, strata, source = run.count(source, spec, checks)
    try:
        planned, statistics = packed(source, counted, spec, config.dtype)
        plan = make_plan(planned, statistics, spec)
        if config.stratify and plan.labels.kind != "class":
            raise UsageError("--stratify: the target must be of classes")
        schema, deal = decide(planned, statistics, plan, config, strata)
    except DataError as error:
        raise DataError(f"{config.inputs[0]}: {error}") from None
    # Tasks read the columns of the file, and pack them then.
    return replace(source, options=planned.options), checks, plan, schema, deal, counted.rows


@dataclass
class _Run:
    """The two jobs of a preparation."""

    config: PreparationConfig
    engine: Engine
    scratch: str
    store: Store
    pieces: list[Piece]
    shown: Progress
    bad_rows: int = 0

    def no_rows(self) -> DataError:
        left_out = f" beside {self.bad_rows} bad ones" if self.bad_rows else ""
        return DataError(f"{self.config.inputs[0]}: must have rows, found none{left_out}")

    def _settings(self, source: Source, checks: Checks, **of_pass: object) -> PrepareSettings:
        return PrepareSettings(source, self.config.on_bad_row == "fail", self.config.max_bad_rows,
                               checks, **of_pass)

    def _records(self, settings: PrepareSettings) -> dict[str, list]:
        """Run a job over the pieces; its records by key, the summaries checked."""
        path, manifest = (os.path.join(self.scratch, name) for name in ("settings", "pieces"))
        settings.save(path)
        with open(manifest, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(piece)) + "\n" for piece in self.pieces)
        end_threads()  # a process with threads does not fork for its tasks
        records: dict[str, list] = {}
        title, reducers = "statistics", 1
        if settings.deal:
            total = len(self.pieces) * self.config.piece_bytes
            shards = settings.deal.shards + settings.deal.held_shards
            title, reducers = "shards", min(shards, -(-total // SHARD_BYTES))
        self.engine.watch = lambda text: self.shown.job(f"{title}  {text}")
        work = Work(PrepareJob, manifest, {"--settings": path}, title=title,
                    reducers=reducers, map_bytes=_MAP_BYTES, reduce_bytes=_REDUCE_BYTES)
        for key, value in self.engine.run(work):
            records.setdefault(key, []).append(value)
        found = sorted(summary["piece"] for summary in records.get(SUMMARY, []))
        if found != list(range(len(self.pieces))):
            raise TaskError(f"every piece must report once; found {len(found)} of {len(self.pieces)}")
        self._rejects(records[SUMMARY])
        return records

    def count(self, source: Source, spec: Spec,
              checks: Checks) -> tuple[Statistics, Strata | None, Source]:
        """Statistics of all rows, hashes of each class if asked, the source with its width found."""
        measured = source
        unknown = source.format == "libsvm" and not source.width
        if unknown:
            measured = replace(source, width=2**31 - 1)
        strata = (spec.target, self.config.seed) if self.config.stratify else None
        records = self._records(self._settings(
            source, checks, measures=spec.measures(measured).to_json(), strata=strata))
        statistics = Statistics.from_json(records[STATISTICS][0])
        if not statistics.rows:
            raise self.no_rows()
        if unknown:
            source = replace(source, width=statistics.matrix.largest_index + 1)
            statistics.measures = spec.measures(source)
        return statistics, Strata.from_json(records[STRATA][0]) if strata else None, source

    def _rejects(self, summaries: list[dict]) -> None:
        """Write down the rows that were left out; both passes leave out the same ones."""
        self.bad_rows = sum(summary["bad"] for summary in summaries)
        if self.bad_rows > self.config.max_bad_rows:
            raise DataError(f"{self.bad_rows} bad rows, more than --max-bad-rows "
                            f"{self.config.max_bad_rows}")
        if self.bad_rows:
            keys = ("file", "line", "column", "value", "wrong")
            lines = [json.dumps(dict(zip(keys, note))).encode() + b"\n"
                     for summary in sorted(summaries, key=lambda each: each["piece"])
                     for note in summary["notes"]]
            self.store.write(REJECTS, sum(map(len, lines)), lambda: lines)

    def write(self, source: Source, checks: Checks, plan: Plan, deal: Deal,
              counted: int | None) -> tuple[tuple[ShardInfo, ...], tuple[ShardInfo, ...]]:
        """The shards of both parts, in order. ``counted``: rows of the first pass, if there was one."""
        records = self._records(self._settings(
            source, checks, plan=plan.to_json(), deal=deal, folder=self.store.folder,
            known=bool(self.config.like)))
        shards, names = [], {}
        for number in range(deal.shards + deal.held_shards):
            made = records.get(f"{number:08d}")
            if made is not None and len(made) != 1:
                raise TaskError(f"shard {number} came from {len(made)} reducers")
            shard = ShardInfo(**made[0]) if made else assemble(
                self.store, f"{ATTEMPTS}/{number:08d}-empty.safetensors", [], deal)
            names[shard.path] = shard_path(number)
            shards.append(replace(shard, path=shard_path(number)))
        rows = sum(shard.rows for shard in shards)
        if counted is not None and rows != counted:
            raise TaskError(f"the two passes read {counted} and {rows} rows; did the input change "
                            "meanwhile?")
        if not rows:
            raise self.no_rows()
        self._name(names, shards)
        parts = tuple(shards[:deal.shards]), tuple(shards[deal.shards:])
        if not sum(shard.rows for shard in parts[0]):
            raise DataError(f"--test-fraction {self.config.test_fraction}: leaves none of {rows} rows "
                            "for training")
        return parts

    def _name(self, names: dict[str, str], shards: list[ShardInfo]) -> None:
        """Give the shards that records name their final names, and see that they are whole."""
        folder = os.path.dirname(shards[0].path)
        self.store.make_folder(folder)
        self.store.move(names)
        found = self.store.files(folder)
        for shard in shards:
            if (size := found.get(os.path.basename(shard.path))) != shard.bytes:
                raise TaskError(f"{self.store.folder}/{shard.path}: must have {shard.bytes} bytes, "
                                f"found {size}")
