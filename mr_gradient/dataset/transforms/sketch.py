"""A deterministic mergeable quantile sketch that knows its own error.

Items of weight 2**level lie in levels, as in Karnin, Lang and Liberty 2016 (KLL). Compacting an
even number of sorted items of weight w keeps every second one at weight 2w. Where KLL draws the
offset (first or second of each pair), here the choice is the one that balances what has been done
before, and which level is compacted is the one that costs the least rank error for a freed place
(in the spirit of Manku, Rajagopalan and Lindsay 1998). Neither looks at the values, so the same
pieces merged in the same order give the same sketch.

Proof of the bound: let r of the compacted items be <= x. Keeping the first of each pair counts
2w ceil(r / 2), which is w r or w r + w; keeping the second counts w r or w r - w. So the estimated
rank of any x is at most ``high`` above and at most ``low`` below the true one, where ``high`` and
``low`` add up w over the compactions of either kind; they add up over merges.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from mr_gradient.dataset.transforms.exact_json import (
    damage_of,
    list_from_json,
    text_from_json,
    whole_from_json,
)

#: Items kept: 45 KB; as JSON 60 KB.
_ITEMS = 5600
_LEVELS = 60


class Sketch:
    """Quantiles of finite numbers; ``levels[h]`` holds sorted items of weight 2**h.

    Values wait until there are ``_ITEMS`` of them, so that it does not show how they were added.
    """

    def __init__(self) -> None:
        self.levels: list[np.ndarray] = [np.empty(0)]
        self.high = self.low = 0
        self._waiting: list[np.ndarray] = []

    @property
    def count(self) -> int:
        self._take_waiting(1)
        return sum(len(items) << level for level, items in enumerate(self.levels))

    def add(self, values: np.ndarray) -> None:
        """Add ``values`` (n,) float64, finite, in any order."""
        # 0.0 turns -0.0 into 0.0: where equal values are sorted, their order is the machine's.
        self._waiting.append(values + 0.0)
        self._take_waiting(_ITEMS)

    def _take_waiting(self, least: int) -> None:
        """Take the values that wait, as long as there are ``least`` of them."""
        count = sum(map(len, self._waiting))
        if count < least:
            return
        values = np.concatenate(self._waiting)
        taken = count - count % least
        for start in range(0, taken, _ITEMS):
            self.levels[0] = _union(self.levels[0], np.sort(values[start:min(start + _ITEMS, taken)]))
            self._compress()
        self._waiting = [values[taken:].copy()]

    def merge(self, right: Sketch) -> Sketch:
        """The sketch of both; neither changes."""
        self._take_waiting(1)
        right._take_waiting(1)
        both = Sketch()
        both.high, both.low = self.high + right.high, self.low + right.low
        longer, shorter = sorted((self.levels, right.levels), key=len, reverse=True)
        both.levels = list(longer)
        for level, items in enumerate(shorter):
            both.levels[level] = _union(both.levels[level], items)
        both._compress()
        return both

    def _compress(self) -> None:
        while sum(map(len, self.levels)) > _ITEMS:
            pairs = [len(items) // 2 for items in self.levels]
            level = min((level for level, pair in enumerate(pairs) if pair),
                        key=lambda each: (1 << each) / pairs[each])
            self._compact(level)

    def _compact(self, level: int) -> None:
        items = self.levels[level]
        even = len(items) & ~1
        if self.high <= self.low:
            offset, self.high = 0, self.high + (1 << level)
        else:
            offset, self.low = 1, self.low + (1 << level)
        if level + 1 == len(self.levels):
            self.levels.append(np.empty(0))
        self.levels[level + 1] = _union(self.levels[level + 1], items[offset:even:2])
        self.levels[level] = items[even:]

    def error(self) -> int:
        """How far the rank of an answer of ``quantile`` can be from the rank that was asked for."""
        self._take_waiting(1)
        return max(self.high, self.low) + (1 << (len(self.levels) - 1) if len(self.levels) > 1 else 0)

    def median(self) -> float:
        """The median; exact as long as nothing was compacted. NaN without values."""
        count = self.count
        if not count:
            return float("nan")
        values = np.concatenate(self.levels)
        weights = np.concatenate([np.full(len(items), 1 << level, np.int64)
                                  for level, items in enumerate(self.levels)])
        order = np.argsort(values, kind="stable")
        ends = np.cumsum(weights[order])
        # The two middle values of an even number, twice the same of an odd one.
        at = np.searchsorted(ends, [(count - 1) // 2, count // 2], side="right")
        first, second = values[order[at]].tolist()
        return first if first == second else first / 2 + second / 2

    def to_json(self) -> dict[str, Any]:
        self._take_waiting(1)
        return {"levels": [base64.b64encode(items.astype("<f8").tobytes()).decode()
                           for items in self.levels], "high": self.high, "low": self.low}

    @classmethod
    def from_json(cls, value: Any) -> Sketch:
        """Raises ``DataError`` for what ``to_json`` does not write."""
        with damage_of("quantile sketch"):
            sketch = cls()
            levels = list_from_json(value["levels"])
            if not 1 <= len(levels) <= _LEVELS:
                raise ValueError(f"{len(levels)} levels")
            sketch.levels = [np.frombuffer(base64.b64decode(text_from_json(text), validate=True),
                                           "<f8").astype(np.float64) for text in levels]
            for items in sketch.levels:
                if not np.isfinite(items).all() or (items[1:] < items[:-1]).any():
                    raise ValueError("items must be finite and sorted")
            if sum(map(len, sketch.levels)) > _ITEMS:
                raise ValueError(f"more than {_ITEMS} items")
            sketch.high, sketch.low = whole_from_json(value["high"]), whole_from_json(value["low"])
            return sketch


def _union(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Sorted union of two sorted arrays."""
    if not len(left) or not len(right):
        return right if not len(left) else left
    return np.sort(np.concatenate([left, right]), kind="stable")
