"""What the formats that pyarrow reads share: Arrow arrays to columns, and what a number in a text is.

pyarrow is an extra: it is imported when a file is read, never when a module is.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import RowTexts, Texts, Words
from mr_gradient.errors import MissingPackageError, UsageError

#: What a format's first look at a file reads, to tell numbers from words.
SAMPLE_BYTES = 1 << 20
#: What a reader parses at a time: it bounds the memory, and more was slower with many categories.
BLOCK_BYTES = 4 << 20
#: Neither ``1_000`` nor ``0x10`` is a number in a data file, nor are digits of other scripts.
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
INFINITY = r"^[+-]?([iI][nN][fF]|[iI][nN][fF][iI][nN][iI][tT][yY])$"
#: ``wrong`` of a bad row, for a text and for a number that is not one to compute with.
NOT_A_NUMBER, NOT_FINITE = "must be a number", "must be a finite number"
_SHOWN = 100


def load(module: str, what: str) -> Any:
    """Import a module of pyarrow; ``what`` needs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{what} needs pyarrow ({error}); install it with: "
                                  "python -m pip install pyarrow") from None


def numbers(array: Any) -> np.ndarray:
    """A float64 Arrow array as (rows,) float64, NaN where it is null."""
    values = array.to_numpy(zero_copy_only=False)
    return values.astype(np.float64, copy=False)


def infinite(values: np.ndarray) -> np.ndarray:
    """Which rows hold an infinity, (found,) int64; one pass over the values where none does."""
    if np.isfinite(values).all():
        return np.empty(0, np.int64)
    return np.flatnonzero(np.isinf(values))


def words(array: Any, tidy: Callable[[list[str]], list[str | None]] | None = None) -> Words:
    """A text or dictionary Arrow array as ``Words``, without words that no row holds.

    ``tidy`` maps the distinct texts, so that it runs once a word and not once a row; None: missing.
    """
    if not hasattr(array, "indices"):
        array = array.dictionary_encode()
    codes, texts = _codes(array), word_list(array.dictionary)
    if tidy is not None:
        texts = tidy(texts)
    used = np.zeros(len(texts) + 1, bool)
    used[codes] = True  # code -1 marks the last, which is no word
    if used[:-1].all() and len(set(texts)) == len(texts) and None not in texts:
        return Words(codes, texts)
    places: dict[str, int] = {}
    moved = np.full(len(texts) + 1, -1, np.int32)
    for code in np.flatnonzero(used[:-1]).tolist():
        text = texts[code]
        if text is not None:
            moved[code] = places.setdefault(text, len(places))
    return Words(moved[codes], list(places))


def words_as_parsed(array: Any) -> Words:
    """A string array that a parser has just made, null where missing, as ``Words``."""
    def encoded() -> tuple[np.ndarray, Texts]:
        found = array.dictionary_encode()
        return _codes(found), _texts(found.dictionary)

    texts, missing = _texts(array), np.zeros(len(array), bool)
    if array.null_count:
        missing = array.is_null().to_numpy(zero_copy_only=False)
        if np.diff(texts.starts)[missing].any():  # there may be anything where the value is null
            return Words(*encoded())
        texts = Texts(texts.letters, np.append(texts.starts[:-1][~missing], texts.starts[-1:]))
    return Words.of_rows(RowTexts(texts, missing, encoded))


def _texts(array: Any) -> Texts:
    """A string array, not copied."""
    _, starts, letters = array.buffers()
    return Texts(np.frombuffer(letters or b"", np.uint8),
                 np.frombuffer(starts, np.int32, len(array) + 1, 4 * array.offset)
                 if starts else np.zeros(1, np.int32))


def _codes(array: Any) -> np.ndarray:
    indices = array.indices.fill_null(-1) if array.null_count else array.indices
    return indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)


def word_list(texts: Any) -> list[str]:
    """A text array of Arrow as a list; by way of numpy it is never slower than ``to_pylist``."""
    return texts.to_numpy(zero_copy_only=False).tolist()


def holds_spaces(texts: Any) -> bool:
    """Whether any of the texts may have a space or a tab; one search for all of them."""
    letters = texts.buffers()[2]
    held = letters.to_pybytes() if letters is not None else b""
    return b" " in held or b"\t" in held


def numbers_in(texts: Any) -> tuple[np.ndarray, dict[int, str]]:
    """Arrow texts, null where missing, as (rows,) float64, and what is wrong with which row."""
    import pyarrow as pa
    import pyarrow.compute as compute

    try:
        values = numbers(texts.cast(pa.float64()))
        if np.count_nonzero(np.isfinite(values)) == len(values) - texts.null_count:
            return values, {}
    except pa.ArrowInvalid:
        pass  # it does not say where
    fine = compute.match_substring_regex(texts, NUMBER)
    values = numbers(compute.if_else(fine, texts, pa.scalar(None, texts.type)).cast(pa.float64()))
    wrong = {}
    for row in np.flatnonzero(~fine.fill_null(True).to_numpy(zero_copy_only=False)).tolist():
        text = texts[row:row + 1]
        endless = compute.match_substring_regex(text, INFINITY)[0].as_py()
        wrong[row] = NOT_FINITE if endless else NOT_A_NUMBER
    wrong.update(dict.fromkeys(infinite(values).tolist(), NOT_FINITE))
    return values, wrong


def shown(text: object) -> str:
    """A value for a message: a long one is cut."""
    text = str(text)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def not_utf8(text: bytes) -> str | None:
    """What is wrong with a line that is not UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return (f"must be text in UTF-8, has byte 0x{text[error.start]:02x} as byte "
                f"{error.start + 1} of the line")
    return None


def declared_kinds(found: Mapping[str, str], options: Mapping[str, Any], path: str) -> dict[str, str]:
    """The kinds that were found, with ``options["columns"]`` over them."""
    kinds = dict(found)
    for name, kind in (options.get("columns") or {}).items():
        if name not in kinds:
            raise UsageError(f"--kind {name}: {path} has no column {name!r}; found {listed(kinds)}")
        if kind not in ("number", "word"):
            raise UsageError(f"columns: {name!r} must be number or word, found {kind!r}")
        kinds[name] = kind
    return kinds


def listed(names: Iterable[str], most: int = 10) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
