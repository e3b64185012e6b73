"""Features and labels that lie in files as plain arrays: what the NumPy and IDX formats share."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np

from mr_gradient.dataset.columns import Numbers, Piece, Rows, Source, Words
from mr_gradient.dataset.formats.opening import compression, is_uri, open_input
from mr_gradient.errors import DataError, UsageError

_BATCH_BYTES = 4 * 1024 * 1024
_FEATURES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
             "float16", "float32", "float64")


@dataclass(frozen=True)
class StoredArray:
    """An array of ``shape`` whose numbers begin at byte ``offset`` of a file, or of a zip's member.

    ``whole``: it can be read only from its start, since it is compressed.
    """

    path: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    fortran: bool = False
    member: str = ""

    @property
    def whole(self) -> bool:
        return bool(self.member) or compression(self.path) is not None

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * prod(self.shape[1:])

    def batches(self, start: int, stop: int, rows: int) -> Iterator[np.ndarray]:
        """Rows ``start`` to ``stop``, ``rows`` at a time, in this machine's byte order."""
        native = self.dtype.newbyteorder("=")
        if not self.whole and not is_uri(self.path):
            stored = np.memmap(self.path, self.dtype, "r", self.offset, self.shape,
                               "F" if self.fortran else "C")
            for at in range(start, stop, rows):
                yield np.array(stored[at:min(at + rows, stop)], native, order="C", subok=False)
            return
        if self.fortran:
            raise DataError(f"{self.path}: a compressed or remote array must be stored row by row, "
                            "found column by column; save numpy.ascontiguousarray of it")
        with _opened(self.path, self.member) as file:
            file.seek(self.offset + start * self.row_bytes)
            for at in range(start, stop, rows):
                shape = (min(rows, stop - at), *self.shape[1:])
                data = file.read(shape[0] * self.row_bytes)
                if len(data) < shape[0] * self.row_bytes:
                    raise DataError(f"{self.path}: must hold {self.shape[0]} rows as its header "
                                    f"says, found {at + len(data) // self.row_bytes}; it was cut off")
                yield np.frombuffer(data, self.dtype).reshape(shape).astype(native, copy=False)
            # Reading on to the end also makes gzip, bzip2 and zip compare their checksums.
            if stop == self.shape[0] and file.read(1):
                raise DataError(f"{self.path}: must end after the {self.shape[0]} rows that its "
                                "header tells of, found more bytes")


@contextmanager
def _opened(path: str, member: str) -> Iterator[BinaryIO]:
    with open_input(path) as file:
        if not member:
            yield file
            return
        with zip_errors(path), zipfile.ZipFile(file) as archive, archive.open(member) as inside:
            yield inside


@contextmanager
def zip_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError,
            RuntimeError) as error:
        raise DataError(f"{path}: must be a sound .npz file, found damaged data ({error}); get it "
                        "again") from None


def check_pair(features: StoredArray, labels: StoredArray | None) -> None:
    """Raise ``DataError`` unless the arrays are rows of numbers and a label for each."""
    path, shape = features.path, features.shape
    if features.dtype.newbyteorder("=").name not in _FEATURES:
        raise DataError(f"{path}: features must be numbers, found type {features.dtype}; convert them")
    if len(shape) < 2:
        raise DataError(f"{path}: features must have two dimensions or more, the first of them the "
                        f"rows, found shape {shape}")
    if not prod(shape):
        raise DataError(f"{path}: must have rows and features, found shape {shape}")
    if labels is None:
        return
    if labels.dtype.newbyteorder("=").name not in _FEATURES and labels.dtype.kind != "U":
        raise DataError(f"{labels.path}: labels must be numbers or texts, found type {labels.dtype}")
    if len(labels.shape) != 1 and labels.shape[1:] != (1,):
        raise DataError(f"{labels.path}: labels must have one dimension, found shape {labels.shape}")
    if labels.shape[0] != shape[0]:
        raise DataError(f"{labels.path}: must hold a label for each of the {shape[0]} rows of {path}, "
                        f"found {labels.shape[0]}")


