"""Transforms of one number column: impute, log1p, clip, standardize, min_max, in one normal form.

Any permitted chain comes to ``after((shape(x) or fill, if that is not finite) - center) / divisor)``,
so that a plan can do many columns at once. The order that is permitted: one impute before one of
standardize and min_max; log1p and clip anywhere before, clip also after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Rows
from mr_gradient.dataset.transforms.elementwise import (
    Shape,
    apply_shape,
    shape_from_json,
    shape_to_json,
)
from mr_gradient.dataset.transforms.exact_json import finite_from_json, float_to_json, text_from_json
from mr_gradient.dataset.transforms.statistics import Series, Statistics, column_of
from mr_gradient.errors import DataError, UsageError

AFFINE = ("standardize", "min_max")
STEPS = ("impute", "log1p", "clip", *AFFINE, "pass")


@dataclass(frozen=True)
class Chain:
    """What is asked of a column. ``before``, ``between``: functions ahead of the impute, and from
    there to ``affine``; ``after``: clips after it. ``impute``: mean, median or a number."""

    before: Shape
    impute: str | float
    between: Shape
    affine: str | None
    after: Shape

    @property
    def at_impute(self) -> Shape:
        return self.before

    @property
    def at_affine(self) -> Shape:
        return self.before + self.between

    def series(self, column: str) -> tuple[set[Series], set[Series]]:
        """What must be measured for the fit: series, and those of them with a sketch."""
        asked = {Series(column), Series(column, self.at_affine)}
        medians = set()
        if isinstance(self.impute, str):
            asked.add(Series(column, self.at_impute))
        if self.impute == "median":
            medians.add(Series(column, self.at_impute))
        return asked, medians


def chain_of(column: str, steps: Sequence[tuple[str, dict]]) -> Chain:
    """The chain of steps ``(name, options)``; a missing impute is put in: the mean, just before
    standardize or min_max, or at the end. Raises ``UsageError`` for an order that has no meaning.
    """
    before: list[tuple] = []
    between: list[tuple] = []
    after: list[tuple] = []
    impute = affine = None
    for name, options in steps:
        if name == "impute":
            if impute is not None or affine is not None:
                raise UsageError(f"columns: {column}: impute must come once, and before standardize "
                                 "and min_max")
            impute = options["with"]
        elif name in AFFINE:
            if affine is not None:
                raise UsageError(f"columns: {column}: {affine} and {name}: choose one of them")
            affine = name
        elif name == "log1p" and affine is not None:
            raise UsageError(f"columns: {column}: log1p must come before {affine}")
        elif name != "pass":
            step = ("log1p",) if name == "log1p" else ("clip", options["low"], options["high"])
            (after if affine else before if impute is None else between).append(step)
    return Chain(tuple(before), "mean" if impute is None else impute, tuple(between), affine,
                 tuple(after))


@dataclass(frozen=True)
class NumberColumn:
    """A fitted chain: one dense feature from one number column."""

    column: str
    shape: Shape
    fill: float
    center: float
    divisor: float
    after: Shape = ()

    name = "number"
    sparse = False
    width = 1

    @classmethod
    def fit(cls, column: str, chain: Chain, statistics: Statistics) -> NumberColumn:
        """Raises ``DataError`` for a column whose values the chain cannot take."""
        raw = _One.of(statistics, Series(column))
        _check(column, chain, raw)
        if isinstance(chain.impute, float):
            fill = chain.impute
        else:
            at = Series(column, chain.at_impute)
            known = _One.of(statistics, at)
            fill = 0.0 if not known.count else (
                known.mean if chain.impute == "mean" else statistics.sketches[at].median())
        fill = float(apply_shape(np.array([fill]), chain.between)[0])
        center, divisor = 0.0, 1.0
        if chain.affine:
            seen = _One.of(statistics, Series(column, chain.at_affine)).filled(fill)
            if chain.affine == "standardize":
                deviation = math.sqrt(seen.m2 / max(seen.count, 1))
                center, divisor = seen.mean, deviation or 1.0
            else:
                center, divisor = seen.minimum, (seen.maximum - seen.minimum) or 1.0
        if not all(map(math.isfinite, (fill, center, divisor))):
            raise DataError(f"column {column!r}: its numbers are too large to be averaged, found up to "
                            f"{max(raw.maximum, -raw.minimum):.4g}; clip them")
        return cls(column, chain.at_affine, fill, center, divisor, chain.after)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    def values(self, rows: Rows) -> np.ndarray:
        """The raw column, (rows,) float64."""
        column = column_of(rows, self.column)
        if not isinstance(column, Numbers):
            raise DataError(f"column {self.column!r}: must be numbers, found words")
        return column.values

    def apply(self, rows: Rows) -> np.ndarray:
        """(rows, 1) float64; missing, infinite and out of log1p's domain become the fill."""
        return apply_many([self], [self.values(rows)], np.empty((len(rows.number), 1)))

    def names(self) -> list[str]:
        return [self.column]

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "shape": shape_to_json(self.shape),
                "after": shape_to_json(self.after),
                **{name: float_to_json(getattr(self, name)) for name in _NUMBERS}}

    @classmethod
    def from_json(cls, value: Any) -> NumberColumn:
        part = cls(text_from_json(value["column"]), shape_from_json(value["shape"]),
                   *(finite_from_json(value[name]) for name in _NUMBERS),
                   shape_from_json(value["after"]))
        if not part.divisor > 0:
            raise ValueError("divisor must be above 0")
        return part


