"""How often which word occurs: exact up to a number of distinct words, bounded past it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Words
from mr_gradient.dataset.transforms.exact_json import text_from_json, whole_from_json

#: Distinct words to count: enough to choose a transform, and to show. Counting ten times as many made
#: the pass over clicks take half as long again.
CAP = 1_000
#: The same for a column whose most frequent words become features.
RANKED_CAP = 10_000
#: Characters of the distinct words of a column, all together: long texts are not categories.
_MOST_CHARACTERS = 1 << 22
#: From here on, two different whole numbers may be one float64.
LARGEST_WHOLE = 2.0 ** 53


class WordCounts:
    """Counts of a word column.

    ``counts``: word -> rows, or None when there are more than ``cap`` distinct words, or too long
    ones; whether that happens depends on all the data together, not on its order. ``rows``,
    ``missing``: rows with and without a word; ``length``: characters of all rows together.
    """

    def __init__(self, cap: int = CAP) -> None:
        self.cap = cap
        self.counts: dict[str, int] | None = {}
        self.characters = 0
        self.rows = self.missing = self.length = 0

    def add(self, column: Numbers | Words) -> None:
        """Count a batch; a number counts as ``number_text`` of it, and has no length."""
        if isinstance(column, Words):
            gone = column.missing()
            self.length += column.characters()
        else:
            gone = np.isnan(column.values)
        missing = int(np.count_nonzero(gone))
        self.missing += missing
        self.rows += len(gone) - missing
        if self.counts is None:
            return
        words = as_words(column)
        tallies = np.bincount(words.codes + 1, minlength=len(words) + 1)[1:]
        used = np.flatnonzero(tallies)
        if len(used) > self.cap:
            self.counts, self.characters = None, 0
        elif len(used) == len(tallies):
            self._add(words.words, tallies.tolist())
        else:
            self._add([words.words[i] for i in used.tolist()], tallies[used].tolist())

    def _add(self, words: Iterable[str], tallies: Iterable[int]) -> None:
        """Add to the counts of words that differ."""
        counts, before = self.counts, len(self.counts)
        known = counts.get
        for word, tally in zip(words, tallies):
            counts[word] = known(word, 0) + tally
        if len(counts) > before:  # those that are new stand last
            self.characters += sum(map(len, islice(counts, before, None)))
            if len(counts) > self.cap or self.characters > _MOST_CHARACTERS:
                self.counts, self.characters = None, 0

    def merge(self, right: WordCounts) -> WordCounts:
        """The counts of both; neither changes."""
        both = WordCounts(self.cap)
        both.rows, both.missing = self.rows + right.rows, self.missing + right.missing
        both.length = self.length + right.length
        if self.counts is None or right.counts is None:
            both.counts = None
        else:
            both.counts, both.characters = dict(self.counts), self.characters
            both._add(right.counts.keys(), right.counts.values())
        return both

    def to_json(self) -> dict[str, Any]:
        counts = None if self.counts is None else dict(sorted(self.counts.items()))
        return {"cap": self.cap, "rows": self.rows, "missing": self.missing, "length": self.length,
                "counts": counts}

    @classmethod
    def from_json(cls, value: Any) -> WordCounts:
        """Raises ``ValueError`` and its like for what ``to_json`` does not write."""
        words = cls(whole_from_json(value["cap"], 1))
        words.rows, words.missing, words.length = (
            whole_from_json(value[name]) for name in ("rows", "missing", "length"))
        if value["counts"] is None:
            words.counts = None
            return words
        words._add(map(text_from_json, value["counts"].keys()),
                   [whole_from_json(count, 1) for count in value["counts"].values()])
        if words.counts is None or sum(words.counts.values()) != words.rows:
            raise ValueError("counts that do not add up to the rows")
        return words


def number_text(value: float) -> str:
    """The word that stands for a number: 3 for 3.0, else the shortest exact text."""
    if value.is_integer() and abs(value) < LARGEST_WHOLE:
        return str(int(value))
    return repr(value)


def as_words(column: Numbers | Words) -> Words:
    """A number column as words, so that it can be a category or a label; a word column as it is."""
    if isinstance(column, Words):
        return column
    with np.errstate(invalid="ignore"):
        small = column.values.astype(np.uint8)
    if (small == column.values).all():  # no need to sort: as labels often are
        found = np.bincount(small, minlength=256) > 0
        return Words((np.cumsum(found, dtype=np.int32) - 1)[small],
                     [str(value) for value in np.flatnonzero(found).tolist()])
    missing = np.isnan(column.values)
    values = column.values[~missing] if missing.any() else column.values
    distinct, inverse = np.unique(values, return_inverse=True)
    codes = np.full(len(missing), -1, np.int32)
    codes[~missing] = inverse
    return Words(codes, [number_text(value) for value in distinct.tolist()])


def in_order(words) -> list[str]:
    """Words sorted by value if all are finite numbers, else as text."""
    try:
        numbers = {word: float(word) for word in words if "_" not in word}
        if len(numbers) == len(words) and np.isfinite(list(numbers.values())).all():
            return sorted(words, key=lambda word: (numbers[word], word))
    except ValueError:
        pass
    return sorted(words)
