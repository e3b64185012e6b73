"""Records between tasks: lines ``block TAB split TAB base64``.

The bytes are a header (version, type, kind, level of the tree, number of splits, number of
elements) and raw little-endian numbers: dense, or sparse as uint32 positions and their values,
whichever is smaller. ``block`` and ``split`` are zero-padded, so sorting lines as text sorts them
by number. A summary record has the word ``summary`` for its block, and JSON for its bytes; so has
the record of an error, with the word ``error``.
"""

from __future__ import annotations

import binascii
import json
import struct
from typing import Any

import numpy as np

from mr_gradient.errors import DataError
from mr_gradient.jobs.task_errors import ERROR
from mr_gradient.partial_gradient import Node

SUMMARY = "summary"
_WORDS = {SUMMARY.encode(): SUMMARY, ERROR.encode(): ERROR}
_VERSION = 1
_HEADER = struct.Struct("<BBBBIQQ")
_DENSE, _SPARSE = 0, 1
_DTYPES = [np.dtype("<f4"), np.dtype("<f8")]
_MAX_ELEMENTS = 1 << 26


def encode_array(node: Node) -> bytes:
    """Header and numbers of a block's node; ``node.values`` (n,) float32 or float64."""
    values = node.values
    used = np.flatnonzero(values != 0)  # of booleans: a third of the time
    sparse = len(used) * (4 + values.itemsize) < values.nbytes
    head = _HEADER.pack(_VERSION, _DTYPES.index(values.dtype), _SPARSE if sparse else _DENSE,
                        node.level, int(node.splits), values.size, len(used))
    if sparse:
        return b"".join((head, used.astype("<u4").tobytes(), values[used].tobytes()))
    return b"".join((head, np.ascontiguousarray(values).data))


def decode_array(start: int, data: bytes) -> Node:
    """The inverse of ``encode_array``: a node that owns its ``values``."""
    if len(data) < _HEADER.size:
        raise DataError(f"record: must have {_HEADER.size} bytes of header, found {len(data)}")
    version, dtype, kind, level, splits, size, count = _HEADER.unpack_from(data)
    if version != _VERSION or dtype >= len(_DTYPES) or kind > _SPARSE or level > 62:
        raise DataError(f"record: unknown version {version}, type {dtype}, kind {kind} or level "
                        f"{level}")
    numbers, body = _DTYPES[dtype], len(data) - _HEADER.size
    if size > _MAX_ELEMENTS:
        raise DataError(f"record: claims {size} elements, at most {_MAX_ELEMENTS}")
    if kind == _DENSE:
        if body != size * numbers.itemsize:
            raise DataError(f"record: {size} elements of {numbers} in {body} bytes")
        return Node(start, level, np.frombuffer(data, numbers, size, _HEADER.size).copy(), splits)
    used, rest = divmod(body, 4 + numbers.itemsize)
    positions = np.frombuffer(data, "<u4", used, _HEADER.size)
    if rest or used != count or (used and int(positions.max()) >= size):
        raise DataError(f"record: sparse positions beyond {size} elements, or cut off")
    values = np.zeros(size, numbers)
    values[positions] = np.frombuffer(data, numbers, used, _HEADER.size + 4 * used)
    return Node(start, level, values, splits)


def _head(line: bytes) -> tuple[bytes, bytes, int]:
    """Block, split, and where the base64 begins: the large rest of the line is not copied."""
    first = line.index(b"\t")
    second = line.index(b"\t", first + 1)
    if line.find(b"\t", second + 1) >= 0:
        raise ValueError("more than two tabs")
    return line[:first], line[first + 1:second], second + 1


class RecordProtocol:
    """mrjob protocol: ``(block, Node)``, or a word, SUMMARY or ERROR, and a dictionary whose ``split``
    is its number."""

    def read(self, line: bytes) -> tuple[int | str, Any]:
        try:
            block, split, start = _head(line)
            data = binascii.a2b_base64(memoryview(line)[start:])
            if int(split) < 0 or not (block in _WORDS or int(block) >= 0):
                raise ValueError("negative")
            if block in _WORDS:
                told = json.loads(data)
                if not isinstance(told, dict) or told.get("split") != int(split):
                    raise ValueError("a summary must be an object that names its split")
                return _WORDS[block], told
            return int(block), decode_array(int(split), data)
        except (ValueError, RecursionError) as error:
            raise DataError(f"record {line[:40]!r}: must be block, split and base64 between tabs: "
                            f"{error}") from None

    def write(self, key: int | str, value: Any) -> bytes:
        if key in (SUMMARY, ERROR):
            block, split, data = key.encode(), value["split"], json.dumps(value).encode()
        else:
            block, split, data = b"%08d" % key, value.start, encode_array(value)
        return b"%s\t%08d\t%s" % (block, split, binascii.b2a_base64(data, newline=False))