def source_of(name: str, pairs: Sequence[tuple[StoredArray, StoredArray | None]]) -> Source:
    """The source of checked pairs, whose arrays must be alike in width, type and kind of label.

    ``options["files"]``: the file of the labels of each file of features, or "" for none.
    ``options["shape"]``: that of a row, if it was flattened.
    """
    kinds = []
    for features, labels in pairs:
        check_pair(features, labels)
        text = labels is not None and labels.dtype.kind == "U"
        kinds.append((features.shape[1:], stored_type(features),
                      {} if labels is None else {"label": "word" if text else "number"}))
        if kinds[-1] != kinds[0]:
            def told(kind: tuple) -> str:
                return f"rows of shape {kind[0]}, type {kind[1]}, label {kind[2].get('label', 'none')}"

            raise DataError(f"{features.path}: must be like {pairs[0][0].path}, which has "
                            f"{told(kinds[0])}; found {told(kinds[-1])}")
    shape, dtype, columns = kinds[0]
    options: dict[str, Any] = {"files": {features.path: labels.path if labels else ""
                                         for features, labels in pairs}}
    if len(shape) > 1:
        options["shape"] = list(shape)
    return Source(name, columns, prod(shape), dtype, options)


def stored_type(features: StoredArray) -> str:
    """The type of features in a batch: that of the file, uint8 for truth values."""
    name = features.dtype.newbyteorder("=").name
    return "uint8" if name == "bool" else name


def row_pieces(arrays: Sequence[StoredArray], size: int) -> list[Piece]:
    """Pieces by row numbers, of about ``size`` bytes of features; a compressed file is one piece."""
    pieces: list[Piece] = []
    for array in arrays:
        rows = array.shape[0] if array.whole else max(1, size // array.row_bytes)
        for start in range(0, array.shape[0], rows):
            stop = -1 if array.whole else min(start + rows, array.shape[0])
            pieces.append(Piece(len(pieces), array.path, start, stop))
    return pieces


def read_pair(features: StoredArray, labels: StoredArray | None, piece: Piece) -> Iterator[Rows]:
    """The rows of a piece, flattened, with their labels."""
    check_pair(features, labels)
    stop = features.shape[0] if piece.stop < 0 else piece.stop
    rows = max(1, _BATCH_BYTES // features.row_bytes)
    matching = labels.batches(piece.start, stop, rows) if labels else None
    at = 0
    for x in features.batches(piece.start, stop, rows):
        columns = {"label": _column(next(matching))} if matching else {}
        number = np.arange(at, at + len(x))
        at += len(x)
        x = x.view(np.uint8) if x.dtype == np.bool_ else x
        yield Rows(columns, x.reshape(len(x), -1), number, number + piece.start + 1)
    # A compressed file of labels, too, is compared with its header and checksum at its end.
    for _ in matching or ():
        pass


def _column(labels: np.ndarray) -> Numbers | Words:
    labels = labels.reshape(len(labels))
    if labels.dtype.kind != "U":
        return Numbers(labels.astype(np.float64))
    words, codes = np.unique(labels, return_inverse=True)
    return Words(codes.astype(np.int32), words.tolist())


def labels_of(paths: Sequence[str], features: Sequence[str], options: dict[str, Any],
              find: Callable[[str], str]) -> dict[str, str]:
    """The labels' file of each of the files of features, which are some of ``paths``.

    ``options["labels"]`` is a path, or a list with one for each file of features; False for data
    without labels, as at prediction. Without it, ``find`` finds each. All other paths must be
    labels that are used.
    """
    given = options.get("labels")
    if given is False:
        return dict.fromkeys(features, "")
    if given is None:
        found = {path: find(path) for path in features}
    else:
        files = [given] if isinstance(given, (str, os.PathLike)) else list(given)
        if len(files) != len(features):
            raise UsageError(f"labels: must name a file for each of the {len(features)} files of "
                             f"features, found {len(files)}")
        found = dict(zip(features, map(os.fspath, files)))
    used = {os.path.abspath(path) for pair in found.items() for path in pair}
    for path in paths:
        if os.path.abspath(path) not in used:
            raise DataError(f"{path}: holds labels, but no file of features belongs to it; name the "
                            "two alike, or leave it out")
    return found
