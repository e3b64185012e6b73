"""Names of features: a tuple where there are few, ranges of numbered names where there are many.

A list of 2**20 names is 15 MB of JSON, which every data set and every model would carry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

#: Longer lists of generated names are kept as ranges.
MAX_LISTED = 100_000


class Numbered(NamedTuple):
    """The names ``prefix0`` to ``prefix<count - 1>``."""

    prefix: str
    count: int


class FeatureNames(Sequence):
    """An immutable sequence of names given by single names and ranges, in order."""

    def __init__(self, parts: tuple[str | Numbered, ...]) -> None:
        self.parts = parts
        self._ends = list(accumulate(1 if isinstance(part, str) else part.count for part in parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"feature {index} of {len(self)}")
        at = bisect_right(self._ends, number)
        part = self.parts[at]
        return part if isinstance(part, str) else f"{part.prefix}{number - self._ends[at] + part.count}"

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, str):
                yield part
            else:
                yield from (f"{part.prefix}{i}" for i in range(part.count))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureNames) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __repr__(self) -> str:
        return f"FeatureNames({self.parts!r})"


Names = tuple[str, ...] | FeatureNames


def ranged(prefix: str, count: int) -> FeatureNames:
    """The names ``prefix0``, ``prefix1`` and so on as a range, however few."""
    return FeatureNames((Numbered(prefix, count),))


def numbered(prefix: str, count: int) -> Names:
    """The names ``prefix0``, ``prefix1`` and so on."""
    return ranged(prefix, count) if count > MAX_LISTED else tuple(ranged(prefix, count))


def joined(each: Iterable[Sequence[str]]) -> Names:
    """The names of several sequences, one after another; a tuple where that is short."""
    parts: list[str | Numbered] = []
    for names in each:
        parts += names.parts if isinstance(names, FeatureNames) else names
    names = FeatureNames(tuple(parts))
    return names if len(names) > MAX_LISTED else tuple(names)


def to_json(names: Names) -> list | dict:
    """One range as an object, otherwise a list of names and objects."""
    if not isinstance(names, FeatureNames):
        return list(names)
    parts = [part if isinstance(part, str) else part._asdict() for part in names.parts]
    return parts[0] if len(parts) == 1 else parts


def from_json(value: list | dict) -> Names:
    """The inverse of ``to_json``. Raises ``TypeError`` or ``ValueError`` for anything else."""
    parts = tuple(part if isinstance(part, str) else Numbered(**part)
                  for part in ([value] if isinstance(value, dict) else value))
    ranges = [part for part in parts if isinstance(part, Numbered)]
    for part in ranges:
        if type(part.prefix) is not str or type(part.count) is not int or not 0 <= part.count < 1 << 48:
            raise ValueError(f"{part} must be a prefix and a count of names")
    return FeatureNames(parts) if ranges else parts
