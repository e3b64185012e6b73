"""Rows that can be read but not used: they are bad rows, as those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Rows, Words, select
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.transforms.labels import Labels
from mr_gradient.dataset.transforms.statistics import column_of

_MISSING = "must not be missing"


@dataclass(frozen=True)
class Checks:
    """``present``: columns that must have a value; ``matrix``: so must all dense matrix features.
    ``weight``: the column that must be at least 0."""

    present: tuple[str, ...] = ()
    matrix: bool = False
    weight: str | None = None

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Checks:
        return cls(tuple(value["present"]), value["matrix"], value["weight"])

    def usable(self, rows: Rows, labels: Labels | None, path: str, bad: BadRows) -> Rows:
        """The rows without the bad ones, which are given to ``bad``; of each its first fault.

        ``labels``: classes known from elsewhere, which every label must be one of.
        """
        found: dict[int, tuple[str, str, str]] = {}

        def note(wrong: np.ndarray, column: str, value: Any, text: str) -> None:
            for row in np.flatnonzero(wrong).tolist():
                found.setdefault(row, (column, value(row), text))

        for name in self.present:
            column = column_of(rows, name)
            missing = column.codes < 0 if isinstance(column, Words) else np.isnan(column.values)
            note(missing, name, lambda row: "", _MISSING)
        if isinstance(rows.features, np.ndarray) and rows.features.dtype.kind == "f":
            self._matrix(rows.features, note)
        if self.weight is not None:
            values = column_of(rows, self.weight).values
            note(~(np.isfinite(values) & (values >= 0)), self.weight,
                 lambda row: _shown(values[row]), "must be a finite number, at least 0")
        if labels is not None:
            note(labels.unknown(rows), labels.column, lambda row: labels.text(rows, row),
                 labels.must_be())
        if not found:
            return rows
        fine = np.ones(len(rows.number), bool)
        for row in sorted(found):
            bad.add(path, int(rows.line[row]), *found[row])
            fine[row] = False
        return select(rows, fine)

    def _matrix(self, features: np.ndarray, note: Callable) -> None:
        """Rows of (rows, width) float features that have an infinite one, or miss one that they need;
        readers of named columns have told of infinities before."""
        finite = np.isfinite(features)
        if finite.all():
            return
        for wrong, text in ((np.isinf(features), "must be a finite number"),
                            (np.isnan(features) & self.matrix, _MISSING)):
            for feature in np.flatnonzero(wrong.any(axis=0)).tolist():
                note(wrong[:, feature], f"feature {feature}", lambda row, at=feature: _shown(
                    features[row, at]), text)


def _shown(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))
