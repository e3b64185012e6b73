"""Names of features, made when they are looked at: hashing has millions of them."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence


class Names(Sequence):
    """A sequence of names: lists, and ranges ``prefix0, prefix1, ...``, one after another."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._parts: list[Sequence[str] | tuple[str, int]] = [list(names)]
        self._sizes = [len(names)]

    @classmethod
    def range(cls, prefix: str, count: int) -> Names:
        names = cls()
        names._parts, names._sizes = [(prefix, count)], [count]
        return names

    @classmethod
    def joined(cls, each: Sequence[Names | list[str]]) -> Names:
        names = cls()
        for one in each:
            part = one if isinstance(one, Names) else cls(one)
            names._parts += part._parts
            names._sizes += part._sizes
        return names

    @property
    def parts(self) -> list[Sequence[str] | tuple[str, int]]:
        """Lists of names, and (prefix, count) of ranges, in order."""
        return self._parts

    def __len__(self) -> int:
        return sum(self._sizes)

    def __getitem__(self, at):
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        at %= len(self)
        ends = list(itertools.accumulate(self._sizes))
        which = bisect.bisect_right(ends, at)
        at -= ends[which] - self._sizes[which]
        part = self._parts[which]
        return f"{part[0]}{at}" if isinstance(part, tuple) else part[at]

    def __iter__(self):
        for part in self._parts:
            if isinstance(part, tuple):
                yield from (f"{part[0]}{i}" for i in range(part[1]))
            else:
                yield from part
