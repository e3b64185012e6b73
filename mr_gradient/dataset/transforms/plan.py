"""The plan: from raw rows to features, labels and weights; fitted once, kept with data and model.

Preparation, evaluation and prediction use the same plan. Elementwise operations in a fixed order
only, so it gives the same bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Rows, Source, Sparse
from mr_gradient.dataset.names import Names, joined
from mr_gradient.dataset.transforms.choose import parts_and_table
from mr_gradient.dataset.transforms.exact_json import damage_of, list_from_json, text_from_json
from mr_gradient.dataset.transforms.labels import Labels
from mr_gradient.dataset.transforms.matrix_steps import MatrixScale
from mr_gradient.dataset.transforms.number_steps import NumberColumn, apply_many
from mr_gradient.dataset.transforms.sparse_rows import beside
from mr_gradient.dataset.transforms.spec import Spec
from mr_gradient.dataset.transforms.statistics import Series, Statistics, column_of
from mr_gradient.dataset.transforms.steps import Part, part_from_json, part_to_json
from mr_gradient.errors import DataError, UsageError

FORMAT, VERSION = "mr_gradient plan", 1
_TABLE = {"column": str, "kind": str, "missing": int, "range": str, "transforms": str, "features": int,
          "why": str}


@dataclass
class Features:
    """``dense``: (rows, width) or None; ``sparse``: or None. The features of a row are the dense ones
    and, after them, the sparse ones."""

    dense: np.ndarray | None
    sparse: Sparse | None


@dataclass(frozen=True)
class Plan:
    """``parts``: dense ones first, number columns before all others. ``labels``: None without a
    target. ``table``: what ``describe`` shows."""

    parts: tuple[Part, ...]
    labels: Labels | None
    weight_column: str | None
    group_column: str | None
    table: tuple[tuple[tuple[str, Any], ...], ...]

    @property
    def scale(self) -> float:
        """Dense features times this are the features that a model sees; not 1 only for uint8."""
        return self.parts[0].factor if self._small else 1.0

    @property
    def dtype(self) -> str:
        """``uint8`` if ``apply`` gives that, else ``float64``."""
        return "uint8" if self._small else "float64"

    @cached_property
    def _small(self) -> bool:
        return len(self.parts) == 1 and isinstance(self.parts[0], MatrixScale)

    @cached_property
    def dense_width(self) -> int:
        return sum(part.width for part in self.parts if not part.sparse)

    @cached_property
    def sparse_width(self) -> int:
        return sum(part.width for part in self.parts if part.sparse)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that features are made from: what raw input must have at prediction."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    def apply(self, rows: Rows, dtype: Any = np.float64) -> Features:
        """Features of a batch in ``dtype``.

        A plan of one scaled matrix gives uint8, to be multiplied by ``scale`` when read.
        Raises ``DataError`` for rows that lack a column, or hold what training could not have.
        """
        if self._small:
            return Features(self.parts[0].small(rows), None)
        count = len(rows.number)
        dense = None
        if self.dense_width:
            dense = np.empty((count, self.dense_width), dtype)
            numbers = [part for part in self.parts if isinstance(part, NumberColumn)]
            apply_many(numbers, [part.values(rows) for part in numbers], dense[:, :len(numbers)])
            at = len(numbers)
            with np.errstate(all="ignore"):  # float32 may overflow: the writer looks at the range
                for part in self.parts[len(numbers):]:
                    if not part.sparse:
                        dense[:, at:at + part.width] = part.apply(rows)
                        at += part.width
        sparse = [part.apply(rows) for part in self.parts if part.sparse]
        return Features(dense, beside(sparse, count, dtype) if sparse else None)

    def target(self, rows: Rows) -> np.ndarray:
        """(rows,) int64 class indices or float64 values."""
        if self.labels is None:
            raise UsageError("the data was prepared without a target; name one")
        return self.labels.apply(rows)

    def weight(self, rows: Rows) -> np.ndarray | None:
        """(rows,) float64, or None when all examples weigh 1."""
        if self.weight_column is None:
            return None
        column = column_of(rows, self.weight_column)
        if not isinstance(column, Numbers):
            raise DataError(f"weight {self.weight_column!r}: must be numbers, found words")
        values = column.values
        wrong = ~(np.isfinite(values) & (values >= 0))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"line {rows.line[row]}, weight {self.weight_column!r}: must be a finite "
                            f"number, at least 0, found {values[row]}")
        return values.astype(np.float64)

    def feature_names(self) -> Names:
        """Dense ones, then sparse ones; names are made when they are looked at."""
        return joined(part.names() for part in self.parts)

    def describe(self) -> list[dict[str, Any]]:
        """A row a column: column, kind, missing, range, transforms, features, why."""
        return [dict(row) for row in self.table]

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "version": VERSION,
                "parts": [part_to_json(part) for part in self.parts],
                "labels": self.labels.to_json() if self.labels else None,
                "weight": self.weight_column, "group": self.group_column, "table": self.describe()}

    @classmethod
    def from_json(cls, value: Any) -> Plan:
        """Raises ``DataError`` for what ``to_json`` does not write."""
        with damage_of("plan of transforms"):
            if (value["format"], value["version"]) != (FORMAT, VERSION):
                raise ValueError(f"must be {FORMAT!r} version {VERSION}, found {value['format']!r} "
                                 f"version {value['version']!r}")
            parts = tuple(part_from_json(part) for part in list_from_json(value["parts"]))
            if list(parts) != _in_order(parts):
                raise ValueError("parts out of order")
            roles = [None if value[key] is None else text_from_json(value[key])
                     for key in ("weight", "group")]
            return cls(parts, value["labels"] and Labels.from_json(value["labels"]), *roles,
                       tuple(map(_table_row, list_from_json(value["table"]))))


def make_plan(source: Source, statistics: Statistics, spec: Spec) -> Plan:
    """Fit a plan: a pure function of what was counted and what was asked.

    Raises ``DataError`` or ``UsageError`` for data that the transforms cannot take.
    """
    if statistics.measures != spec.measures(source):
        raise DataError("statistics: were counted for other options; prepare again")
    if not statistics.rows:
        raise DataError("the input has no rows")
    parts, table = parts_and_table(source, statistics, spec)
    if not parts:
        raise DataError("no column is left to make features from")
    labels = None
    if spec.target is not None:
        numeric = source.columns[spec.target] == "number"
        if numeric:
            _check_target(spec.target, statistics)
        labels = Labels.fit(spec.target, spec.target_type, numeric, statistics)
    return Plan(tuple(_in_order(parts)), labels, spec.weight, spec.group,
                tuple(tuple(row.items()) for row in table))


def _check_target(name: str, statistics: Statistics) -> None:
    at = statistics.measures.series.index(Series(name))
    if statistics.numbers.infinite[at]:
        raise DataError(f"target {name!r}: must be a finite number in every row, found inf in "
                        f"{statistics.numbers.infinite[at]} rows")


def _in_order(parts) -> list[Part]:
    """Number columns, which are made together, then other dense parts, then sparse ones."""
    return sorted(parts, key=lambda part: (part.sparse, not isinstance(part, NumberColumn)))


def _table_row(value: Any) -> tuple[tuple[str, Any], ...]:
    if list(value) != list(_TABLE) or any(type(value[key]) is not kind for key, kind in _TABLE.items()):
        raise ValueError("a row of the table")
    return tuple(value.items())
