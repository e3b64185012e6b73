"""The target: class names in order, or values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Rows, Words
from mr_gradient.dataset.transforms.counts import as_words, in_order
from mr_gradient.dataset.transforms.exact_json import list_from_json, text_from_json
from mr_gradient.dataset.transforms.statistics import CLASSES, Statistics, column_of
from mr_gradient.errors import DataError

KINDS = ("auto", "class", "value")
#: Whole numbers with at most so many distinct values are classes when nobody says.
_INFERRED_CLASSES = 100


@dataclass(frozen=True)
class Labels:
    """``kind``: class (labels are indices into ``classes``) or value (labels are numbers)."""

    column: str
    kind: str
    classes: tuple[str, ...] = ()

    @classmethod
    def fit(cls, column: str, asked: str, numeric: bool, statistics: Statistics) -> Labels:
        """``numeric``: whether the column holds numbers. Raises ``DataError`` for labels that cannot
        be what is ``asked``: auto, class or value."""
        words = statistics.counts[column]
        if words.missing:
            raise DataError(f"target {column!r}: must be there in every row, found it missing in "
                            f"{words.missing} rows; fill them in or remove them")
        if not words.rows:
            raise DataError(f"target {column!r}: the input has no rows")
        kind = asked
        if asked == "auto":
            few = words.counts is not None and len(words.counts) <= _INFERRED_CLASSES
            whole = few and all(word.lstrip("-").isdigit() for word in words.counts)
            kind = "class" if not numeric or whole else "value"
        if kind == "value":
            if not numeric:
                raise DataError(f"target {column!r}: must be a number in every row, found words")
            return cls(column, kind)
        if words.counts is None:
            raise DataError(f"target {column!r}: must have at most {CLASSES} classes, found more; is "
                            "it an identifier? choose another --target, or --target-type value")
        if len(words.counts) < 2:
            raise DataError(f"target {column!r}: needs two classes or more, found only "
                            f"{min(words.counts)!r}")
        return cls(column, kind, tuple(in_order(words.counts)))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def apply(self, rows: Rows) -> np.ndarray:
        """(rows,) int64 class indices, or float64 values.

        Raises ``DataError`` that names line and label for a missing or unknown label.
        """
        column = column_of(rows, self.column)
        if self.kind == "value":
            if isinstance(column, Words):
                raise DataError(f"target {self.column!r}: must be a number in every row, found words")
            self._refuse(rows, ~np.isfinite(column.values), column)
            return column.values.astype(np.float64)
        words = as_words(column)
        table = np.array([*(self._index.get(word, -1) for word in words.words), -1], np.int64)
        codes = table[words.codes]
        self._refuse(rows, codes < 0, words)
        return codes

    def _refuse(self, rows: Rows, wrong: np.ndarray, column: Numbers | Words) -> None:
        if not wrong.any():
            return
        row = int(np.argmax(wrong))
        where = f"line {rows.line[row]}, target {self.column!r}"
        if isinstance(column, Numbers):
            raise DataError(f"{where}: must be a finite number, found {column.values[row]}")
        if column.codes[row] < 0:
            raise DataError(f"{where}: the label is missing; fill it in or remove the row")
        listed = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
        raise DataError(f"{where}: must be one of the {len(self.classes)} classes known from training "
                        f"({listed}), found {column.words[column.codes[row]]!r}")

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "kind": self.kind, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, value: Any) -> Labels:
        """Raises ``ValueError`` and its like for what ``to_json`` does not write."""
        classes = tuple(map(text_from_json, list_from_json(value["classes"])))
        if value["kind"] not in KINDS[1:] or len(set(classes)) < len(classes):
            raise ValueError("a kind that does not exist, or a class that comes twice")
        return cls(text_from_json(value["column"]), value["kind"], classes)
