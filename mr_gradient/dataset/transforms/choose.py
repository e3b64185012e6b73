"""Which part each column gets: what the user asked for, or a default, and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Source
from mr_gradient.dataset.transforms.elementwise import Shape
from mr_gradient.dataset.transforms.matrix_steps import (
    MatrixAffine,
    MatrixScale,
    MatrixSparse,
    fits_uint8,
)
from mr_gradient.dataset.transforms.moments import Moments
from mr_gradient.dataset.transforms.number_steps import Chain, NumberColumn
from mr_gradient.dataset.transforms.options import HASH_BITS, ONE_HOT_CAP, read_step
from mr_gradient.dataset.transforms.sparse_counts import SparseCounts
from mr_gradient.dataset.transforms.spec import DROP, Spec
from mr_gradient.dataset.transforms.statistics import Series, Statistics
from mr_gradient.dataset.transforms.steps import Part
from mr_gradient.dataset.transforms.text_steps import NGrams
from mr_gradient.dataset.transforms.word_steps import Hash, OneHot
from mr_gradient.errors import DataError, UsageError

#: Many different words of so many letters in the mean are texts, whose own words tell more.
_TEXT_LENGTH = 32
#: One-hot features past this, all columns together, are kept sparse.
_DENSE_ONE_HOT = 256


def parts_and_table(source: Source, statistics: Statistics,
                    spec: Spec) -> tuple[list[Part], list[dict[str, Any]]]:
    """The fitted parts in the order of the input, and a row of the table for each column."""
    parts: list[Part] = []
    table: list[dict[str, Any]] = []
    for name in spec.features(source):
        steps = spec.steps(name, source.columns[name])
        choose = _number if source.columns[name] == "number" else _word
        part, words, why = (None, "drop", "given") if steps == DROP else choose(name, statistics, spec)
        kind, missing, span = _summary(name, source.columns[name], statistics)
        table.append({"column": name, "kind": kind, "missing": missing, "range": span,
                      "transforms": words, "features": part.width if part else 0, "why": why})
        if part:
            parts.append(part)
    for cross in spec.crosses:
        part = Hash(tuple(cross["columns"]), cross["bits"], cross["signed"], cross["seed"])
        parts.append(part)
        table.append({"column": " x ".join(cross["columns"]), "kind": "cross", "missing": 0,
                      "range": "", "transforms": f"hash to 2^{part.bits}", "features": part.width,
                      "why": "given"})
    if source.width:
        part, row = _matrix(source, statistics, spec.matrix)
        table.append(row)
        if part:
            parts.append(part)
    return _sparse_one_hots(parts), table


def _sparse_one_hots(parts: list[Part]) -> list[Part]:
    """One-hot features join other sparse ones, or are sparse because they are many."""
    one_hots = [part for part in parts if isinstance(part, OneHot)]
    if not any(part.sparse for part in parts) and (
            sum(part.width for part in one_hots) <= _DENSE_ONE_HOT):
        return parts
    return [OneHot(part.column, part.categories, part.other, part.missing, True)
            if isinstance(part, OneHot) else part for part in parts]


def _number(name: str, statistics: Statistics, spec: Spec) -> tuple[Part | None, str, str]:
    steps = spec.steps(name, "number")
    if steps and steps[0][0] in ("one_hot", "hash", "ngrams"):
        return _given_words(name, statistics, *steps[0])
    chain, why = spec.chain(name), "given"
    if steps is None:
        at = statistics.measures.series.index(Series(name))
        numbers = statistics.numbers
        why = "inferred"
        if not numbers.count[at]:
            return None, "drop", "inferred: no values"
        low, high = numbers.minimum[at], numbers.maximum[at]
        if low == high:
            why = "inferred: constant"
        elif numbers.whole[at] and low == 0 and high == 1:
            chain, why = Chain((), "mean", (), None, ()), "inferred: zeros and ones"
    part = NumberColumn.fit(name, chain, statistics)
    given = any(step == "impute" for step, _ in steps or ())
    return part, _chain_words(chain, given, _missing(name, statistics)), why


def _chain_words(chain: Chain, given: bool, missing: int) -> str:
    """A chain for the table; an impute that nobody asked for shows where values are missing."""
    words = _shape_words(chain.before)
    if given or missing:
        words.append(f"impute {chain.impute:.6g}" if isinstance(chain.impute, float)
                     else f"impute {chain.impute}")
    words += _shape_words(chain.between) + [chain.affine] * bool(chain.affine)
    words += _shape_words(chain.after)
    return ", ".join(words) or "pass"


def _shape_words(shape: Shape) -> list[str]:
    return [" ".join([name, *(f"{number:.6g}" for number in numbers)]) for name, *numbers in shape]


def _word(name: str, statistics: Statistics, spec: Spec) -> tuple[Part | None, str, str]:
    steps = spec.steps(name, "word")
    if steps is not None:
        return _given_words(name, statistics, *steps[0])
    counts = statistics.counts[name]
    if not counts.rows:
        return None, "drop", "inferred: no values"
    if counts.counts is not None and len(counts.counts) <= ONE_HOT_CAP:
        part = OneHot.fit(name, {"cap": ONE_HOT_CAP}, statistics)
        return part, "one_hot", f"inferred: {len(counts.counts)} categories"
    if counts.length >= _TEXT_LENGTH * counts.rows:
        part, words, _ = _given_words(name, statistics, *read_step(name, {"ngrams": {"n": 1}}))
        return part, words, f"inferred: texts of {counts.length / counts.rows:.0f} letters"
    return Hash((name,), HASH_BITS), f"hash to 2^{HASH_BITS}", "inferred: " + (
        f"{len(counts.counts)} categories" if counts.counts is not None
        else f"more than {counts.cap} categories, or long ones")


def _given_words(name: str, statistics: Statistics, step: str, options: dict) -> tuple[Part, str, str]:
    if step == "one_hot":
        part = OneHot.fit(name, options, statistics)
        return part, f"one_hot{', the rest to one' * part.other}", "given"
    if step == "hash":
        return Hash((name,), **options), f"hash to 2^{options['bits']}", "given"
    span = f"{options['shortest']} to {options['n']}"
    return NGrams(name, **options), f"ngrams of {span} {options['of']}, 2^{options['bits']}", "given"


def _missing(name: str, statistics: Statistics) -> int:
    at = statistics.measures.series.index(Series(name))
    return int(statistics.numbers.missing[at])


def _summary(name: str, kind: str, statistics: Statistics) -> tuple[str, int, str]:
    """Kind, missing and range of a column, for the table."""
    if kind == "number":
        numbers, at = statistics.numbers, statistics.measures.series.index(Series(name))
        span = f"{numbers.minimum[at]:.6g} to {numbers.maximum[at]:.6g}" if numbers.count[at] else ""
        return "whole" if numbers.whole[at] else "number", int(numbers.missing[at]), span
    counts = statistics.counts[name]
    span = (f"{len(counts.counts)} words" if counts.counts is not None
            else f"more than {counts.cap} words, or long ones")
    return "word", counts.missing, span


def _matrix(source: Source, statistics: Statistics,
            asked: str | None) -> tuple[Part | None, dict[str, Any]]:
    found, why = statistics.matrix, "given" if asked else "inferred"
    row = {"column": "matrix", "kind": "matrix", "missing": 0, "range": "", "transforms": "drop",
           "features": 0, "why": why}
    if found is None:
        raise DataError("the input has no rows")
    some = (found.count > 0).any() if isinstance(found, Moments) else found.nnz
    if some:
        row["range"] = f"{np.min(found.minimum):.6g} to {np.max(found.maximum):.6g}"
    if isinstance(found, SparseCounts):
        row["kind"] = "sparse matrix"
        if asked not in (None, "pass", "drop"):
            raise UsageError(f"matrix: {asked}: would make sparse features dense; use pass")
        part = None if asked == "drop" else MatrixSparse(source.width)
        return part, row | ({"transforms": "pass", "features": source.width} if part else {})
    row["missing"] = int(found.missing.sum())
    kind = asked or _matrix_default(found)
    if kind == "drop":
        return None, row
    part = MatrixScale.fit(found) if kind == "scale" else MatrixAffine.fit(kind, found)
    words = f"scale by {part.factor:.6g}, kept as uint8" if kind == "scale" else kind
    return part, row | {"transforms": words, "features": source.width}


def _matrix_default(found: Moments) -> str:
    return "scale" if fits_uint8(found) else "standardize"
