"""Numbers to JSON and back without losing a bit, and without believing what is read."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mr_gradient.errors import DataError

_SPECIAL = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
#: Counts stay below this, so that sums of two fit int64.
_LARGEST_COUNT = 1 << 62


@contextlib.contextmanager
def damage_of(what: str) -> Iterator[None]:
    """Turn whatever goes wrong while JSON is taken apart into one ``DataError``."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DataError(f"{what}: damaged: {error!r}; prepare again") from None


def float_to_json(value: float) -> float | str:
    """A float as JSON: itself (Python writes the shortest exact text), or the name of NaN, inf."""
    value = float(value)
    return value if math.isfinite(value) else repr(value)


def float_from_json(value: Any) -> float:
    if type(value) is str:
        return _SPECIAL[value]
    if type(value) not in (float, int):
        raise TypeError(f"must be a number, found {value!r}")
    return float(value)


def finite_from_json(value: Any) -> float:
    number = float_from_json(value)
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number, found {value!r}")
    return number


def whole_from_json(value: Any, least: int = 0, most: int = _LARGEST_COUNT) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"must be a whole number from {least} to {most}, found {value!r}")
    return value


def text_from_json(value: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"must be text, found {value!r}")
    return value


def flag_from_json(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError(f"must be true or false, found {value!r}")
    return value


def list_from_json(value: Any, length: int | None = None) -> list:
    if type(value) is not list or length not in (None, len(value)):
        found = f"{len(value)} values" if type(value) is list else repr(value)[:50]
        raise ValueError(f"must be a list{'' if length is None else f' of {length}'}, found {found}")
    return value


def floats_to_json(values: np.ndarray) -> list:
    """(n,) float64 to a list."""
    plain = values.tolist()
    return plain if np.isfinite(values).all() else [float_to_json(value) for value in plain]


def floats_from_json(value: Any, length: int | None = None) -> np.ndarray:
    each = [float_from_json(number) for number in list_from_json(value, length)]
    return np.array(each, np.float64)


def counts_from_json(value: Any, length: int | None = None) -> np.ndarray:
    """A list of counts to (n,) int64."""
    each = [whole_from_json(number) for number in list_from_json(value, length)]
    return np.array(each, np.int64)


def flags_from_json(value: Any, length: int | None = None) -> np.ndarray:
    each = [flag_from_json(flag) for flag in list_from_json(value, length)]
    return np.array(each, bool)
