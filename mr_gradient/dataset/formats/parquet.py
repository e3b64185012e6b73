"""Parquet: pieces are groups of row groups, and a row group is read a batch of rows at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mr_gradient.dataset.columns import Numbers, Piece, Rows, Source, Words
from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.opening import open_stored
from mr_gradient.errors import DataError

_MAGIC = b"PAR1"
#: What is read of a row group at a time.
BATCH_BYTES = 8 << 20
_MOST_ROWS = 1 << 17
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Parquet:
    """Numbers, booleans, decimals and times (in seconds, dates from 1970) are numbers; texts are words.

    Null and NaN are missing. ``options["columns"]``, name -> ``number`` or ``word``, overrides: a
    number that is declared a word is its text. ``Piece.start`` and ``stop`` are row groups,
    ``Rows.line`` is the row of the file from 1. A file may be of another exact type than the first
    (int32 and double), as long as a column is of the same class: number, time or text.
    """

    name = "parquet"
    endings = (".parquet", ".parq", ".pq")

    def looks_like(self, head: bytes) -> bool:
        return head.startswith(_MAGIC)

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        arrow.load("pyarrow.parquet", f"reading {self.name}")
        first: list[tuple[str, str, str]] = []
        for path in paths:
            with _opened(path) as file:
                found = _classes(path, file.schema_arrow)
            first = first or found
            if [column[:2] for column in found] != [column[:2] for column in first]:
                _tell_difference(path, found, paths[0], first)
        kinds = {name: "word" if kind == "text" else "number" for name, kind, _ in first}
        return Source(self.name, arrow.declared_kinds(kinds, options, paths[0]))

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        """Row groups are put together until they have ``size`` bytes; files without rows have none."""
        pieces: list[Piece] = []
        for path in paths:
            with _opened(path) as file:
                groups = [file.metadata.row_group(at) for at in range(file.num_row_groups)]
                held = [sum(group.column(at).total_compressed_size for at in range(group.num_columns))
                        for group in groups]
                start = collected = 0
                for at, length in enumerate(held):
                    collected += length
                    if collected >= size or at + 1 == len(held):
                        if any(each.num_rows for each in groups[start:at + 1]):
                            pieces.append(Piece(len(pieces), path, start, at + 1))
                        start, collected = at + 1, 0
        return pieces

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        with _opened(piece.path) as file:
            stop = piece.stop if piece.stop >= 0 else file.num_row_groups
            groups = [file.metadata.row_group(at) for at in range(stop)]
            before = sum(group.num_rows for group in groups[:piece.start])
            groups = groups[piece.start:]
            row_bytes = sum(group.total_byte_size for group in groups) / max(
                1, sum(group.num_rows for group in groups))
            number = 0
            for batch in file.iter_batches(
                    int(min(_MOST_ROWS, max(1, BATCH_BYTES // max(1, row_bytes)))),
                    row_groups=range(piece.start, stop), use_threads=False):
                columns, fine = _read_batch(piece.path, batch, source, number + before + 1, bad)
                kept = np.arange(batch.num_rows)[fine]
                if len(kept):
                    yield Rows(columns, None, kept + number, kept + (number + before + 1))
                number += batch.num_rows


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A ``ParquetFile``; what is wrong with it inside the block becomes a ``DataError``."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with contextlib.ExitStack() as stack:
            # Not by a path, of which pyarrow would make a URI; and the error has a number.
            file = stack.enter_context(open_stored(path))
            found = parquet.ParquetFile(file, pre_buffer=False)
            texts = [field.name for field in found.schema_arrow if pa.types.is_string(field.type)]
            found = parquet.ParquetFile(file, metadata=found.metadata, pre_buffer=False,
                                        read_dictionary=texts)
            yield stack.enter_context(found)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: must be a Parquet file, found a folder") from None
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path}: must be Parquet, found damaged or other data "
                        f"({arrow.first_line(error)}); get it again") from None
    except OSError as error:
        why = error.strerror or arrow.first_line(error)
        raise DataError(f"{path}: cannot be read: {why}") from None


def _classes(path: str, schema: Any) -> list[tuple[str, str, str]]:
    """Name, class (number, time, text) and type of each column. Raises ``DataError`` for others."""
    import pyarrow.types as types

    found = []
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        if (types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
                or types.is_decimal(kind) or types.is_null(kind)):
            found.append((field.name, "number", str(kind)))
        elif types.is_temporal(kind) and not types.is_interval(kind):
            found.append((field.name, "time", str(kind)))
        elif types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
            found.append((field.name, "text", str(kind)))
        else:
            what = "nested" if types.is_nested(kind) else "binary or unknown"
            raise DataError(f"{path}, column {field.name!r}: must hold numbers, times or texts, found "
                            f"the {what} type {kind}; leave the column out of the file")
    names = [name for name, _, _ in found]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(f"{path}: column names must differ, found {repeated!r} twice; rename one")
    if not names:
        raise DataError(f"{path}: must have columns, found none")
    return found


def _tell_difference(path: str, found: list, first_path: str, first: list) -> None:
    at = next((at for at, (a, b) in enumerate(zip(found, first)) if a[:2] != b[:2]),
              min(len(found), len(first)))
    said = ["nothing" if at >= len(columns) else f"{columns[at][0]!r} of type {columns[at][2]}"
            for columns in (first, found)]
    raise DataError(f"{path}: must have the columns of {first_path}; the first difference is column "
                    f"{at + 1}: must be {said[0]}, found {said[1]}")


def _read_batch(path: str, batch: Any, source: Source, first: int,
                bad: BadRows) -> tuple[dict[str, Numbers | Words], np.ndarray]:
    """Columns of the rows that are right, and which those are; the others go to ``bad``."""
    import pyarrow as pa

    wrongs: dict[int, tuple[str, str, str]] = {}
    found: dict[str, Any] = {}
    for name, kind in source.columns.items():
        array = batch.column(batch.schema.get_field_index(name))
        try:
            if kind == "word":
                found[name] = _texts(array)
                continue
            found[name], wrong = _numbers(array)
        except UnicodeDecodeError:
            raise DataError(f"{path}, column {name!r}: texts must be UTF-8, found others between row "
                            f"{first} and {first + batch.num_rows - 1}; write the file anew") from None
        for row, what in wrong.items():
            wrongs.setdefault(row, (name, arrow.shown(array[row].as_py()), what))
    fine = np.ones(batch.num_rows, bool)
    for row in sorted(wrongs):
        fine[row] = False
        bad.add(path, first + row, *wrongs[row])
    if wrongs:
        found = {name: values[fine] if isinstance(values, np.ndarray) else
                 values.filter(pa.array(fine)) for name, values in found.items()}
    return {name: Numbers(values) if isinstance(values, np.ndarray) else arrow.words(values)
            for name, values in found.items()}, fine


def _texts(array: Any) -> Any:
    """A column as texts, in a dictionary where it comes in one. Raises ``UnicodeDecodeError``."""
    import pyarrow as pa
    import pyarrow.compute as compute
    import pyarrow.types as types

    if types.is_dictionary(array.type) and types.is_string(array.type.value_type):
        texts, held = array, array.dictionary
    else:
        if types.is_dictionary(array.type):
            array = array.dictionary_decode()
        if types.is_floating(array.type):
            array = compute.if_else(compute.is_nan(array), pa.scalar(None, array.type), array)
        texts = held = array.cast(pa.string())
    try:
        held.validate(full=True)
    except pa.ArrowInvalid:
        held.to_pylist()  # says where
    return texts


def _numbers(array: Any) -> tuple[np.ndarray, dict[int, str]]:
    """A column as (rows,) float64, and what is wrong with which row."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    kind = array.type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return arrow.numbers_in(_texts(array))
    if types.is_date(kind):
        array = array.cast(pa.timestamp("s"))
    if types.is_temporal(kind):
        scale = _PER_SECOND[array.type.unit]
        width = pa.int32() if types.is_time32(kind) else pa.int64()
        return arrow.numbers(array.cast(width).cast(pa.float64(), safe=False)) / scale, {}
    if types.is_decimal(kind):
        array = array.cast(pa.string())  # the way that rounds to the nearest; straight does not
    values = arrow.numbers(array.cast(pa.float64(), safe=False))
    return values, dict.fromkeys(arrow.infinite(values).tolist(), arrow.NOT_FINITE)


FORMAT = Parquet()
