"""Transforms of columns of categories: one_hot, hash, and hashed crosses of several columns.

They work on the distinct words of a batch, not on its rows. Number columns serve too: 3.0 is the
word 3. A missing value is a category of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Rows, Sparse, Words
from mr_gradient.dataset.names import FeatureNames, Names, ranged
from mr_gradient.dataset.transforms.counts import as_words, in_order
from mr_gradient.dataset.transforms.exact_json import (
    flag_from_json,
    list_from_json,
    text_from_json,
    whole_from_json,
)
from mr_gradient.dataset.transforms.hashing import bucket_and_sign
from mr_gradient.dataset.transforms.sparse_rows import one_a_row
from mr_gradient.dataset.transforms.statistics import Statistics, column_of
from mr_gradient.errors import UsageError

MOST_BITS = 30
#: Joins the parts of a cross: no word of a text file holds it by chance.
_JOIN = "\x1f"


@dataclass(frozen=True)
class OneHot:
    """A feature for each of the most frequent categories.

    ``other``: whether a feature stands for the rest, which takes what was unseen too; without it an
    unseen category is all zeros. ``missing``: whether a feature stands for missing values; without
    it a missing value is like an unseen one.
    """

    column: str
    categories: tuple[str, ...]
    other: bool
    missing: bool
    sparse: bool = False

    name = "one_hot"

    @classmethod
    def fit(cls, column: str, options: dict, statistics: Statistics, sparse: bool = False) -> OneHot:
        words = statistics.counts[column]
        if words.counts is None:
            raise UsageError(f"columns: {column}: one_hot: has more than {words.cap} distinct values, "
                             "or too long ones; use hash")
        ranked = sorted(words.counts, key=lambda word: (-words.counts[word], word))
        kept = in_order(ranked[:options["cap"]])
        return cls(column, tuple(kept), len(ranked) > len(kept), words.missing > 0, sparse)

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def width(self) -> int:
        return len(self.categories) + self.other + self.missing

    @cached_property
    def _index(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.categories)}

    def apply(self, rows: Rows) -> np.ndarray | Sparse:
        """(rows, width), zeros and ones."""
        words = as_words(column_of(rows, self.column))
        other = len(self.categories) if self.other else -1
        missing = self.width - 1 if self.missing else other
        # The last entry is what code -1 finds.
        table = np.array([*(self._index.get(word, other) for word in words.words), missing], np.int64)
        index = table[words.codes]
        if self.sparse:
            return one_a_row(index, np.ones(len(index)), self.width)
        dense = np.zeros((len(index), self.width))
        some = np.flatnonzero(index >= 0)
        dense[some, index[some]] = 1.0
        return dense

    def names(self) -> Names:
        extra = ["(other)"] * self.other + ["(missing)"] * self.missing
        return tuple(f"{self.column}={word}" for word in (*self.categories, *extra))

    def to_json(self) -> dict[str, Any]:
        return {"column": self.column, "categories": list(self.categories), "other": self.other,
                "missing": self.missing, "sparse": self.sparse}

    @classmethod
    def from_json(cls, value: Any) -> OneHot:
        categories = tuple(map(text_from_json, list_from_json(value["categories"])))
        if len(set(categories)) < len(categories):
            raise ValueError("a category comes twice")
        return cls(text_from_json(value["column"]), categories,
                   *(flag_from_json(value[name]) for name in ("other", "missing", "sparse")))


@dataclass(frozen=True)
class Hash:
    """``name=value`` hashed into 2**bits features, 1 or (``signed``) 1 and -1; several columns are
    crossed: one feature for each combination of their values. A missing value hashes as ``name``."""

    columns: tuple[str, ...]
    bits: int
    signed: bool = True
    seed: int = 0

    name = "hash"
    sparse = True

    @property
    def width(self) -> int:
        return 1 << self.bits

    def apply(self, rows: Rows) -> Sparse:
        """One entry a row; work and memory grow with the distinct combinations of the batch."""
        if len(self.columns) == 1:
            return self._of_column(as_words(column_of(rows, self.columns[0])))
        code = np.zeros(len(rows.number), np.int64)
        texts = [""]
        for name in self.columns:
            words = as_words(column_of(rows, name))
            values = [f"{name}={word}" for word in words.words] + [name]
            own = np.where(words.codes < 0, len(words.words), words.codes).astype(np.int64)
            if name == self.columns[0]:
                code, texts = own, values
                continue
            distinct, code = np.unique(code * len(values) + own, return_inverse=True)
            left, right = np.divmod(distinct, len(values))
            texts = [texts[i] + _JOIN + values[j] for i, j in zip(left.tolist(), right.tolist())]
        bucket, sign = bucket_and_sign(texts, self.bits, self.seed)
        value = sign[code] if self.signed else np.ones(len(code))
        return one_a_row(bucket[code], value, self.width)

    def _of_column(self, words: Words) -> Sparse:
        each, prefix = words.each, f"{self.columns[0]}="
        if each is None:
            found = bucket_and_sign(words.texts, self.bits, self.seed, prefix)
            # The last entry is what code -1 finds.
            bucket, sign = (np.append(table, missing)[words.codes]
                            for table, missing in zip(found, self._missing))
        else:  # to hash a text of every row takes less than to find those that differ
            bucket, sign = bucket_and_sign(each.present, self.bits, self.seed, prefix)
            if each.missing.any():
                rows = np.where(each.missing, -1, np.cumsum(~each.missing) - 1)
                bucket, sign = (np.append(table, missing)[rows]
                                for table, missing in zip((bucket, sign), self._missing))
        return one_a_row(bucket, sign if self.signed else np.ones_like(sign), self.width)

    @cached_property
    def _missing(self) -> tuple[np.ndarray, np.ndarray]:
        return bucket_and_sign([self.columns[0]], self.bits, self.seed)

    def names(self) -> FeatureNames:
        return ranged("*".join(self.columns) + "#", self.width)

    def to_json(self) -> dict[str, Any]:
        return {"columns": list(self.columns), "bits": self.bits, "signed": self.signed,
                "seed": self.seed}

    @classmethod
    def from_json(cls, value: Any) -> Hash:
        columns = tuple(map(text_from_json, list_from_json(value["columns"])))
        if not columns or len(set(columns)) < len(columns):
            raise ValueError("columns must be one or more, and differ")
        return cls(columns, whole_from_json(value["bits"], 1, MOST_BITS),
                   flag_from_json(value["signed"]), whole_from_json(value["seed"], 0, 0xFFFFFFFF))
