"""CSV files to batches of numbers, with the file, line and column of whatever is wrong."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mr_gradient.errors import DataError, UsageError

_BATCH_VALUES = 1 << 18
_USUAL_TARGETS = ("label", "target", "class", "y")
_SHOWN = 10


@dataclass
class Batch:
    """``x`` (rows, features) float64; ``labels`` and ``where`` (file, line) of each row."""

    x: np.ndarray
    labels: list[str]
    where: list[tuple[str, int]]


@dataclass(frozen=True)
class CsvReader:
    """Reads files with one header: ``features`` are all columns but ``target``."""

    paths: tuple[str, ...]
    columns: tuple[str, ...]
    target: str

    @classmethod
    def open(cls, paths: list[str], target: str | None) -> CsvReader:
        """Read the header of the first file, and choose the target column.

        Without ``target`` it is the column called label, target, class or y.
        Raises ``DataError`` or ``UsageError`` for a file or header that cannot be used.
        """
        header = next(_rows(paths[0]), None)
        if header is None:
            raise DataError(f"{paths[0]}: must be a CSV file with a header, found an empty file")
        columns = tuple(name.strip() for name in header[1])
        if all(to_number(name) is not None for name in columns):
            raise DataError(f"{paths[0]}, line 1: must name the columns, found only numbers; add a "
                            "header line")
        repeated = {name for name in columns if columns.count(name) > 1} if (
            len(set(columns)) < len(columns)) else set()
        if repeated:
            raise DataError(f"{paths[0]}, line 1: column names must differ, found {min(repeated)!r} "
                            "twice; rename one")
        listed = ", ".join(columns[:_SHOWN]) + (", ..." if len(columns) > _SHOWN else "")
        if target is None:
            target = next((name for name in _USUAL_TARGETS if name in columns), None)
            if target is None:
                raise UsageError(f"{paths[0]}: has no column called {', '.join(_USUAL_TARGETS)}; "
                                 f"name the target with --target, one of: {listed}")
        elif target not in columns:
            raise UsageError(f"--target {target}: {paths[0]} has no such column; found {listed}")
        if len(columns) < 2:
            raise DataError(f"{paths[0]}: must have a feature column beside the target {target!r}")
        return cls(tuple(paths), columns, target)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(name for name in self.columns if name != self.target)

    def batches(self) -> Iterator[Batch]:
        """All rows of all files, in order. Raises ``DataError`` at the first bad value."""
        size = max(1, _BATCH_VALUES // len(self.columns))
        for path in self.paths:
            rows = _rows(path)
            header = next(rows, None)
            found = tuple(name.strip() for name in header[1]) if header else ()
            if found != self.columns:
                first = next((i for i, pair in enumerate(zip(found, self.columns))
                              if pair[0] != pair[1]), min(len(found), len(self.columns)))
                raise DataError(f"{path}: must have the header of {self.paths[0]}, "
                                f"{len(self.columns)} columns in the same order; it differs from "
                                f"column {first + 1} on, found "
                                f"{', '.join(found[first:first + 3]) or 'nothing'}")
            lines, texts = [], []
            for line, row in rows:
                if len(row) != len(self.columns):
                    raise DataError(f"{path}, line {line}: must have {len(self.columns)} values, "
                                    f"found {len(row)}")
                lines.append(line)
                texts.append(row)
                if len(texts) >= size:
                    yield self._batch(path, lines, texts)
                    lines, texts = [], []
            if texts:
                yield self._batch(path, lines, texts)

    def _batch(self, path: str, lines: list[int], texts: list[list[str]]) -> Batch:
        at = self.columns.index(self.target)
        labels = [row.pop(at).strip() for row in texts]
        try:
            x = np.array([list(map(float, row)) for row in texts])
            fine = bool(np.isfinite(x).all()) and not any("_" in text for r in texts for text in r)
        except ValueError:
            fine = False
        if not fine or "" in labels:
            self._explain(path, lines, texts, labels)
        return Batch(x, labels, [(path, line) for line in lines])

    def _explain(self, path: str, lines: list[int], texts: list[list[str]],
                 labels: list[str]) -> None:
        """Raise the error for the first bad value of a batch."""
        for line, row, label in zip(lines, texts, labels):
            for name, text in zip((*self.features, self.target), (*row, label)):
                if name == self.target and text:
                    continue
                if not text.strip():
                    raise DataError(f"{path}, line {line}, column {name!r}: the value is missing; "
                                    "fill it in or remove the row")
                number = to_number(text)
                if number is None:
                    raise DataError(f"{path}, line {line}, column {name!r}: must be a number, found "
                                    f"{text!r}")
                if not math.isfinite(number):
                    raise DataError(f"{path}, line {line}, column {name!r}: must be a finite number, "
                                    f"found {text.strip()}; fill it in or remove the row")


def to_number(text: str) -> float | None:
    """The number that a text is, or None; Python's digit separators are no number in a CSV."""
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: must be a CSV file, found a folder") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: must be text in UTF-8, found byte "
                        f"0x{error.object[error.start]:02x}; convert it") from None
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV: {error}") from None
