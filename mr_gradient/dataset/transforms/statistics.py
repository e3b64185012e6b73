"""What one pass over the data counts, mergeable: everything that a plan is fitted from.

A task adds the batches of its piece; the pieces are merged along the binary tree by piece number
(law 2), so the result has the same bits whatever ran where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mr_gradient.dataset.columns import Numbers, Rows, Source, Sparse, Words
from mr_gradient.dataset.transforms import moments as moments_of
from mr_gradient.dataset.transforms.counts import CAP, WordCounts
from mr_gradient.dataset.transforms.elementwise import (
    Shape,
    apply_shape,
    shape_from_json,
    shape_to_json,
)
from mr_gradient.dataset.transforms.exact_json import (
    damage_of,
    list_from_json,
    text_from_json,
    whole_from_json,
)
from mr_gradient.dataset.transforms.moments import Moments
from mr_gradient.dataset.transforms.sketch import Sketch
from mr_gradient.dataset.transforms.sparse_counts import SparseCounts
from mr_gradient.errors import DataError

FORMAT, VERSION = "mr_gradient statistics", 1
#: Distinct labels that can still be classes.
CLASSES = 65536


class Series(NamedTuple):
    """A number column as a step sees it: after the functions in ``shape``."""

    column: str
    shape: Shape = ()


@dataclass(frozen=True)
class Measures:
    """What to count. ``series``: numbers; ``medians``: those of them that get a sketch; ``counted``:
    columns whose words are counted, with the most distinct words to keep; ``width``: number of
    matrix features."""

    series: tuple[Series, ...] = ()
    medians: tuple[Series, ...] = ()
    counted: tuple[tuple[str, int], ...] = ()
    width: int = 0

    @classmethod
    def of(cls, source: Source, target: str | None = None) -> Measures:
        """What is counted when nobody asks for anything special."""
        kinds = source.columns.items()
        counted = [(name, CLASSES if name == target else CAP) for name, kind in kinds
                   if kind == "word" or name == target]
        return cls(tuple(Series(name) for name, kind in kinds if kind == "number"), (),
                   tuple(counted), source.width)

    def to_json(self) -> dict[str, Any]:
        def series_to_json(each):
            return [[series.column, shape_to_json(series.shape)] for series in each]

        return {"series": series_to_json(self.series), "medians": series_to_json(self.medians),
                "counted": [list(pair) for pair in self.counted], "width": self.width}

    @classmethod
    def from_json(cls, value: Any) -> Measures:
        """Raises ``DataError`` for what ``to_json`` does not write."""
        def series_from_json(each):
            return tuple(Series(text_from_json(column), shape_from_json(shape))
                         for column, shape in (list_from_json(one, 2) for one in each))

        with damage_of("statistics"):
            measures = cls(
                series_from_json(list_from_json(value["series"])),
                series_from_json(list_from_json(value["medians"])),
                tuple((text_from_json(column), whole_from_json(cap, 1)) for column, cap in
                      (list_from_json(pair, 2) for pair in list_from_json(value["counted"]))),
                whole_from_json(value["width"]))
            if not set(measures.medians) <= set(measures.series):
                raise ValueError("a median of what is not measured")
            return measures


class Statistics:
    """Statistics of some rows. ``numbers``: of ``measures.series``, in their order; ``matrix``: of
    the matrix features, ``Moments`` if dense, ``SparseCounts`` if sparse, None before any came."""

    def __init__(self, measures: Measures) -> None:
        self.measures = measures
        self.rows = 0
        self.numbers = Moments.empty(len(measures.series))
        self.sketches = {series: Sketch() for series in measures.medians}
        self.counts = {column: WordCounts(cap) for column, cap in measures.counted}
        self.matrix: Moments | SparseCounts | None = None

    @property
    def numbers(self) -> Moments:
        return self._numbers.moments()

    @numbers.setter
    def numbers(self, value: Moments) -> None:
        self._numbers = moments_of.ColumnMoments(value)

    def add(self, rows: Rows) -> None:
        """Count a batch; where batches end does not show. A series or column that is not in ``rows``
        is a ``DataError``."""
        self.rows += len(rows.number)
        if not len(rows.number):
            return
        values = self._series(rows)
        if values:
            self._numbers.add(values)
        for series, sketch in self.sketches.items():
            column = values[self.measures.series.index(series)]
            finite = np.isfinite(column)
            sketch.add(column if finite.all() else column[finite])
        for name, counts in self.counts.items():
            counts.add(column_of(rows, name))
        if rows.features is not None:
            self._add_matrix(rows.features)

    def _series(self, rows: Rows) -> list[np.ndarray]:
        values: list[np.ndarray] = []
        for series in self.measures.series:
            column = column_of(rows, series.column)
            if not isinstance(column, Numbers):
                raise DataError(f"column {series.column!r}: must be numbers, found words")
            values.append(apply_shape(column.values, series.shape))
        return values

    def _add_matrix(self, features: np.ndarray | Sparse) -> None:
        width = self.measures.width
        if isinstance(features, Sparse):
            self._merge_matrix(SparseCounts.of(features, width))
        else:
            if features.shape[1] != width:
                raise DataError(f"must have {width} matrix features, found {features.shape[1]}")
            self._merge_matrix(moments_of.of_matrix(features))

    def _merge_matrix(self, right: Moments | SparseCounts | None) -> None:
        if self.matrix is None or right is None:
            self.matrix = right if self.matrix is None else self.matrix
        elif type(self.matrix) is not type(right):
            raise DataError("matrix features must be dense in all pieces or sparse in all pieces")
        else:
            self.matrix = self.matrix.merge(right)

    def merge(self, right: Statistics) -> Statistics:
        """Statistics of both, ``right`` being later pieces; neither changes."""
        if self.measures != right.measures:
            raise DataError("statistics: must all measure the same; prepare again")
        both = Statistics(self.measures)
        both.rows = self.rows + right.rows
        both.numbers = self.numbers.merge(right.numbers)
        both.sketches = {series: sketch.merge(right.sketches[series])
                         for series, sketch in self.sketches.items()}
        both.counts = {name: counts.merge(right.counts[name]) for name, counts in self.counts.items()}
        both.matrix = self.matrix
        both._merge_matrix(right.matrix)
        return both

    def to_json(self) -> dict[str, Any]:
        """Exact: ``from_json`` gives the same bits, also through ``json.dumps``."""
        kind = {Moments: "dense", SparseCounts: "sparse"}.get(type(self.matrix))
        return {"format": FORMAT, "version": VERSION, "measures": self.measures.to_json(),
                "rows": self.rows, "numbers": self.numbers.to_json(),
                "sketches": [self.sketches[series].to_json() for series in self.measures.medians],
                "counts": [self.counts[name].to_json() for name, _ in self.measures.counted],
                "matrix_kind": kind, "matrix": self.matrix.to_json() if kind else None}

    @classmethod
    def from_json(cls, value: Any) -> Statistics:
        """Raises ``DataError`` for what ``to_json`` does not write."""
        with damage_of("statistics"):
            if (value["format"], value["version"]) != (FORMAT, VERSION):
                raise ValueError(f"{value['format']!r} version {value['version']!r}")
            found = cls(Measures.from_json(value["measures"]))
            measures = found.measures
            found.rows = whole_from_json(value["rows"])
            found.numbers = Moments.from_json(value["numbers"], len(measures.series))
            sketches = list_from_json(value["sketches"], len(measures.medians))
            found.sketches = {series: Sketch.from_json(each)
                              for series, each in zip(measures.medians, sketches)}
            counts = list_from_json(value["counts"], len(measures.counted))
            found.counts = {name: WordCounts.from_json(each)
                            for (name, _), each in zip(measures.counted, counts)}
            kind = value["matrix_kind"]
            if kind is not None:
                found.matrix = {"dense": Moments, "sparse": SparseCounts}[kind].from_json(
                    value["matrix"], measures.width)
            return found


def column_of(rows: Rows, name: str) -> Numbers | Words:
    """A column of a batch, or a ``DataError`` that names it."""
    try:
        return rows.columns[name]
    except KeyError:
        raise DataError(f"column {name!r}: the rows have no such column; found "
                        f"{', '.join(list(rows.columns)[:10]) or 'none'}") from None
