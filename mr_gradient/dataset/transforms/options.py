"""The transforms that a user can name, their options, and what each option must be."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mr_gradient.dataset.transforms.text_steps import LONGEST, UNITS
from mr_gradient.dataset.transforms.word_steps import MOST_BITS
from mr_gradient.errors import UsageError

HASH_BITS = 18
ONE_HOT_CAP = 100
_MOST_CATEGORIES = 1_000_000
_NEEDED = object()


@dataclass(frozen=True)
class _Option:
    """``must``: what it must be, in words; ``fits``: whether a value is that."""

    must: str
    fits: Callable[[Any], bool]
    default: Any = _NEEDED


def _whole(least: int, most: int, default: Any = _NEEDED) -> _Option:
    return _Option(f"a whole number from {least} to {most}",
                   lambda value: type(value) is int and least <= value <= most, default)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


_SIGNED = _Option("true or false", lambda value: type(value) is bool, True)
_SEED = _whole(0, 0xFFFFFFFF, 0)
_BITS = _whole(1, MOST_BITS, HASH_BITS)

_STEPS: dict[str, dict[str, _Option]] = {
    "impute": {"with": _Option("mean, median or a number",
                               lambda value: value in ("mean", "median") or _is_number(value))},
    "log1p": {},
    "clip": {"low": _Option("a number", _is_number, -math.inf),
             "high": _Option("a number", _is_number, math.inf)},
    "standardize": {},
    "min_max": {},
    "pass": {},
    "one_hot": {"cap": _whole(1, _MOST_CATEGORIES, ONE_HOT_CAP)},
    "hash": {"bits": _BITS, "signed": _SIGNED, "seed": _SEED},
    "ngrams": {"n": _whole(1, LONGEST), "shortest": _whole(1, LONGEST, None),
               "of": _Option("one of " + ", ".join(UNITS),
                             lambda value: isinstance(value, str) and value in UNITS, "words"),
               "bits": _BITS, "signed": _SIGNED, "seed": _SEED},
}
_CROSS = {
    "columns": _Option("a list of two or more different columns", lambda value: (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value) >= 2)),
    "bits": _BITS, "signed": _SIGNED, "seed": _SEED}


def read_step(where: str, value: Any) -> tuple[str, dict]:
    """A step, ``name`` or ``{name: options}``, as its name and complete options."""
    if isinstance(value, dict) and len(value) == 1:
        (name, options), = value.items()
    elif isinstance(value, str):
        name, options = value, {}
    else:
        raise UsageError(f"{where}: must be a transform or {{transform: options}}; found {value!r:.60}")
    if name not in _STEPS:
        known = [*_STEPS, "drop"]
        near = difflib.get_close_matches(str(name), known, 1)
        raise UsageError(f"{where}: no such transform {str(name)!r}; "
                         + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"))
    if name == "impute":
        # Short: {impute: median}, {impute: 0}; long: {impute: {constant: 0}}.
        if isinstance(options, dict) and list(options) == ["constant"]:
            options = {"with": options["constant"] if _is_number(options["constant"])
                       else repr(options["constant"])}
        elif not isinstance(options, dict):
            options = {"with": options}
    return name, read_options(where, name, options)


def read_options(where: str, name: str, value: Any) -> dict:
    """Options of a step (or of ``cross``), complete. Raises ``UsageError`` for a wrong one."""
    known = _CROSS if name == "cross" else _STEPS[name]
    if not isinstance(value, dict):
        raise UsageError(f"{where}: {name}: must have options like {{{', '.join(known) or ''}}}; found "
                         f"{value!r:.60}")
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = (f"did you mean {near[0]!r}?" if near
                    else f"known are {', '.join(known)}" if known else "it has none")
            raise UsageError(f"{where}: {name}: no such option {str(key)!r}; {hint}")
    options = {}
    for key, option in known.items():
        if key not in value:
            if option.default is _NEEDED:
                raise UsageError(f"{where}: {name}: needs {key!r}: {option.must}")
            options[key] = option.default
            continue
        if not option.fits(value[key]):
            raise UsageError(f"{where}: {name}: {key} must be {option.must}; found {value[key]!r:.60}")
        options[key] = value[key]
    return _together(where, name, options)


def _together(where: str, name: str, options: dict) -> dict:
    """Checks and defaults that need more than one option."""
    if name == "impute" and _is_number(options["with"]):
        options["with"] = float(options["with"])
    if name == "clip":
        options = {key: float(value) for key, value in options.items()}
        if not options["low"] < options["high"] or options == {"low": -math.inf, "high": math.inf}:
            raise UsageError(f"{where}: clip: needs low, high, or both with low below high; found "
                             f"low {options['low']}, high {options['high']}")
    if name == "ngrams":
        if options["shortest"] is None:
            options["shortest"] = 1 if options["of"] == "words" else options["n"]
        if options["shortest"] > options["n"]:
            raise UsageError(f"{where}: ngrams: shortest must be at most n; found "
                             f"{options['shortest']} and {options['n']}")
    return options
