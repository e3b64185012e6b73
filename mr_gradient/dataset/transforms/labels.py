"""The target: class names in order, or values."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Rows, Words
from mr_gradient.dataset.transforms.counts import LARGEST_WHOLE, as_words, in_order, number_text
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
        largest = max(map(float, words.counts), key=abs) if numeric else 0.0
        if abs(largest) >= LARGEST_WHOLE:
            raise DataError(f"target {column!r}: numbers that are classes must be below 2**53, found "
                            f"{largest:.17g}: larger ones may be equal as float64; read them as text, "
                            f"with --kind {column}=word")
        return cls(column, kind, tuple(in_order(words.counts)))

    @cached_property
    def _index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.classes)}

    def codes(self, rows: Rows) -> np.ndarray:
        """(rows,) int64 class indices, -1 for a label that is missing or no known class."""
        words = as_words(column_of(rows, self.column))
        table = np.array([*(self._index.get(word, -1) for word in words.words), -1], np.int64)
        return table[words.codes]

    def unknown(self, rows: Rows) -> np.ndarray:
        """(rows,) bool: whose label is no known class, or no finite number."""
        if self.kind == "class":
            return self.codes(rows) < 0
        column = column_of(rows, self.column)
        if isinstance(column, Words):
            raise DataError(f"target {self.column!r}: must be a number in every row, found words")
        return ~np.isfinite(column.values)

    def must_be(self) -> str:
        """What a label must be, for messages."""
        if self.kind == "value":
            return "must be a finite number"
        listed = ", ".join(self.classes[:10]) + (", ..." if len(self.classes) > 10 else "")
        return f"must be one of the {len(self.classes)} classes known from training ({listed})"

    def text(self, rows: Rows, row: int) -> str:
        """A label for messages."""
        column = column_of(rows, self.column)
        if isinstance(column, Numbers):
            return number_text(float(column.values[row]))
        return column.words[column.codes[row]] if column.codes[row] >= 0 else ""

    def apply(self, rows: Rows) -> np.ndarray:
        """(rows,) int64 class indices, or float64 values.

        Raises ``DataError`` that names line and label for a missing or unknown label.
        """
        wrong = self.unknown(rows)
        if wrong.any():
            row = int(np.argmax(wrong))
            where, found = f"line {rows.line[row]}, target {self.column!r}", self.text(rows, row)
            raise DataError(f"{where}: {self.must_be()}, found {found!r}" if found else
                            f"{where}: the label is missing; fill it in or remove the row")
        if self.kind == "value":
            return column_of(rows, self.column).values.astype(np.float64)
        return self.codes(rows)

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "kind": self.kind, "classes": list(self.classes)}

    @classmethod
    def from_json(cls, value: Any) -> Labels:
        """Raises ``ValueError`` and its like for what ``to_json`` does not write."""
        classes = tuple(map(text_from_json, list_from_json(value["classes"])))
        if value["kind"] not in KINDS[1:] or len(set(classes)) < len(classes):
            raise ValueError("a kind that does not exist, or a class that comes twice")
        return cls(text_from_json(value["column"]), value["kind"], classes)
