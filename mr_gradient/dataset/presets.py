"""Files that come in a form of their own: how to read them, and the usual transforms."""

from __future__ import annotations

from typing import Any, NamedTuple

from mr_gradient.errors import UsageError


class Preset(NamedTuple):
    """``format`` and ``options`` of the reader; ``spec`` of the transforms."""

    format: str
    options: dict[str, Any]
    spec: dict[str, Any]


_NUMBERS = [f"I{i}" for i in range(1, 14)]
_WORDS = [f"C{i}" for i in range(1, 27)]

#: Criteo's click logs: a label, 13 counts, 26 categories, tab-separated, empty where missing. Counts
#: have long tails and a few are negative; categories are many, and hashed each to a space of its own.
_CRITEO = Preset(
    "tsv",
    {"header": False, "names": ["label", *_NUMBERS, *_WORDS], "missing": [""],
     "columns": {"label": "number", **dict.fromkeys(_NUMBERS, "number"),
                 **dict.fromkeys(_WORDS, "word")}},
    {"target": "label", "target_type": "class",
     "numbers": [{"clip": {"low": 0}}, "log1p", {"impute": 0}, "standardize"],
     "words": {"hash": {"bits": 16}}})

PRESETS = {"criteo": _CRITEO}


def preset(name: str) -> Preset:
    """The preset of a name. Raises ``UsageError`` for one that is not there."""
    if name not in PRESETS:
        raise UsageError(f"--preset {name}: must be one of {', '.join(PRESETS)}")
    return PRESETS[name]
