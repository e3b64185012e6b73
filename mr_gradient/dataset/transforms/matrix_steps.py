"""Transforms of the features that come as one matrix, dense or sparse."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Rows, Sparse
from mr_gradient.dataset.names import Names, numbered
from mr_gradient.dataset.transforms.exact_json import (
    finite_from_json,
    floats_from_json,
    floats_to_json,
    whole_from_json,
)
from mr_gradient.dataset.transforms.moments import Moments
from mr_gradient.errors import DataError

KINDS = ("scale", "standardize", "min_max", "pass")


def _dense(rows: Rows, width: int) -> np.ndarray:
    features = rows.features
    if not isinstance(features, np.ndarray) or features.shape[1] != width:
        raise DataError(f"matrix features: must be {width} dense ones, found "
                        + ("none" if features is None else "sparse ones"
                           if isinstance(features, Sparse) else f"{features.shape[1]}"))
    return features


@dataclass(frozen=True)
class MatrixScale:
    """Whole numbers from 0 to 255, times one factor: they can be kept as uint8."""

    width: int
    factor: float

    name = "matrix_scale"
    sparse = False
    columns = ()

    @classmethod
    def fit(cls, moments: Moments) -> MatrixScale:
        """The factor makes the largest value 1."""
        if not fits_uint8(moments):
            raise DataError("matrix: scale needs whole numbers from 0 to 255 and none missing; use "
                            "standardize or min_max")
        return cls(len(moments.mean), 1 / (float(moments.maximum.max(initial=0)) or 1.0))

    def small(self, rows: Rows) -> np.ndarray:
        """(rows, width) uint8, not yet scaled."""
        features = _dense(rows, self.width)
        if features.dtype == np.uint8:
            return features
        with np.errstate(all="ignore"):
            small = features.astype(np.uint8)
            wrong = np.flatnonzero((small != features).any(axis=1))
        if len(wrong):
            row = features[wrong[0]]
            value = row[np.flatnonzero(small[wrong[0]] != row)[0]]
            raise DataError(f"line {rows.line[wrong[0]]}: features must be whole numbers from 0 to "
                            f"255, as in training, found {value}")
        return small

    def apply(self, rows: Rows) -> np.ndarray:
        return self.small(rows) * self.factor

    def names(self) -> Names:
        return numbered("x", self.width)

    def to_json(self) -> dict[str, Any]:
        return {"width": self.width, "factor": self.factor}

    @classmethod
    def from_json(cls, value: Any) -> MatrixScale:
        factor = finite_from_json(value["factor"])
        if not 0 < factor <= 1:
            raise ValueError("factor must be above 0 and at most 1")
        return cls(whole_from_json(value["width"], 1), factor)


@dataclass(frozen=True)
class MatrixAffine:
    """(x - center) / divisor column by column; what is not finite becomes ``fill`` before it."""

    fill: tuple[float, ...]
    center: tuple[float, ...]
    divisor: tuple[float, ...]

    name = "matrix_affine"
    sparse = False
    columns = ()

    @classmethod
    def fit(cls, kind: str, moments: Moments) -> MatrixAffine:
        """``kind``: standardize, min_max or pass. Missing values get the mean of their column."""
        if moments.infinite.any():
            raise DataError(f"matrix: feature {int(np.argmax(moments.infinite))}: must hold finite "
                            "numbers, found inf")
        count = moments.count
        some = count > 0
        fill = np.where(some, moments.mean, 0.0)
        center, divisor = np.zeros_like(fill), np.ones_like(fill)
        with np.errstate(all="ignore"):
            if kind == "standardize":
                # Filled with the mean, missing values count but do not deviate.
                center, divisor = fill, np.sqrt(moments.m2 / np.maximum(moments.rows, 1))
            elif kind == "min_max":
                center = np.where(some, moments.minimum, 0.0)
                divisor = np.where(some, moments.maximum - moments.minimum, 1.0)
        divisor = np.where(divisor == 0, 1.0, divisor)
        if not (np.isfinite(fill) & np.isfinite(center) & np.isfinite(divisor)).all():
            raise DataError("matrix: its numbers are too large to be averaged")
        return cls(*(tuple(each.tolist()) for each in (fill, center, divisor)))

    @property
    def width(self) -> int:
        return len(self.fill)

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.array(self.fill), np.array(self.center), np.array(self.divisor)

    def apply(self, rows: Rows) -> np.ndarray:
        values = _dense(rows, self.width).astype(np.float64)
        fill, center, divisor = self._arrays
        finite = np.isfinite(values)
        if not finite.all():
            values = np.where(finite, values, fill)
        with np.errstate(all="ignore"):
            values -= center
            values /= divisor
        return values

    def names(self) -> Names:
        return numbered("x", self.width)

    def to_json(self) -> dict[str, Any]:
        return {name: floats_to_json(np.array(getattr(self, name))) for name in _ARRAYS}

    @classmethod
    def from_json(cls, value: Any) -> MatrixAffine:
        fill = floats_from_json(value["fill"])
        center, divisor = (floats_from_json(value[name], len(fill)) for name in _ARRAYS[1:])
        if not np.isfinite([fill, center, divisor]).all() or not (divisor > 0).all():
            raise ValueError("numbers must be finite, divisors above 0")
        return cls(tuple(fill.tolist()), tuple(center.tolist()), tuple(divisor.tolist()))


_ARRAYS = ("fill", "center", "divisor")


@dataclass(frozen=True)
class MatrixSparse:
    """Sparse features as they are."""

    width: int

    name = "matrix_sparse"
    sparse = True
    columns = ()

    def apply(self, rows: Rows) -> Sparse:
        features = rows.features
        if not isinstance(features, Sparse):
            raise DataError(f"matrix features: must be {self.width} sparse ones, found "
                            + ("none" if features is None else "dense ones"))
        largest = int(features.indices.max(initial=-1))
        if largest >= self.width:
            row = int(np.searchsorted(features.indptr, np.argmax(features.indices), side="right")) - 1
            raise DataError(f"line {rows.line[row]}: feature index must be below {self.width}, as in "
                            f"training, found {largest}")
        return Sparse(features.indptr, features.indices, features.values, self.width)

    def names(self) -> Names:
        return numbered("x", self.width)

    def to_json(self) -> dict[str, Any]:
        return {"width": self.width}

    @classmethod
    def from_json(cls, value: Any) -> MatrixSparse:
        return cls(whole_from_json(value["width"], 1))


def fits_uint8(moments: Moments) -> bool:
    """Whether all values are whole numbers from 0 to 255."""
    return bool(moments.rows and (moments.count == moments.rows).all() and moments.whole.all()
                and (moments.minimum >= 0).all() and (moments.maximum <= 255).all())
