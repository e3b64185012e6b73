"""NumPy's files: ``.npy`` (labels in a file beside it) and ``.npz``; pickles are never loaded.

Only headers are parsed here, by numpy's own parser; the numbers are mapped or streamed, so a task
holds a few MiB of a file of any size.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, BinaryIO

from numpy.lib import format as npy

from mr_gradient.dataset.columns import Piece, Rows, Source
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.opening import (
    compression,
    file_bytes,
    is_file,
    open_input,
    uncompressed_name,
)
from mr_gradient.dataset.formats.stored_arrays import (
    StoredArray,
    labels_of,
    read_pair,
    row_pieces,
    source_of,
    zip_errors,
)
from mr_gradient.errors import DataError

_FEATURES = ("x", "X", "data", "features")
_LABELS = ("y", "labels", "target")
_LOCAL_HEADER = 30
#: Names of files of labels: y.npy, y_train.npy, y-1.npy, train_y.npy.
_LABELS_NAME = re.compile(r"[yY]([_\-.\d].*)?$|.*[_\-.][yY]$")


class NumpyFiles:
    """Features of any shape, flattened to rows; labels are numbers or texts.

    The labels of ``a.npy`` are in ``a_y.npy``, those of ``a_x.npy`` in ``a_y.npy``, those of
    ``x*.npy`` in ``y*.npy``, all beside it; or in the files that ``options["labels"]`` names.
    A ``.npz`` holds both: x, X, data or features, and y, labels or target.
    """

    name = "numpy"
    endings = (".npy", ".npz")

    def looks_like(self, head: bytes) -> bool:
        return head.startswith(npy.MAGIC_PREFIX) or (
            head.startswith(b"PK\3\4") and head[_LOCAL_HEADER:_LOCAL_HEADER + 256].find(b".npy") > 0)

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        features = [path for path in paths if not _names_labels(path)]
        labels = labels_of(paths, features or paths, options, _find_labels)
        return source_of(self.name, [_open_pair(*each) for each in labels.items()])

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        return row_pieces([_open_pair(*each)[0] for each in source.options["files"].items()], size)

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        yield from read_pair(*_open_pair(piece.path, source.options["files"][piece.path]), piece)


def _is_npz(path: str) -> bool:
    return uncompressed_name(path).lower().endswith(".npz")


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(uncompressed_name(path)))[0]


def _names_labels(path: str) -> bool:
    return not _is_npz(path) and _LABELS_NAME.match(_stem(path)) is not None


def _find_labels(path: str) -> str:
    """The file of labels that belongs to a file of features, by name."""
    if _is_npz(path):
        return path
    folder, stem = os.path.dirname(path), _stem(path)
    names = [f"{stem}_y"]
    if stem[:1] in "xX":
        names.append(("y" if stem[0] == "x" else "Y") + stem[1:])
        names.append("y" + stem[1:])
    if stem[-2:] in ("_x", "_X", "-x", "-X", ".x", ".X"):
        names += [stem[:-1] + "y", stem[:-1] + "Y"]
    for name in names:
        for ending in ("", ".gz", ".bz2"):
            found = os.path.join(folder, f"{name}.npy{ending}")
            if is_file(found):
                return found
    raise DataError(f"{path}: found no labels; they must be beside it, in "
                    f"{' or '.join(dict.fromkeys(f'{name}.npy' for name in names))}, or be named with "
                    "--labels")


def _open_pair(path: str, labels: str) -> tuple[StoredArray, StoredArray | None]:
    return _open(path, _FEATURES), _open(labels, _LABELS) if labels else None


def _open(path: str, names: Sequence[str]) -> StoredArray:
    """The array in a file: that of a ``.npz`` which has one of the names."""
    if not _is_npz(path):
        with open_input(path) as file:
            return _header(file, path, None if compression(path) else file_bytes(path))
    with open_input(path) as file, zip_errors(path), zipfile.ZipFile(file) as archive:
        held = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
        found = [name for name in names if name in held]
        if len(found) != 1:
            raise DataError(f"{path}: must hold one array called {', '.join(names)}; it holds "
                            f"{', '.join(held) or 'none'}")
        member = archive.getinfo(found[0] + ".npy")
        with archive.open(member) as inside:
            array = _header(inside, path, member.file_size)
        if compression(path) or member.compress_type != zipfile.ZIP_STORED:
            return StoredArray(path, array.dtype, array.shape, array.offset, array.fortran,
                               member.filename)
        # A member that is only stored is a plain .npy inside the file, so it can be mapped.
        file.seek(member.header_offset)
        lengths = struct.unpack("<HH", file.read(_LOCAL_HEADER)[26:])
        offset = member.header_offset + _LOCAL_HEADER + sum(lengths) + array.offset
        return StoredArray(path, array.dtype, array.shape, offset, array.fortran)


def _header(file: BinaryIO, path: str, length: int | None) -> StoredArray:
    """Parse an array's header, and compare it with ``length``, all bytes of the array, if known."""
    start = file.tell()
    try:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        parse = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = parse(file)
    except ValueError as error:
        raise DataError(f"{path}: must be an array in NumPy's format, found a header that is not "
                        f"({' '.join(str(error).split())})") from None
    if dtype.hasobject:
        raise DataError(f"{path}: must hold numbers, found Python objects, which could run code when "
                        "they are loaded; save it with a type of numbers")
    array = StoredArray(path, dtype, shape, file.tell() - start, fortran and len(shape) > 1)
    expected = array.offset + dtype.itemsize * prod(shape)
    if min(shape, default=0) < 0 or (length is not None and length != expected):
        raise DataError(f"{path}: its header tells of shape {shape} and type {dtype}, {expected} "
                        f"bytes, found {length}; it was cut off or is not one array")
    return array


FORMAT = NumpyFiles()
