"""The registry of fitted parts: whoever adds a transform adds a class, and its line here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from mr_gradient.dataset.columns import Rows, Sparse
from mr_gradient.dataset.transforms.exact_json import damage_of
from mr_gradient.dataset.transforms.matrix_steps import MatrixAffine, MatrixScale, MatrixSparse
from mr_gradient.dataset.transforms.number_steps import NumberColumn
from mr_gradient.dataset.transforms.text_steps import NGrams
from mr_gradient.dataset.transforms.word_steps import Hash, OneHot


class Part(Protocol):
    """Some features of a plan: immutable, fitted, comparable.

    ``name``: in the registry. ``columns``: what it reads of the rows, () for the matrix. ``sparse``:
    whether ``apply`` gives ``Sparse`` rather than (rows, width) float64.
    """

    name: str
    columns: tuple[str, ...]
    width: int
    sparse: bool

    def apply(self, rows: Rows) -> np.ndarray | Sparse: ...

    def names(self) -> Sequence[str]: ...

    def to_json(self) -> dict[str, Any]: ...


PARTS: dict[str, Any] = {part.name: part for part in (
    NumberColumn, OneHot, Hash, NGrams, MatrixScale, MatrixAffine, MatrixSparse)}


def part_to_json(part: Part) -> dict[str, Any]:
    return {"transform": part.name, **part.to_json()}


def part_from_json(value: Any) -> Part:
    """Raises ``DataError`` for what ``part_to_json`` does not write."""
    with damage_of("transform"):
        return PARTS[value["transform"]].from_json(value)
