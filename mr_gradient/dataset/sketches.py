"""Sketches of columns: small histograms of what the training shards hold, for ``mr-gradient inspect``.

They show the numbers that are stored: after the transforms, before ``scale``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mr_gradient.dataset.names import FeatureNames
from mr_gradient.dataset.row_sample import RowSample
from mr_gradient.dataset.schema import Schema
from mr_gradient.dataset.transforms.matrix_steps import MatrixSparse
from mr_gradient.dataset.transforms.number_steps import NumberColumn
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.transforms.steps import Part
from mr_gradient.dataset.transforms.word_steps import OneHot
from mr_gradient.errors import DataError

#: Numbers of a sketch: bins of a histogram, or the most frequent of many.
BINS = 12


def planned_columns(plan: Plan, sample: RowSample) -> list[dict[str, Any]]:
    """The plan's table, with the ``sketch`` of each column that became features.

    ``shows`` says what its ``counts`` are: ``values``: of numbers in equal bins from ``minimum`` to
    ``maximum``; ``nonzero values``: of those that a sparse matrix stores; ``categories``, ``buckets``,
    ``features``: of the rows that each is in, the most frequent first, which ``filled`` of all ``of``
    them are; for categories also their ``names``.
    """
    if plan.dense_width + plan.sparse_width != sample.x.shape[1]:
        raise DataError(f"the plan has {plan.dense_width + plan.sparse_width} features and the shards "
                        f"{sample.x.shape[1]}; prepare the data set again")
    numbers = sum(isinstance(part, NumberColumn) for part in plan.parts)
    of_numbers = histograms(lambda: sample.blocks(0, numbers), numbers) if numbers else []
    of_columns: dict[tuple[str, ...], dict] = {}
    of_crosses: list[dict] = []
    start = 0
    for number, part in enumerate(plan.parts):
        sketch = (of_numbers[number][0] if number < numbers
                  else _sketch(part, sample, start, start + part.width))
        start += part.width
        if len(part.columns) > 1:
            of_crosses.append(sketch)
        else:
            of_columns[part.columns] = sketch
    table = []
    for row in plan.describe():
        if not row["features"]:
            sketch = None
        elif row["kind"] == "cross":
            sketch = of_crosses.pop(0)
        else:
            sketch = of_columns[() if row["kind"].endswith("matrix") else (row["column"],)]
        table.append({**row, "sketch": sketch})
    return table


def _sketch(part: Part, sample: RowSample, start: int, stop: int) -> dict[str, Any]:
    if not part.columns:
        return _matrix(sample, isinstance(part, MatrixSparse))[0]
    if isinstance(part, OneHot):
        names = part.names()
        return _most(sample, start, stop, "categories",
                     lambda feature: names[feature][len(part.column) + 1:])
    return _most(sample, start, stop, "buckets")


def plain_columns(schema: Schema, sample: RowSample) -> list[dict[str, Any]]:
    """Columns of a data set that was made of arrays: one a feature, or one matrix of bytes or sparse
    numbers, or of more features than are listed by name."""
    sparse = schema.layout == "csr"
    if sparse or schema.dtype == "uint8" or isinstance(schema.features, FeatureNames):
        sketch, missing = _matrix(sample, sparse)
        return [{"column": "matrix", "kind": "sparse matrix" if sparse else "matrix",
                 "missing": missing, "range": _range(sketch), "features": schema.width,
                 "sketch": sketch}]
    found = histograms(lambda: sample.blocks(0, schema.width), schema.width)
    return [{"column": name, "kind": "number", "missing": missing, "range": _range(sketch),
             "features": 1, "sketch": sketch}
            for name, (sketch, missing) in zip(schema.features, found)]


def _range(sketch: dict[str, Any]) -> str:
    if sketch.get("minimum") is None:
        return ""
    return f"{sketch['minimum']:.6g} to {sketch['maximum']:.6g}"


def _matrix(sample: RowSample, sparse: bool) -> tuple[dict[str, Any], int]:
    """The sketch of all values; of all features where the values are all alike, as ones are."""
    (sketch, missing), = histograms(sample.stored, 1)
    if not sparse:
        return sketch, missing
    of_features = _most(sample, 0, sample.x.shape[1], "features")
    if sketch["minimum"] is not None and sketch["minimum"] < sketch["maximum"]:
        of_features |= {"shows": "nonzero values", "counts": sketch["counts"]}
    return {**of_features, "minimum": sketch["minimum"], "maximum": sketch["maximum"]}, missing


def _most(sample: RowSample, start: int, stop: int, shows: str,
          name: Callable[[int], str] | None = None) -> dict[str, Any]:
    """In how many rows the most frequent of some features are."""
    features, counts = sample.filled(start, stop)
    first = np.argsort(-counts, kind="stable")[:BINS]
    names = {"names": [name(feature) for feature in features[first].tolist()]} if name else {}
    return {"shows": shows, "counts": counts[first].tolist(), **names, "filled": len(features),
            "of": stop - start}


def histograms(blocks: Callable[[], Iterable[np.ndarray]],
               columns: int) -> list[tuple[dict[str, Any], int]]:
    """A sketch of each column of the blocks (n, columns), and how many of its numbers are not finite.

    ``blocks`` is called twice: for the ranges, and for the counts.
    """
    low, high = np.full(columns, np.inf), np.full(columns, -np.inf)
    for block in blocks():
        finite = np.isfinite(block)
        np.minimum(low, np.where(finite, block, np.inf).min(axis=0), out=low)
        np.maximum(high, np.where(finite, block, -np.inf).max(axis=0), out=high)
    counts = np.zeros(columns * (BINS + 1), np.int64)
    with np.errstate(all="ignore"):
        span = high / 2 - low / 2  # halves, since the whole may overflow
        for block in blocks():
            # A column of one number has no span: all is in its first bin.
            place = np.nan_to_num((block / 2 - low / 2) / span * BINS)
            place = np.clip(place, 0, BINS - 1).astype(np.int64)
            place[~np.isfinite(block)] = BINS
            place += np.arange(columns) * (BINS + 1)
            counts += np.bincount(place.reshape(-1), minlength=len(counts))
    found = []
    rows = counts.reshape(columns, BINS + 1).tolist()
    for least, most, own in zip(low.tolist(), high.tolist(), rows):
        span_of = (least, most) if least <= most else (None, None)
        found.append(({"shows": "values", "minimum": span_of[0], "maximum": span_of[1],
                       "counts": own[:BINS]}, own[BINS]))
    return found
