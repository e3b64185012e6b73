"""What a gradient job adds up, and how it is cut into blocks: for mappers and for the driver.

A gradient for each point, in the precision of the job, and, where they are wanted, a Hessian for
each, in float64. Of a Hessian, which is symmetric, rows travel up to their diagonal only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mr_gradient.blocks import Layout
from mr_gradient.errors import TaskError
from mr_gradient.partial_gradient import Node

#: Rows of a Hessian in a tile: it travels as rectangles from the first column to the diagonal.
_TILE = 256


class Range(NamedTuple):
    """Elements ``start`` to ``stop`` of the flat array number ``array``."""

    array: int
    start: int
    stop: int


@dataclass
class Sums:
    """Zeros to add to: ``gradients``, a dictionary of tensors for each point, and ``hessians``."""

    flat: np.ndarray
    gradients: list[dict[str, np.ndarray]]
    hessians: list[np.ndarray]


@dataclass(frozen=True)
class Outputs:
    """``blocks``: the ranges that travel, by their number in the records."""

    layout: Layout
    points: int
    dtype: np.dtype
    hessian: bool
    blocks: list[Range] = field(repr=False)

    @classmethod
    def of(cls, settings, layout: Layout) -> Outputs:
        """Those of the settings of a job (``broadcast.Settings``)."""
        dtype = np.dtype(settings.precision)
        of_one = layout.blocks(settings.block_bytes, dtype.itemsize)
        blocks = [Range(0, point * layout.size + block.start, point * layout.size + block.stop)
                  for point in range(settings.points) for block in of_one]
        if settings.hessian:
            tiles, step = _tiles(layout.size), max(1, settings.block_bytes // 8)
            size = tiles[-1].stop
            blocks += [Range(1, point * size + lo, point * size + min(lo + step, tile.stop))
                       for point in range(settings.points) for tile in tiles
                       for lo in range(tile.start, tile.stop, step)]
        return cls(layout, settings.points, dtype, settings.hessian, blocks)

    @property
    def held_bytes(self) -> int:
        """What a mapper holds: parameters and sums of each point, and copies of the sums that it
        adds to those of other splits."""
        of_hessian = 2 * 8 * self.layout.size**2 if self.hessian else 0
        return self.points * (3 * self.layout.size * self.dtype.itemsize + of_hessian)

    def zeros(self) -> Sums:
        size = self.layout.size
        flat = np.zeros(self.points * size, self.dtype)
        gradients = [self.layout.views(flat[point * size:(point + 1) * size])
                     for point in range(self.points)]
        hessians = [np.zeros((size, size)) for _ in range(self.points)] if self.hessian else []
        return Sums(flat, gradients, hessians)

    def arrays(self, sums: Sums) -> list[np.ndarray]:
        """The flat arrays that ``Range.array`` counts."""
        if not self.hessian:
            return [sums.flat]
        packed = [hessian[tile.rows, :tile.rows.stop].reshape(-1)
                  for hessian in sums.hessians for tile in _tiles(self.layout.size)]
        return [sums.flat, np.concatenate(packed)]

    def collect(self, nodes: dict[int, Node]) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Gradient and Hessian of each point from the blocks of a job; zeros where none came."""
        size = self.layout.size
        tiles = _tiles(size) if self.hessian else []
        packed = tiles[-1].stop if tiles else 0
        flats = [np.zeros(self.points * size, self.dtype), np.zeros(self.points * packed)]
        for number, node in nodes.items():
            array, lo, hi = self.blocks[number]
            if node.values.shape != (hi - lo,) or node.values.dtype != flats[array].dtype:
                raise TaskError(f"block {number} must be {flats[array].dtype}({hi - lo},), found "
                                f"{node.values.dtype}{node.values.shape}")
            flats[array][lo:hi] = node.values
        return [(flats[0][point * size:(point + 1) * size],
                 _whole(flats[1][point * packed:(point + 1) * packed], tiles)
                 if self.hessian else None) for point in range(self.points)]


class _Tile(NamedTuple):
    """Rows ``rows`` of a Hessian, up to the last one's diagonal, as a range of the packed array."""

    rows: slice
    start: int
    stop: int


def _tiles(size: int) -> list[_Tile]:
    tiles, start = [], 0
    for lo in range(0, size, _TILE):
        hi = min(lo + _TILE, size)
        tiles.append(_Tile(slice(lo, hi), start, start + (hi - lo) * hi))
        start = tiles[-1].stop
    return tiles


def _whole(packed: np.ndarray, tiles: list[_Tile]) -> np.ndarray:
    """The symmetric matrix of its lower tiles; what they have above the diagonal is not looked at."""
    size = tiles[-1].rows.stop
    matrix = np.zeros((size, size))
    for tile in tiles:
        matrix[tile.rows, :tile.rows.stop] = packed[tile.start:tile.stop].reshape(-1, tile.rows.stop)
    lower = np.tril(matrix, -1)
    return lower + lower.T + np.diag(matrix.diagonal())
