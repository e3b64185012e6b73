"""Text columns to hashed n-grams of words or characters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Rows, Sparse
from mr_gradient.dataset.names import FeatureNames, ranged
from mr_gradient.dataset.transforms.counts import as_words
from mr_gradient.dataset.transforms.exact_json import flag_from_json, text_from_json, whole_from_json
from mr_gradient.dataset.transforms.hashing import bucket_and_sign
from mr_gradient.dataset.transforms.sparse_rows import from_entries
from mr_gradient.dataset.transforms.statistics import column_of
from mr_gradient.dataset.transforms.word_steps import MOST_BITS

_WORD = re.compile(r"\w+")
LONGEST = 20
UNITS = ("words", "characters")


@dataclass(frozen=True)
class NGrams:
    """Counts of the n-grams of lower-cased text, ``shortest`` to ``n`` long, hashed into 2**bits
    features. A missing text has none."""

    column: str
    n: int
    shortest: int
    of: str
    bits: int
    signed: bool = True
    seed: int = 0

    name = "ngrams"
    sparse = True

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def width(self) -> int:
        return 1 << self.bits

    def grams(self, text: str) -> Iterator[str]:
        """All n-grams of a text, with repetitions."""
        text = text.lower()
        units = _WORD.findall(text) if self.of == "words" else text
        join = " ".join if self.of == "words" else "".join
        for n in range(self.shortest, self.n + 1):
            for start in range(len(units) - n + 1):
                yield join(units[start:start + n])

    def apply(self, rows: Rows) -> Sparse:
        words = as_words(column_of(rows, self.column))
        known: dict[str, int] = {}
        grams: list[int] = []
        ends = [0]
        for text in words.words:
            grams.extend(known.setdefault(gram, len(known)) for gram in self.grams(text))
            ends.append(len(grams))
        bucket, sign = bucket_and_sign([f"{self.column}={gram}" for gram in known], self.bits,
                                       self.seed)
        if not self.signed:
            sign = np.ones_like(sign)
        gram = np.array(grams, np.int64)
        text = np.repeat(np.arange(len(words.words)), np.diff(ends))
        found = from_entries(text, bucket[gram], sign[gram], len(words.words), self.width)
        # From texts to rows; a missing text (code -1) has no entries.
        starts, sizes = found.indptr[:-1], np.diff(found.indptr)
        starts, sizes = np.append(starts, 0)[words.codes], np.append(sizes, 0)[words.codes]
        indptr = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(sizes, out=indptr[1:])
        at = np.repeat(starts - indptr[:-1], sizes) + np.arange(indptr[-1])
        return Sparse(indptr, found.indices[at], found.values[at], self.width)

    def names(self) -> FeatureNames:
        return ranged(f"{self.column}#", self.width)

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name)
                for name in ("column", "n", "shortest", "of", "bits", "signed", "seed")}

    @classmethod
    def from_json(cls, value: Any) -> NGrams:
        n = whole_from_json(value["n"], 1, LONGEST)
        if value["of"] not in UNITS:
            raise ValueError(f"of must be one of {UNITS}")
        return cls(text_from_json(value["column"]), n, whole_from_json(value["shortest"], 1, n),
                   value["of"], whole_from_json(value["bits"], 1, MOST_BITS),
                   flag_from_json(value["signed"]), whole_from_json(value["seed"], 0, 0xFFFFFFFF))
