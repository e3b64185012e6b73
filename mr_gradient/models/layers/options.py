"""Options of layers: what each must be, and its one canonical form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import MISSING, field
from typing import Any, NamedTuple


class Option(NamedTuple):
    """``read`` gives the canonical value, or None for one that is not what it ``must`` be."""

    must: str
    read: Callable[[Any], Any]


def option(kind: Option, default: Any = MISSING) -> Any:
    """A field of a layer's dataclass."""
    return field(default=default, metadata={"option": kind})


def _is_whole(value: Any, low: int) -> bool:
    return type(value) is int and value >= low


def whole(low: int) -> Option:
    return Option(f"a whole number of at least {low}",
                  lambda value: value if _is_whole(value, low) else None)


def pair(low: int) -> Option:
    """Height and width: one number for both, or two."""
    def read(value: Any) -> tuple[int, int] | None:
        both = value if isinstance(value, list | tuple) else (value, value)
        fits = len(both) == 2 and all(_is_whole(each, low) for each in both)
        return tuple(both) if fits else None

    return Option(f"a whole number of at least {low}, or two of them", read)


def number(low: float, high: float, must: str) -> Option:
    """A number from ``low`` (inclusive) to ``high`` (exclusive)."""
    def read(value: Any) -> float | None:
        fits = type(value) in (int, float) and math.isfinite(value) and low <= value < high
        return float(value) if fits else None

    return Option(must, read)


def one_of(*known: str) -> Option:
    return Option("one of " + ", ".join(known),
                  lambda value: value if isinstance(value, str) and value in known else None)


FLAG = Option("true or false", lambda value: value if type(value) is bool else None)
