"""IDX, the files of MNIST: images and labels in two files that are named alike.

Layout (http://yann.lecun.com/exdb/mnist): two zero bytes, the type, the number of dimensions, each
dimension as a big-endian uint32, then the numbers, big-endian.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

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
)
from mr_gradient.errors import DataError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DIMENSIONS = 8


class Idx:
    """Images as flat rows in the file's own type; a file of one dimension is labels.

    Labels of ``*images*idxN*`` are in ``*labels*idx1*`` beside it, compressed or not, or in the
    files that ``options["labels"]`` names. A compressed file is one piece.
    """

    name = "idx"
    endings = ("-ubyte", ".idx", ".idx1", ".idx2", ".idx3", ".idx4")

    def looks_like(self, head: bytes) -> bool:
        return (len(head) > 8 and head[:2] == b"\0\0" and head[2] in _TYPES
                and 1 <= head[3] <= _DIMENSIONS)

    def inspect(self, paths: Sequence[str], options: dict[str, Any]) -> Source:
        images = [path for path in paths if len(_open(path).shape) > 1]
        if not images:
            raise DataError(f"{paths[0]}: holds labels (one dimension), and no file of images was "
                            "given; name it too")
        labels = labels_of(paths, images, options, lambda path: _find_labels(path, paths))
        return source_of(self.name, [_open_pair(*each) for each in labels.items()])

    def pieces(self, paths: Sequence[str], source: Source, size: int) -> list[Piece]:
        return row_pieces([_open(path) for path in source.options["files"]], size)

    def read(self, piece: Piece, source: Source, bad: BadRows) -> Iterator[Rows]:
        yield from read_pair(*_open_pair(piece.path, source.options["files"][piece.path]), piece)


def _find_labels(path: str, given: Sequence[str]) -> str:
    """The file of labels of a file of images: one of those given, or one that lies beside it."""
    folder, name = os.path.split(uncompressed_name(path))
    name = re.sub(r"idx\d", "idx1", re.sub("images", "labels", name, flags=re.IGNORECASE))
    found = os.path.join(folder, name)
    own = path[len(uncompressed_name(path)):]
    candidates = [found + ending for ending in dict.fromkeys((own, "", ".gz", ".bz2"))]
    if found != uncompressed_name(path):
        for candidate in candidates:
            if candidate in given or is_file(candidate):
                return candidate
    raise DataError(f"{path}: found no labels; they must be beside it, in {found}, or be "
                    "named with --labels"
                    if found != uncompressed_name(path) else
                    f"{path}: found no labels; its name must have 'images' in it, where that of the "
                    "labels has 'labels', or they must be named with --labels")


def _open_pair(path: str, labels: str) -> tuple[StoredArray, StoredArray | None]:
    return _open(path), _open(labels) if labels else None


def _open(path: str) -> StoredArray:
    """Parse a header, and compare it with the length of the file, unless that is compressed."""
    with open_input(path) as file:
        head = file.read(4 + 4 * _DIMENSIONS)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES:
        raise DataError(f"{path}: must begin with an IDX header (two zero bytes, a type of "
                        f"{', '.join(f'{kind:02x}' for kind in _TYPES)}), found {head[:4].hex(' ')}")
    count = head[3]
    if not 1 <= count <= _DIMENSIONS or len(head) < 4 + 4 * count:
        raise DataError(f"{path}: its IDX header must tell of 1 to {_DIMENSIONS} dimensions and list "
                        f"them, found {count} in {len(head)} bytes")
    shape = struct.unpack(f">{count}I", head[4:4 + 4 * count])
    array = StoredArray(path, np.dtype(_TYPES[head[2]]), shape, 4 + 4 * count)
    expected = array.offset + array.dtype.itemsize * prod(shape)
    if not compression(path) and (length := file_bytes(path)) != expected:
        raise DataError(f"{path}: its IDX header tells of shape {shape}, {expected} bytes, found "
                        f"{length}; it was cut off, or the header is wrong")
    return array


FORMAT = Idx()
