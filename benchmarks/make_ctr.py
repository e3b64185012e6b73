"""Write a synthetic data set of clicks in the Criteo layout, of any size.

    python benchmarks/make_ctr.py OUT (--rows N | --bytes N[K|M|G]) [--seed N]

A line a row, separated by tabs, no header: label 0 or 1, 13 whole numbers with heavy tails, 26
categories of 8 hexadecimal digits, empty where a value is missing. How often values are missing and
how many categories a column has are like Criteo's display advertising challenge of 2014. A rank of
frequency r comes about as often as 1 / r (Zipf). The labels follow a logistic model over some of the
columns, so there is something to learn and a best log loss that nobody beats.

The first rows of a larger data set of a seed are those of a smaller one. The model is the same for
every seed, so that another seed gives test data.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

LABEL = "label"
NUMBERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
COLUMNS = (LABEL, *NUMBERS, *CATEGORIES)

#: Share of rows in which a value is missing, and the power of two that numbers stay below.
_MISSING_NUMBERS = (.45, 0, .21, .22, .03, .22, .04, 0, .04, .45, .04, .77, .22)
_POWERS = (9, 12, 14, 7, 20, 15, 12, 10, 13, 4, 8, 7, 11)
_MISSING_CATEGORIES = (0, 0, .03, .03, 0, .12, 0, 0, 0, 0, 0, .03, 0, 0, 0, .03, 0, 0, .44, .44, .03,
                       .76, 0, .03, .44, .44)
_DISTINCT = (1461, 584, 10_131_227, 2_202_608, 306, 24, 12_518, 634, 4, 93_146, 5684, 8_351_593, 3195,
             28, 14_993, 5_461_306, 11, 5653, 2173, 4, 7_046_547, 18, 16, 286_181, 105, 142_572)
#: Columns that the label depends on, and how strongly: numbers by their logarithm, up or down;
#: categories by a weight of each, uniform between minus and plus so much.
_NUMBER_WEIGHTS = {0: 1.5, 4: -1.2, 6: 1.0, 10: 0.8}
_CATEGORY_WEIGHTS = {0: 0.8, 5: 1.0, 8: 0.7, 13: 0.9, 16: 0.9, 22: 0.6}
_BIAS = -2.0
_ROWS = 1 << 14
_HEX = np.frombuffer(b"".join(b"%02x" % i for i in range(256)), np.uint16)
_DIGITS = 7
_TEXT_BYTES = 2 + 13 * (_DIGITS + 1) + 26 * 9


def write(path: str, rows: int | None = None, size: int | None = None, seed: int = 0) -> int:
    """Write ``rows`` rows, or the fewest that make at least ``size`` bytes; returns the rows."""
    if (rows is None) == (size is None):
        raise ValueError("rows or size must be given, and not both")
    done = written = 0
    with open(path, "wb") as file:
        for text, ends in chunks(seed):
            take = len(ends)
            if rows is not None:
                take = min(take, rows - done)
            elif written + len(text) >= size:
                take = int(np.searchsorted(ends, size - written)) + 1
            length = int(ends[take - 1]) if take else 0
            file.write(text[:length])
            done, written = done + take, written + length
            if done == rows or (size is not None and written >= size):
                return done
    raise AssertionError("chunks never end")


def chunks(seed: int) -> Iterator[tuple[bytes, np.ndarray]]:
    """Endless chunks of 16,384 rows: their text, and where each row ends, (rows,)."""
    number = 0
    while True:
        labels, values, ranks, _ = draw(seed, number)
        yield _text(labels, values, ranks)
        number += 1


def draw(seed: int, chunk: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels (rows,) of a chunk, numbers (rows, 13), ranks of categories (rows, 26), both -1 where
    they are missing, and the probability of label 1, (rows,), which is what a model can learn."""
    generator = np.random.default_rng([seed, chunk])
    values = generator.random((_ROWS, 13))
    values = _power(values * values * np.array(_POWERS)) - 1
    values[generator.random((_ROWS, 13)) < np.array(_MISSING_NUMBERS)] = -1
    ranks = _power(generator.random((_ROWS, 26)) * _exponent(1 + np.array(_DISTINCT))) - 1
    ranks[generator.random((_ROWS, 26)) < np.array(_MISSING_CATEGORIES)] = -1
    score = np.full(_ROWS, _BIAS)
    for column, weight in _NUMBER_WEIGHTS.items():
        score += weight * (np.log2(2.0 + values[:, column]) / _POWERS[column])
    for column, weight in _CATEGORY_WEIGHTS.items():
        score += weight * (_scrambled(ranks[:, column], column) / 2.0**31 - 1.0)
    probability = 1 / (1 + np.exp(-score))
    labels = (generator.random(_ROWS) < probability).astype(np.uint8)
    return labels, values, ranks, probability


def _power(exponents: np.ndarray) -> np.ndarray:
    """2**x with straight lines between whole x, rounded down, int64: of a uniform x it makes a value
    come about as often as 1 / value. Exact, so the same on every machine, and fast."""
    whole = np.floor(exponents)
    return np.ldexp(1.0 + (exponents - whole), whole.astype(np.int32)).astype(np.int64)


def _exponent(powers: np.ndarray) -> np.ndarray:
    """The inverse of ``_power``."""
    fraction, whole = np.frexp(powers)
    return whole - 1 + (2 * fraction - 1)


def _scrambled(ranks: np.ndarray, column: int | np.ndarray) -> np.ndarray:
    """32 bits for a category, uint32 as ``ranks``: one to one in the rank (Murmur3's finalizer)."""
    bits = ranks.astype(np.uint32) + np.asarray((column + 1) * 0x9E3779B1 & 0xFFFFFFFF, np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits ^= bits >> np.uint32(shift)
        bits *= np.uint32(factor)
    return bits ^ (bits >> np.uint32(16))


def _text(labels: np.ndarray, values: np.ndarray, ranks: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Rows of one width, zero bytes where there is nothing; then these are taken out."""
    rows = len(labels)
    text = np.zeros((rows, _TEXT_BYTES), np.uint8)
    text[:, 0] = labels + ord("0")
    numbers = text[:, 1:-26 * 9 - 1].reshape(rows, 13, _DIGITS + 1)
    numbers[:, :, 0] = ord("\t")
    left = np.maximum(values, 0).astype(np.int32)
    for place in range(_DIGITS, 0, -1):
        shown = (left > 0) | ((values == 0) & (place == _DIGITS))
        left, digit = np.divmod(left, 10)
        np.copyto(numbers[:, :, place], (digit + ord("0")).astype(np.uint8), where=shown)
    categories = text[:, -26 * 9 - 1:-1].reshape(rows, 26, 9)
    categories[:, :, 0] = ord("\t")
    codes = _scrambled(ranks, np.arange(26))
    digits = _HEX[np.ascontiguousarray(codes).view(np.uint8)].view(np.uint8).reshape(rows, 26, 8)
    np.copyto(categories[:, :, 1:], digits, where=(ranks >= 0)[:, :, None])
    text[:, -1] = ord("\n")
    ends = np.cumsum(np.count_nonzero(text, axis=1))
    return text[text != 0].tobytes(), ends


def byte_count(text: str) -> int:
    """``4G`` as a number of bytes."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:].upper())
    return int(float(text[:-1]) * factor) if factor else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the file to write")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--rows", type=int, help="rows to write")
    length.add_argument("--bytes", type=byte_count, help="bytes to reach, as 4G, 100M or a number")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = write(options.out, options.rows, options.bytes, options.seed)
    print(f"{options.out}: {rows:,} rows")


if __name__ == "__main__":
    main()
