"""What is counted of matrix features that come as sparse rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Sparse
from mr_gradient.dataset.transforms.exact_json import (
    counts_from_json,
    flag_from_json,
    float_from_json,
    float_to_json,
    whole_from_json,
)
from mr_gradient.errors import DataError

#: Matrices up to this width have their columns counted.
COUNTED_WIDTH = 1 << 20


@dataclass
class SparseCounts:
    """Matrix features of sparse rows. ``nnz``: values stored; ``largest_index``: -1 without values;
    ``columns``: rows in which each feature is stored, (width,) int64, or None past 2**20."""

    nnz: int
    largest_index: int
    minimum: float
    maximum: float
    whole: bool
    columns: np.ndarray | None

    @classmethod
    def of(cls, sparse: Sparse, width: int) -> SparseCounts:
        indices, values = sparse.indices, sparse.values
        largest = int(indices.max(initial=-1))
        if largest >= width or indices.min(initial=0) < 0:
            raise DataError(f"feature indices must be from 0 to {width - 1}, found "
                            f"{largest if largest >= width else int(indices.min())}")
        if not np.isfinite(values).all():
            raise DataError("sparse features must be finite numbers, found nan or inf")
        return cls(len(indices), largest, float(values.min(initial=np.inf)) + 0.0,
                   float(values.max(initial=-np.inf)) + 0.0, bool((np.rint(values) == values).all()),
                   np.bincount(indices, minlength=width) if width <= COUNTED_WIDTH else None)

    def merge(self, right: SparseCounts) -> SparseCounts:
        return SparseCounts(self.nnz + right.nnz, max(self.largest_index, right.largest_index),
                            min(self.minimum, right.minimum), max(self.maximum, right.maximum),
                            self.whole and right.whole,
                            None if self.columns is None else self.columns + right.columns)

    def to_json(self) -> dict[str, Any]:
        return {"nnz": self.nnz, "largest_index": self.largest_index,
                "minimum": float_to_json(self.minimum), "maximum": float_to_json(self.maximum),
                "whole": self.whole,
                "columns": None if self.columns is None else self.columns.tolist()}

    @classmethod
    def from_json(cls, value: Any, width: int) -> SparseCounts:
        columns = counts_from_json(value["columns"], width) if width <= COUNTED_WIDTH else None
        return cls(whole_from_json(value["nnz"]),
                   whole_from_json(value["largest_index"], -1, width - 1),
                   float_from_json(value["minimum"]), float_from_json(value["maximum"]),
                   flag_from_json(value["whole"]), columns)
