"""What ``train`` and ``evaluate`` have found, for a person: a line a number, and a small table."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any, TextIO

#: Names stand in so many columns.
_INDENT = 13
_WIDTH = 80
#: A larger confusion matrix is no longer small.
_MOST_CLASSES = 20
#: Letters of the class names above the columns, as many as there is room for.
_LETTERS = (12, 6, 3, 1)


def print_results(result: dict[str, Any], classes: Sequence[str], stream: TextIO) -> None:
    """Numbers by name, and those of a part of the data together; ``classes``: their names.

    A confusion matrix comes last. One that is too large, or too wide, is in ``--json`` only.
    """
    width = shutil.get_terminal_size((_WIDTH, 24)).columns if stream.isatty() else _WIDTH
    tables = {}
    for name, value in _told(result).items():
        if isinstance(value, dict):
            tables[f"confusion of {_words(name)}"] = value.pop("confusion", None)
            lines = _wrapped(value, max(1, width - _INDENT))
            value = f"\n{' ' * _INDENT}".join(lines)
        elif name == "confusion":
            tables[name] = value
            continue
        print(f"{_words(name):{_INDENT - 1}} {_short(value)}", file=stream)
    for title, confusion in tables.items():
        if confusion is not None:
            _print_confusion(title, confusion, classes, width, stream)


def _told(metrics: dict[str, Any]) -> dict[str, Any]:
    """What is known and says something, AUC with its bound."""
    told = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            told[name] = _told(value)
        elif name == "auc" and value is not None:
            told[name] = _with_bound(value, metrics["auc_error"])
        elif value is not None and name != "auc_error" and not (
                name == "weight" and value == metrics.get("examples")):
            told[name] = value
    return told


def _with_bound(value: float, error: float) -> str:
    """Rounded, and the bound with it, so that what is shown is true."""
    digits = 4 if error > 2e-5 else 6
    shown = round(value, digits)
    bound = math.ceil((error + abs(value - shown)) * 10 ** digits) / 10 ** digits
    return f"{shown:.{digits}f} +- {bound:.{digits}f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _wrapped(metrics: dict[str, Any], width: int) -> list[str]:
    """``name value`` by pairs, none of them broken."""
    pairs = [f"{_words(name)} {_short(value)}".replace(" ", "\0") for name, value in metrics.items()]
    lines = textwrap.wrap("  ".join(pairs), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def _print_confusion(title: str, confusion: list[list[float]], classes: Sequence[str], width: int,
                     stream: TextIO) -> None:
    names = [_printable(name) for name in classes]
    cells = [[_count(value) for value in row] for row in confusion]
    for letters in _LETTERS:
        head = [_cut(name, letters) for name in names]
        left = max(map(len, ["label", *(_cut(name, 2 * letters) for name in names)]))
        sizes = [max(map(len, (name, *column))) for name, column in zip(head, zip(*cells))]
        if left + sum(size + 1 for size in sizes) <= width:
            break
    else:
        sizes = []
    if not sizes or len(names) > _MOST_CLASSES:
        print(f"\n{title}: of {len(names)} classes, with --json", file=stream)
        return
    print(f"\n{title}: rows are labels, columns what was predicted", file=stream)
    for name, row in zip(["label", *(_cut(name, 2 * letters) for name in names)], [head, *cells]):
        print(f"{name:{left}} " + " ".join(f"{cell:>{size}}" for cell, size in zip(row, sizes)),
              file=stream)


def _count(value: float) -> str:
    """Of examples, or the sum of their weights."""
    return str(int(value)) if value == int(value) else f"{value:.1f}"


def _cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[:max(1, letters - 1)] + "." * (letters > 1)


def _printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
