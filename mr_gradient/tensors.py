"""safetensors files, written and mapped without a copy.

The format is an 8-byte little-endian header length, a JSON header and the raw tensors, with
nothing executable in it (law 6). The header is padded to 64 bytes and the widest type comes first,
so every mapped array is aligned. The safetensors package copies what it loads; this reader views.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from math import prod
from typing import BinaryIO

import numpy as np

from mr_gradient.errors import DataError

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
           "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
_ALIGN = 64
#: Bytes of the header's length.
_LENGTH = 8
_MAX_HEADER = 100 * 1024 * 1024
#: Most files' headers are within so many first bytes.
_USUAL_HEADER = 64 * 1024
#: From Python 3.13 on, a mapping need not keep a descriptor of its file.
_NO_DESCRIPTOR = {"trackfd": False} if sys.version_info >= (3, 13) else {}


def _ordered(specs: dict[str, tuple]) -> list[str]:
    return sorted(specs, key=lambda name: -np.dtype(specs[name][0]).itemsize)


def header(specs: dict[str, tuple[np.dtype, tuple[int, ...]]],
           metadata: dict[str, str] | None = None) -> tuple[bytes, dict[str, int]]:
    """Header bytes for tensors of the given (dtype, shape), and each one's offset in the file."""
    entries: dict = {"__metadata__": metadata} if metadata else {}
    offset, offsets = 0, {}
    for name in _ordered(specs):
        dtype, shape = np.dtype(specs[name][0]), specs[name][1]
        size = dtype.itemsize * prod(shape)
        entries[name] = {"dtype": _NAMES[dtype], "shape": list(shape),
                         "data_offsets": [offset, offset + size]}
        offsets[name] = offset
        offset += size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGN)
    return (len(text).to_bytes(8, "little") + text,
            {name: at + 8 + len(text) for name, at in offsets.items()})


def to_chunks(tensors: dict[str, np.ndarray | list[np.ndarray]],
              metadata: dict[str, str] | None = None) -> list:
    """The file as a list of buffers, to be written one after the other.

    A list of arrays, at least one, stands for what they are one after another, and is not copied.
    """
    arrays = {name: [np.asarray(each, order="C") for each in (
        parts if isinstance(parts, list) else [parts])] for name, parts in tensors.items()}
    specs = {name: (parts[0].dtype, parts[0].shape if len(parts) == 1 else
                    (sum(map(len, parts)), *parts[0].shape[1:])) for name, parts in arrays.items()}
    head, _ = header(specs, metadata)
    return [head, *(memoryview(part.reshape(-1)).cast("B") for name in _ordered(specs)
                    for part in arrays[name] if part.size)]


def read(path: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Map a file: read-only arrays that are views of it, and its metadata.

    Raises ``DataError`` when the file is missing or is no well-formed safetensors file.
    """
    try:
        with open(path, "rb") as file:
            return read_open(path, file, **_NO_DESCRIPTOR)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_open(path: str, file: BinaryIO, **options: bool) -> tuple[dict[str, np.ndarray],
                                                                  dict[str, str]]:
    """The same of a file that is open; ``path`` names it in errors.

    The mapping has a descriptor of its own, unless ``options`` of ``mmap`` say otherwise, so that a
    lock of the file (flock) stays as long as the arrays do.
    """
    if os.fstat(file.fileno()).st_size < _LENGTH:
        raise DataError(f"{path}: not a safetensors file: shorter than 8 bytes")
    return parse(path, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, **options))


def parse(path: str, data: mmap.mmap) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The same of a file that is in memory; the arrays are views of it."""
    with _errors(path):
        return _parse(data)


def metadata_of(path: str, start: Callable[[int], bytes]) -> dict[str, str]:
    """The metadata alone, of a file whose first bytes ``start`` gives, as many as are asked for."""
    data = start(_USUAL_HEADER)
    length = int.from_bytes(data[:_LENGTH], "little")
    if _USUAL_HEADER - _LENGTH < length <= _MAX_HEADER:
        data = start(_LENGTH + length)
    with _errors(path):
        return _header(data, length).get("__metadata__", {})


@contextlib.contextmanager
def _errors(path: str) -> Iterator[None]:
    """Whatever a file that is no safetensors file leads to, as a ``DataError``."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: not a safetensors file: {error}") from None


def _header(data: bytes | mmap.mmap, length: int) -> dict:
    if len(data) < _LENGTH:
        raise ValueError("shorter than 8 bytes")
    if not 0 < length <= min(len(data) - _LENGTH, _MAX_HEADER):
        raise ValueError(f"its header claims {length} bytes of {len(data)}")
    return json.loads(data[_LENGTH:_LENGTH + length])


def _parse(data: mmap.mmap) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    length = int.from_bytes(data[:_LENGTH], "little")
    entries = _header(data, length)
    metadata = entries.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("metadata must map strings to strings")
    arrays, end = {}, 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), entry["shape"]
        start, stop = entry["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
            raise ValueError(f"tensor {name!r} has shape {shape} at {start}:{stop}")
        if start != end or stop - start != prod(shape) * dtype.itemsize:
            raise ValueError(f"tensor {name!r} does not fill bytes {start}:{stop}")
        arrays[name] = np.frombuffer(data, dtype, prod(shape), 8 + length + start).reshape(shape)
        end = stop
    if 8 + length + end != len(data):
        raise ValueError(f"it must have {8 + length + end} bytes and has {len(data)}")
    return arrays, metadata