_NUMBERS = ("fill", "center", "divisor")


def apply_many(parts: Sequence[NumberColumn], columns: Sequence[np.ndarray],
               out: np.ndarray) -> np.ndarray:
    """Fill ``out`` (rows, parts) of any float type from the parts' raw columns, in blocks that fit
    the cache: column by column it would take as long again to write into rows."""
    rows, k = out.shape
    fill, center, divisor = (np.array([getattr(part, name) for part in parts])[:, None]
                             for name in _NUMBERS)
    shaped = [i for i, part in enumerate(parts) if part.shape]
    after = [i for i, part in enumerate(parts) if part.after]
    step = min(max((1 << 16) // max(k, 1), 64), 4096)
    block = np.empty((k, min(step, rows)))
    with np.errstate(all="ignore"):  # float32 may overflow: the writer looks at the range
        for start in range(0, rows, step):
            part = block[:, :min(step, rows - start)]
            for i, column in enumerate(columns):
                part[i] = column[start:start + step]
            for i in shaped:
                part[i] = apply_shape(part[i], parts[i].shape)
            finite = np.isfinite(part)
            if not finite.all():
                part[:] = np.where(finite, part, fill)
            part -= center
            part /= divisor
            for i in after:
                part[i] = apply_shape(part[i], parts[i].after)
            out[start:start + step] = part.T
    return out


@dataclass(frozen=True)
class _One:
    """Statistics of one series."""

    count: int
    missing: int
    infinite: int
    minimum: float
    maximum: float
    whole: bool
    mean: float
    m2: float

    @classmethod
    def of(cls, statistics: Statistics, series: Series) -> _One:
        at = statistics.measures.series.index(series)
        numbers = statistics.numbers
        return cls(int(numbers.count[at]), int(numbers.missing[at]), int(numbers.infinite[at]),
                   *(getattr(numbers, name)[at].item()
                     for name in ("minimum", "maximum", "whole", "mean", "m2")))

    def filled(self, fill: float) -> _One:
        """The same with the missing values in: a pairwise update with a constant."""
        if not self.missing:
            return self if self.count else _One(0, 0, 0, fill, fill, False, fill, 0.0)
        count = self.count + self.missing
        low, high = min(self.minimum, fill), max(self.maximum, fill)
        if not self.count or low == high:
            return _One(count, 0, self.infinite, low, high, False, fill, 0.0)
        delta = fill - self.mean
        share = self.missing / count
        return _One(count, 0, self.infinite, low, high, False, self.mean + delta * share,
                    self.m2 + delta * delta * (self.count * share))


def _check(column: str, chain: Chain, raw: _One) -> None:
    shape = chain.at_affine
    if raw.infinite and not (shape and shape[0][0] == "clip"):
        raise DataError(f"column {column!r}: must hold finite numbers, found inf in {raw.infinite} "
                        "rows; make clip its first step")
    low = np.array([raw.minimum])
    for i, (name, *_) in enumerate(shape):
        at = apply_shape(low, shape[:i])[0]
        if name == "log1p" and raw.count and not at > -1:
            raise DataError(f"column {column!r}: log1p needs numbers above -1, found {at:.6g}; clip "
                            "them before it")
    if isinstance(chain.impute, float) and not math.isfinite(
            apply_shape(np.array([chain.impute]), chain.between)[0]):
        raise UsageError(f"columns: {column}: impute {chain.impute}: log1p needs a number above -1")
