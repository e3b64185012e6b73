"""Stratified held-out parts: the same share of every class, by rows' hashes alone.

A row is held out when its hash is below a limit. The limits differ a little from class to class: the
pass ``statistics`` counts, for each class, how many hashes fall into each of 1,024 equal ranges, and
the limit of a class is the end of the range at which the share asked for is met best. So a class's
share is wrong by at most half of what falls into a range: about 0.05% of a class of millions, a row or
two of a class of thousands.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Words
from mr_gradient.dataset.transforms.counts import as_words
from mr_gradient.errors import DataError

#: Ranges of hashes; a limit is a number of them.
RANGES = 1024
_SHIFT = np.uint64(64 - 10)
_MOST_CLASSES = 1000


def range_of(hashes: np.ndarray) -> np.ndarray:
    """Range of each hash, (rows,) int64 in 0..1023; ``hashes`` (rows,) uint64."""
    return (hashes >> _SHIFT).astype(np.int64)


@dataclass
class Strata:
    """``counts``: class -> rows whose hash is in each range, (1024,) int64."""

    counts: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, column: Numbers | Words, hashes: np.ndarray) -> None:
        """Count labels with the held-out hashes of their rows, both (rows,)."""
        words = as_words(column)
        there = words.codes >= 0
        cell = words.codes[there].astype(np.int64) * RANGES + range_of(hashes[there])
        cells = np.bincount(cell, minlength=len(words.words) * RANGES).reshape(-1, RANGES)
        for word, found in zip(words.words, cells):
            if found.any():
                self.counts[word] = self.counts.get(word, 0) + found
        if len(self.counts) > _MOST_CLASSES:
            raise DataError(f"--stratify: the target must have at most {_MOST_CLASSES} classes, found "
                            "more")

    def merge(self, right: Strata) -> Strata:
        """The counts of both: whole numbers, so their order does not matter."""
        both = dict(self.counts)
        for word, found in right.counts.items():
            both[word] = both.get(word, 0) + found
        return Strata(both)

    def limits(self, classes: tuple[str, ...], fraction: float) -> tuple[int, ...]:
        """How many ranges of each class are held out."""
        found = []
        for name in classes:
            held = np.concatenate(([0], np.cumsum(self.counts[name])))
            found.append(int(np.argmin(np.abs(held - fraction * held[-1]))))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return {word: [np.flatnonzero(found).tolist(), found[found > 0].tolist()]
                for word, found in sorted(self.counts.items())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Strata:
        strata = cls()
        for word, (ranges, found) in value.items():
            strata.counts[word] = np.zeros(RANGES, np.int64)
            strata.counts[word][ranges] = found
        return strata
