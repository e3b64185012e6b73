"""Layout, types and number of the shards: properties of the data and the options, never of cores."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mr_gradient.dataset.columns import Source
from mr_gradient.dataset.csr import mean_nonzeros
from mr_gradient.dataset.deal import Deal
from mr_gradient.dataset.schema import Schema
from mr_gradient.dataset.strata import Strata
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import Series, Statistics
from mr_gradient.dataset.writer import (
    DENSITY_THRESHOLD,
    MIN_SHARDS,
    SHARD_BYTES,
    number_of_shards,
)
from mr_gradient.errors import UsageError

#: So many whole-number columns from 0 to 255, and nothing else, are an image in a table.
_IMAGE_COLUMNS = 16


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the user may decide of the shards; see ``mr-gradient prepare --help``."""

    seed: int = 0
    test_fraction: float = 0.0
    shards: int = 0
    dtype: str = "auto"
    layout: str = "auto"
    class_weight: str = ""
    stratify: bool = False


def packed(source: Source, statistics: Statistics, spec: Spec,
           dtype: str) -> tuple[Source, Statistics]:
    """Take the columns of an image in a table as one matrix, which stays uint8.

    An image is many columns of bytes, or any number if ``dtype`` asks for uint8.
    """
    features, numbers = spec.features(source), statistics.numbers
    at = [statistics.measures.series.index(Series(name)) for name in features
          if source.columns[name] == "number"]
    whole = (numbers.whole[at] & (numbers.minimum[at] >= 0) & (numbers.maximum[at] <= 255)
             & (numbers.missing[at] == 0) & (numbers.infinite[at] == 0))
    fewest = len(features) if dtype == "uint8" else max(_IMAGE_COLUMNS, len(features))
    if (not at or len(at) < fewest or not whole.all() or source.width
            or spec.columns or spec.crosses or spec.numbers):
        return source, statistics
    others = {name: kind for name, kind in source.columns.items() if name not in set(features)}
    matrix = replace(source, columns=others, width=len(at),
                     options={**source.options, "packed": features})
    counted = Statistics(spec.measures(matrix))
    counted.rows, counted.counts = statistics.rows, statistics.counts
    left = [statistics.measures.series.index(series) for series in counted.measures.series]
    counted.numbers, counted.matrix = numbers.select(left), numbers.select(at)
    return matrix, counted


def decide(source: Source, statistics: Statistics, plan: Plan, wishes: Wishes,
           strata: Strata | None) -> tuple[Schema, Deal]:
    """Schema of the data set and how its rows are dealt."""
    width = plan.dense_width + plan.sparse_width
    stored = _stored_per_row(statistics, plan)
    layout = wishes.layout if wishes.layout != "auto" else (
        "csr" if plan.sparse_width and stored < DENSITY_THRESHOLD * width else "dense")
    dtype = wishes.dtype if wishes.dtype != "auto" else (
        "uint8" if plan.dtype == "uint8" else "float32")
    if dtype == "uint8" and plan.dtype != "uint8":
        raise UsageError("--dtype uint8: every feature must be a whole number from 0 to 255, none "
                         "missing and none transformed; choose float32 or float64")
    labels, fraction = plan.labels, wishes.test_fraction
    label_dtype = _label_dtype(labels.kind, len(labels.classes), dtype)
    row_bytes = (width if layout == "dense" else 2 * stored) * np.dtype(dtype).itemsize
    total = int(statistics.rows * (row_bytes + np.dtype(label_dtype).itemsize))
    shards = wishes.shards or number_of_shards(total)
    held = max(1, -(-int(total * fraction) // SHARD_BYTES), int(shards * fraction)) if fraction else 0
    weights = _class_weights(plan, statistics) if wishes.class_weight else None
    features = source.options.get("packed")
    names = tuple(features) if features else plan.feature_names()
    nonzeros = mean_nonzeros(int(stored * statistics.rows), statistics.rows) if layout == "csr" else 0
    schema = Schema(names, labels.column, labels.kind, labels.classes, dtype, plan.scale, layout,
                    nonzeros)
    return schema, Deal(
        wishes.seed, fraction, shards, held, layout, dtype, label_dtype, width, plan.scale,
        plan.weight_column is not None or weights is not None, weights,
        strata.limits(labels.classes, fraction) if strata and fraction else None)


def decide_like(schema: Schema, plan: Plan, wishes: Wishes) -> Deal:
    """How rows are dealt that are prepared as those of another data set were."""
    shards = wishes.shards or MIN_SHARDS
    held = max(1, int(shards * wishes.test_fraction)) if wishes.test_fraction else 0
    return Deal(wishes.seed, wishes.test_fraction, shards, held, schema.layout, schema.dtype,
                _label_dtype(schema.kind, len(schema.classes), schema.dtype), schema.width,
                schema.scale, plan.weight_column is not None)


def _label_dtype(kind: str, classes: int, dtype: str) -> str:
    if kind == "class":
        return np.min_scalar_type(classes - 1).name
    return "float64" if dtype == "float64" else "float32"


def _stored_per_row(statistics: Statistics, plan: Plan) -> float:
    """About how many features of a row are not zero: all dense ones, one of each that is hashed."""
    stored = float(plan.dense_width)
    for part in plan.parts:
        if part.sparse and part.columns:
            stored += 1
        elif part.sparse:
            stored += statistics.matrix.nnz / statistics.rows
    return stored


def _class_weights(plan: Plan, statistics: Statistics) -> tuple[float, ...]:
    """n / (classes * count), as scikit-learn's ``balanced``; counts of all rows."""
    if plan.labels.kind != "class":
        raise UsageError("--class-weight balanced: the target must be of classes")
    counts = statistics.counts[plan.labels.column].counts
    return tuple(statistics.rows / (len(plan.labels.classes) * counts[name])
                 for name in plan.labels.classes)
