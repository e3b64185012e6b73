"""``mr-gradient prepare``: CSV files to a data set, in some 40 bytes of memory a row.

The text is parsed once, into a file of raw numbers; then rows are dealt to shards by a hash of
their number and the seed, so that shards are alike and the held-out rows are the same each time.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field

import numpy as np

from mr_gradient.dataset.csv_reader import Batch, CsvReader, to_number
from mr_gradient.dataset.schema import Dataset, Schema
from mr_gradient.dataset.writer import (
    SHARD_BYTES,
    ShardFiles,
    new_folder,
    number_of_shards,
    uniform_hash,
)
from mr_gradient.errors import DataError, UsageError

_MAX_CLASSES = 65536
_INFERRED_CLASSES = 100
_MAX_SHARDS = 100_000


@dataclass(frozen=True)
class PrepareConfig:
    """Options of ``mr-gradient prepare``; see its ``--help``."""

    inputs: list[str]
    out: str
    target: str | None = None
    target_type: str = "auto"
    test_fraction: float = 0.0
    shards: int = 0
    seed: int = 0
    dtype: str = "auto"
    overwrite: bool = False

    def check(self) -> None:
        if not 0 <= self.test_fraction < 1:
            raise UsageError(f"--test-fraction {self.test_fraction}: must be at least 0 and below 1")
        if self.shards < 0 or self.seed < 0:
            name, value = ("--shards", self.shards) if self.shards < 0 else ("--seed", self.seed)
            raise UsageError(f"{name} {value}: must be at least 0")
        if self.shards > _MAX_SHARDS:
            raise UsageError(f"--shards {self.shards}: must be at most {_MAX_SHARDS}")


@dataclass
class _Labels:
    """Distinct labels as they come, numbered.

    ``text_at``, ``infinite_at``: where the first that is no number, or no finite one, stands.
    ``overflow``: there were more than could be classes.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    text_at: str = ""
    infinite_at: str = ""
    overflow: bool = False

    def add(self, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the batch's labels, and their values (NaN for text); both (rows,)."""
        codes = np.empty(len(batch.labels), np.int64)
        values = np.empty(len(batch.labels))
        for i, label in enumerate(batch.labels):
            number = to_number(label)
            values[i] = np.nan if number is None else number
            path, line = batch.where[i]
            if number is None:
                self.text_at = self.text_at or f"{path}, line {line}: found {label!r}"
            elif not np.isfinite(number):
                self.infinite_at = self.infinite_at or f"{path}, line {line}: found {label!r}"
            elif _is_integer(label):
                label = str(int(label))  # 1 and 01 are one class
            elif number.is_integer():
                label = str(int(number))  # so is 1.0
            codes[i] = self.numbers.setdefault(label, len(self.numbers))
            if len(self.numbers) > _MAX_CLASSES:
                self.numbers.pop(label)
                self.overflow, codes[i] = True, -1
        return codes, values

    def decide(self, asked: str, column: str) -> tuple[str, tuple[str, ...]]:
        """Kind of the target, ``class`` or ``value``, and the class names in order."""
        if self.infinite_at and (asked == "value" or not self.text_at):
            raise DataError(f"target {column!r}: must be a finite number in every row; "
                            f"{self.infinite_at}")
        whole = not self.text_at and all(_is_integer(label) for label in self.numbers)
        kind = asked if asked != "auto" else (
            "class" if self.text_at or (whole and len(self.numbers) <= _INFERRED_CLASSES)
            else "value")
        if kind == "value":
            if self.text_at:
                raise DataError(f"target {column!r}: must be a finite number in every row; "
                                f"{self.text_at}")
            return kind, ()
        if self.overflow:
            raise DataError(f"target {column!r}: must have at most {_MAX_CLASSES} classes, found "
                            "more; is it an identifier? choose another --target, or "
                            "--target-type value")
        if len(self.numbers) < 2:
            only = next(iter(self.numbers))
            raise DataError(f"target {column!r}: needs two classes or more, found only {only!r}")
        order = sorted(self.numbers) if self.text_at else sorted(self.numbers, key=float)
        return kind, tuple(order)


def _is_integer(label: str) -> bool:
    return label.isascii() and label.lstrip("+-").isdigit()


def prepare(config: PrepareConfig) -> Dataset:
    """Write the data set ``config.out``; it appears there only when it is whole.

    Raises ``DataError`` or ``UsageError`` that names what is wrong with the input.
    """
    config.check()
    reader = CsvReader.open(config.inputs, config.target)
    with new_folder(config.out, config.overwrite) as folder, \
            _Spool(os.path.join(folder, "rows.tmp"), len(reader.features)) as spool:
        labels, fits_uint8 = _Labels(), True
        largest = np.zeros(len(reader.features))
        largest_label = 0.0
        for batch in reader.batches():
            codes, values = labels.add(batch)
            spool.add(batch.x, codes, values)
            np.maximum(largest, np.abs(batch.x).max(axis=0), out=largest)
            largest_label = max(largest_label, np.nanmax(np.abs(values), initial=0.0))
            fits_uint8 = fits_uint8 and bool(
                batch.x.min() >= 0 and batch.x.max() <= 255 and (batch.x == np.floor(batch.x)).all())
        if not spool.rows:
            raise DataError(f"{config.inputs[0]}: must have rows below its header, found none")
        kind, classes = labels.decide(config.target_type, reader.target)
        dtype = config.dtype if config.dtype != "auto" else "uint8" if fits_uint8 else "float32"
        if dtype == "uint8" and not fits_uint8:
            raise UsageError("--dtype uint8: every feature must be a whole number from 0 to 255; "
                             "choose float32 or float64")
        peak = largest.max()
        if dtype.startswith("float"):
            _check_range(dict(zip(reader.features, largest.tolist())), dtype)
        if kind == "value":
            _check_range({reader.target: largest_label}, label_dtype(dtype).name)
        scale = 1 / peak if dtype == "uint8" and peak else 1.0
        schema = Schema(reader.features, reader.target, kind, classes, dtype, float(scale))
        parts = _deal(folder, spool, schema, labels.numbers, config)
        options = {"inputs": [os.path.basename(path) for path in config.inputs],
                   "seed": config.seed, "test_fraction": config.test_fraction}
        Dataset(folder, schema, *parts, options).save()
    return Dataset(os.path.abspath(config.out), schema, *parts, options)


class _Spool:
    """Raw rows on disk between parsing and dealing: features, number of the label, its value."""

    def __init__(self, path: str, features: int) -> None:
        self._path, self._record = path, np.dtype([("x", "<f8", (features,)), ("code", "<i8"),
                                                   ("value", "<f8")])
        self._file = open(path, "wb")  # noqa: SIM115  closed by batches() or at the exit
        self.rows = 0

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk, which has been reported
            self._file.close()
        os.unlink(self._path)

    def add(self, x: np.ndarray, codes: np.ndarray, values: np.ndarray) -> None:
        rows = np.empty(len(x), self._record)
        rows["x"], rows["code"], rows["value"] = x, codes, values
        self._file.write(rows.data)
        self.rows += len(x)

    def batches(self):
        """Yield ``(first row number, records)``."""
        self._file.close()
        step = max(1, (16 << 20) // self._record.itemsize)
        rows = np.memmap(self._path, self._record, "r")
        for start in range(0, self.rows, step):
            yield start, rows[start:start + step]


def label_dtype(dtype: str) -> np.dtype:
    """Type of labels that are values, beside features of a type."""
    return np.dtype("float64" if dtype == "float64" else "float32")


def _check_range(largest: dict[str, float], dtype: str) -> None:
    """Refuse a column whose numbers would become infinite in the data set's type."""
    limit = float(np.finfo(dtype).max)
    for name, value in largest.items():
        if value > limit:
            raise DataError(f"column {name!r}: has numbers as large as {value:g}, beyond {dtype}; "
                            "use --dtype float64")


def _deal(folder: str, spool: _Spool, schema: Schema, numbers: dict[str, int],
          config: PrepareConfig) -> tuple:
    """Write the training and the held-out shards."""
    x_dtype = np.dtype(schema.dtype)
    if schema.kind == "class":
        y_dtype = np.min_scalar_type(len(schema.classes) - 1)
        index = np.empty(len(numbers), y_dtype)
        index[[numbers[name] for name in schema.classes]] = np.arange(len(schema.classes))
    else:
        y_dtype = label_dtype(schema.dtype)
    row = np.arange(spool.rows)
    limit = np.uint64(min(int(config.test_fraction * 2**64), 2**64 - 1))
    held_out = uniform_hash(row, config.seed, 0) < limit
    row_bytes = len(schema.features) * x_dtype.itemsize + y_dtype.itemsize
    shards = config.shards or number_of_shards(spool.rows * row_bytes)
    in_training, in_held_out = int((~held_out).sum()), int(held_out.sum())
    if not in_training:
        raise DataError(f"--test-fraction {config.test_fraction}: leaves none of {spool.rows} rows "
                        "for training")
    held_shards = max(1, -(-in_held_out * row_bytes // SHARD_BYTES),
                      shards * in_held_out // in_training) if in_held_out else 0
    hashes = uniform_hash(row, config.seed, 1)
    owner = np.where(held_out, shards + hashes % np.uint64(max(1, held_shards)),
                     hashes % np.uint64(shards)).astype(np.int64)
    counts = np.bincount(owner, minlength=shards + held_shards)
    make = (len(schema.features), x_dtype, y_dtype, schema.scale)
    train_files = ShardFiles(folder, 0, counts[:shards], *make)
    held_files = ShardFiles(folder, shards, counts[shards:], *make)
    for start, rows in spool.batches():
        owners = owner[start:start + len(rows)]
        y = index[rows["code"]] if schema.kind == "class" else rows["value"]
        for files, first, chosen in ((train_files, 0, owners < shards),
                                     (held_files, shards, owners >= shards)):
            files.add(owners[chosen] - first, rows["x"][chosen], y[chosen])
    return train_files.finish(), held_files.finish()
