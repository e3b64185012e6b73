"""The driver of a preparation: look at the files, count, fit the plan, write the shards.

Two jobs over the same pieces (``jobs/prepare_job.py``); between them the driver fits the plan of
transforms, which is kept with the data set and goes on into the model.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from mr_gradient import model_folder
from mr_gradient.dataset.columns import Piece, Source
from mr_gradient.dataset.csr import mean_nonzeros
from mr_gradient.dataset.deal import Deal
from mr_gradient.dataset.formats.base import PIECE_BYTES
from mr_gradient.dataset.formats.discovery import choose_format, find_inputs
from mr_gradient.dataset.schema import Dataset, Schema, ShardInfo, is_dataset, open_dataset
from mr_gradient.dataset.segments import FOLDER as SEGMENTS
from mr_gradient.dataset.segments import assemble
from mr_gradient.dataset.transforms.plan import Plan, make_plan
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import Series, Statistics
from mr_gradient.dataset.writer import (
    DENSITY_THRESHOLD,
    MIN_SHARDS,
    SHARD_BYTES,
    new_folder,
    number_of_shards,
)
from mr_gradient.errors import DataError, TaskError, UsageError
from mr_gradient.jobs.launch import launcher, run_job
from mr_gradient.jobs.prepare_job import STATISTICS, SUMMARY, PrepareJob, PrepareSettings

_USUAL_TARGETS = ("label", "target", "class", "y")
REJECTS = "rejects.jsonl"
_MAX_SHARDS = 100_000
#: So many whole-number columns from 0 to 255, and nothing else, are an image in a table.
_IMAGE_COLUMNS = 16


@dataclass(frozen=True)
class PreparationConfig:
    """What ``mr-gradient prepare`` is asked for. ``spec``: of the transforms, as a dictionary."""

    inputs: list[str]
    out: str
    format: str | None = None
    spec: dict = field(default_factory=dict)
    format_options: dict = field(default_factory=dict)
    test_fraction: float = 0.0
    shards: int = 0
    seed: int = 0
    dtype: str = "auto"
    layout: str = "auto"
    class_weight: str = ""
    on_bad_row: str = "fail"
    max_bad_rows: int = 0
    overwrite: bool = False
    like: str = ""
    arguments: list[str] = field(default_factory=list)
    piece_bytes: int = PIECE_BYTES

    def check(self) -> None:
        """Raises ``UsageError`` for a value that is out of its range."""
        if not 0 <= self.test_fraction < 1:
            raise UsageError(f"--test-fraction {self.test_fraction}: must be at least 0 and below 1")
        for name, value in (("--shards", self.shards), ("--seed", self.seed),
                            ("--max-bad-rows", self.max_bad_rows)):
            if value < 0:
                raise UsageError(f"{name} {value}: must be at least 0")
        if self.shards > _MAX_SHARDS:
            raise UsageError(f"--shards {self.shards}: must be at most {_MAX_SHARDS}")


def prepare(config: PreparationConfig) -> tuple[Dataset, Plan]:
    """Write the data set ``config.out``; it appears there only when it is whole."""
    config.check()
    # Tasks run in folders of their own.
    paths = find_inputs([each if "://" in each else os.path.abspath(each) for each in config.inputs])
    chosen = choose_format(paths, config.format)
    source = chosen.inspect(paths, config.format_options)
    like = _like(config.like) if config.like else None
    if like:
        source, plan = _same_source(config, source, like[0]), like[1]
    else:
        spec = _spec(config, source)
    pieces = chosen.pieces(paths, source, config.piece_bytes)
    with new_folder(config.out, config.overwrite) as folder, launcher(config.arguments) as jobs:
        run = _Run(config, jobs.arguments, jobs.scratch, folder, pieces)
        if like:
            statistics = None
            schema, deal = like[2], _deal_like(config, like[2], plan, pieces)
        else:
            statistics, source = run.count(source, spec)
            planned, statistics = _packed(source, statistics, spec)
            plan = make_plan(planned, statistics, spec)
            schema, deal = _deal(config, planned, statistics, plan)
            # Tasks read the columns of the file, and pack them then.
            source = replace(source, options=planned.options)
        shards, rows = run.write(source, plan, deal)
        if statistics and rows != statistics.rows:
            raise TaskError(f"the two passes read {statistics.rows} and {rows} rows; did the input "
                            "change meanwhile?")
        if not sum(shard.rows for shard in shards[:deal.shards]):
            raise DataError(f"--test-fraction {config.test_fraction}: leaves none of {rows} rows for "
                            "training")
        shutil.rmtree(os.path.join(folder, SEGMENTS), ignore_errors=True)
        options = {"inputs": [os.path.basename(path) for path in config.inputs],
                   "seed": config.seed, "test_fraction": config.test_fraction,
                   "source": asdict(source), "plan": plan.to_json()}
        parts = tuple(shards[:deal.shards]), tuple(shards[deal.shards:])
        Dataset(folder, schema, *parts, options).save()
    return Dataset(os.path.abspath(config.out), schema, *parts, options), plan


def _spec(config: PreparationConfig, source: Source) -> Spec:
    spec = dict(config.spec)
    if not spec.get("target"):
        spec["target"] = next((name for name in _USUAL_TARGETS if name in source.columns), None)
        if spec["target"] is None:
            raise UsageError(f"{config.inputs[0]}: has no column called {', '.join(_USUAL_TARGETS)}; "
                             f"name the target with --target, one of: "
                             f"{', '.join(list(source.columns)[:10]) or 'none'}")
    for role in ("target", "weight", "group"):
        if spec.get(role) is not None and spec[role] not in source.columns:
            raise UsageError(f"--{role} {spec[role]}: {config.inputs[0]} has no such column; found "
                             f"{', '.join(list(source.columns)[:10]) or 'none'}")
    checked = Spec.from_dict(spec)
    checked.check(source)
    return checked


def _packed(source: Source, statistics: Statistics, spec: Spec) -> tuple[Source, Statistics]:
    """Take the columns of an image in a table as one matrix, which stays uint8."""
    features, numbers = spec.features(source), statistics.numbers
    at = [statistics.measures.series.index(Series(name)) for name in features
          if source.columns[name] == "number"]
    whole = (numbers.whole[at] & (numbers.minimum[at] >= 0) & (numbers.maximum[at] <= 255)
             & (numbers.missing[at] == 0) & (numbers.infinite[at] == 0))
    if (len(at) < max(_IMAGE_COLUMNS, len(features)) or not whole.all() or source.width
            or spec.columns or spec.crosses or not numbers.maximum[at].max() > 0):
        return source, statistics
    others = {name: kind for name, kind in source.columns.items() if name not in set(features)}
    packed = replace(source, columns=others, width=len(at),
                     options={**source.options, "packed": features})
    counted = Statistics(spec.measures(packed))
    counted.rows, counted.counts = statistics.rows, statistics.counts
    left = [statistics.measures.series.index(series) for series in counted.measures.series]
    counted.numbers, counted.matrix = numbers.select(left), numbers.select(at)
    return packed, counted


def _like(folder: str) -> tuple[Source, Plan, Schema]:
    """Source, plan and schema of a data set, or of a model, that was prepared before."""
    if is_dataset(folder):
        dataset = open_dataset(folder)
        preparation, schema = dataset.options, dataset.schema
    else:
        saved = model_folder.load(folder)
        preparation, schema = saved.preparation, saved.schema
    if "plan" not in preparation:
        raise UsageError(f"--like {folder}: was not made by 'mr-gradient prepare'")
    return Source(**preparation["source"]), Plan.from_json(preparation["plan"]), schema


def _same_source(config: PreparationConfig, found: Source, like: Source) -> Source:
    """How to read input as that of ``--like`` was read. Raises ``UsageError`` if it cannot be."""
    if found.format != like.format:
        raise UsageError(f"--like {config.like}: was made of {like.format}, found {found.format}")
    needed = {*like.columns, *like.options.get("packed", ())}
    if missing := [name for name in needed if name not in found.columns]:
        raise UsageError(f"--like {config.like}: needs the columns {sorted(missing)[:5]}, which "
                         f"{config.inputs[0]} lacks")
    keep = {name: found.options[name] for name in ("files", "root", "names", "listing", "labels")
            if name in found.options}
    return replace(like, options={**like.options, **keep})


def _deal_like(config: PreparationConfig, schema: Schema, plan: Plan, pieces: list[Piece]) -> Deal:
    shards = config.shards or MIN_SHARDS
    held = max(1, int(shards * config.test_fraction)) if config.test_fraction else 0
    if schema.kind == "class":
        label_dtype = np.min_scalar_type(len(schema.classes) - 1).name
    else:
        label_dtype = "float64" if schema.dtype == "float64" else "float32"
    return Deal(config.seed, config.test_fraction, shards, held, schema.layout, schema.dtype,
                label_dtype, schema.width, schema.scale, plan.weight_column is not None)


@dataclass
class _Run:
    """The two jobs of a preparation."""

    config: PreparationConfig
    arguments: list[str]
    scratch: str
    folder: str
    pieces: list[Piece]

    def _records(self, settings: PrepareSettings) -> dict[str, list]:
        """Run a job over the pieces; its records by key, the summaries checked."""
        path, manifest = (os.path.join(self.scratch, name) for name in ("settings", "pieces"))
        settings.save(path)
        with open(manifest, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(piece)) + "\n" for piece in self.pieces)
        records: dict[str, list] = {}
        for key, value in run_job(PrepareJob, [*self.arguments, "--settings", path, manifest]):
            records.setdefault(key, []).append(value)
        found = sorted(summary["piece"] for summary in records.get(SUMMARY, []))
        if found != list(range(len(self.pieces))):
            raise TaskError(f"every piece must report once; found {len(found)} of {len(self.pieces)}")
        return records

    def count(self, source: Source, spec: Spec) -> tuple[Statistics, Source]:
        """Statistics of all rows, and the source with its width found out."""
        measured = source
        unknown = source.format == "libsvm" and not source.width
        if unknown:
            measured = replace(source, width=2**31 - 1)
        config = self.config
        records = self._records(PrepareSettings(
            source, config.on_bad_row == "fail", config.max_bad_rows,
            measures=spec.measures(measured).to_json()))
        statistics = Statistics.from_json(records[STATISTICS][0])
        self._rejects(records[SUMMARY])
        if not statistics.rows:
            raise DataError(f"{config.inputs[0]}: must have rows, found none")
        if unknown:
            source = replace(source, width=statistics.matrix.largest_index + 1)
            statistics.measures = spec.measures(source)
        return statistics, source

    def _rejects(self, summaries: list[dict]) -> None:
        bad = sum(summary["bad"] for summary in summaries)
        if bad > self.config.max_bad_rows:
            raise DataError(f"{bad} bad rows, more than --max-bad-rows {self.config.max_bad_rows}")
        if bad:
            keys = ("file", "line", "column", "value", "wrong")
            with open(os.path.join(self.folder, REJECTS), "w", encoding="utf-8") as file:
                for summary in sorted(summaries, key=lambda each: each["piece"]):
                    file.writelines(json.dumps(dict(zip(keys, note))) + "\n"
                                    for note in summary["notes"])

    def write(self, source: Source, plan: Plan, deal: Deal) -> tuple[list[ShardInfo], int]:
        """All shards in order, and how many rows they hold."""
        records = self._records(PrepareSettings(
            source, self.config.on_bad_row == "fail", self.config.max_bad_rows,
            plan=plan.to_json(), deal=deal, folder=self.folder))
        shards = []
        for number in range(deal.shards + deal.held_shards):
            made = records.get(f"{number:08d}")
            if made is not None and len(made) != 1:
                raise TaskError(f"shard {number} came from {len(made)} reducers")
            shards.append(ShardInfo(**made[0]) if made else assemble(self.folder, number, [], deal))
        return shards, sum(shard.rows for shard in shards)


def _deal(config: PreparationConfig, source: Source, statistics: Statistics,
          plan: Plan) -> tuple[Schema, Deal]:
    """Layout, types and number of the shards: properties of the data and the options."""
    width = plan.dense_width + plan.sparse_width
    stored = _stored_per_row(source, statistics, plan)
    layout = config.layout if config.layout != "auto" else (
        "csr" if plan.sparse_width and stored < DENSITY_THRESHOLD * width else "dense")
    dtype = config.dtype if config.dtype != "auto" else (
        "uint8" if plan.dtype == "uint8" else "float32")
    if dtype == "uint8" and plan.dtype != "uint8":
        raise UsageError("--dtype uint8: only for whole features from 0 to 255, scaled as a matrix")
    labels = plan.labels
    if labels.kind == "class":
        label_dtype = np.min_scalar_type(len(labels.classes) - 1).name
    else:
        label_dtype = "float64" if dtype == "float64" else "float32"
    row_bytes = (width if layout == "dense" else 2 * stored) * np.dtype(dtype).itemsize
    total = int(statistics.rows * (row_bytes + np.dtype(label_dtype).itemsize))
    shards = config.shards or number_of_shards(total)
    fraction = config.test_fraction
    held = max(1, -(-int(total * fraction) // SHARD_BYTES), int(shards * fraction)) if fraction else 0
    weights = _class_weights(config, plan, statistics)
    scale = plan.scale if dtype == "uint8" else 1.0
    deal = Deal(config.seed, fraction, shards, held, layout, dtype, label_dtype, width, scale,
                plan.weight_column is not None or weights is not None, weights)
    packed = source.options.get("packed")
    features = tuple(packed) if packed else plan.feature_names()
    nonzeros = mean_nonzeros(int(stored * statistics.rows), statistics.rows) if layout == "csr" else 0
    return Schema(features, labels.column, labels.kind, labels.classes, dtype, scale, layout,
                  nonzeros), deal


def _stored_per_row(source: Source, statistics: Statistics, plan: Plan) -> float:
    """About how many features of a row are not zero: all dense ones, one of each that is hashed."""
    stored = float(plan.dense_width)
    for part in plan.parts:
        if part.sparse and part.columns:
            stored += 1
        elif part.sparse:
            stored += statistics.matrix.nnz / statistics.rows
    return stored


def _class_weights(config: PreparationConfig, plan: Plan,
                   statistics: Statistics) -> tuple[float, ...] | None:
    """n / (classes * count), as scikit-learn's ``balanced``; counts of all rows."""
    if not config.class_weight:
        return None
    if plan.labels.kind != "class":
        raise UsageError("--class-weight balanced: the target must be of classes")
    counts = statistics.counts[plan.labels.column].counts
    return tuple(statistics.rows / (len(plan.labels.classes) * counts[name])
                 for name in plan.labels.classes)
