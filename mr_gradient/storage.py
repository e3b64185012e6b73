"""Files that are whole or absent: write under a temporary name, sync, rename (law 5)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from mr_gradient.errors import DataError, UsageError

_TEMPORARY = re.compile(r"\.tmp-\d+$")
#: Hashed and then written while they are in the cache.
_HASHED_BYTES = 1 << 20


def write_atomically(path: str, chunks: Iterable[bytes | memoryview], sync: bool = True) -> None:
    """Write a file so that a reader, or a kill at any moment, sees all of it or nothing of it."""
    temporary = f"{path}.tmp-{os.getpid()}"  # as _TEMPORARY
    try:
        with open(temporary, "wb") as file:
            file.writelines(chunks)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if sync:
            sync_folder(os.path.dirname(path) or ".")
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from None
        raise


def write_hashed(path: str, chunks: Iterable[bytes | memoryview],
                 sync: bool = True) -> tuple[int, str]:
    """As ``write_atomically``; returns the file's bytes and its SHA-256 in hexadecimal."""
    digest, size = hashlib.sha256(), 0

    def hashed() -> Iterator[memoryview]:
        nonlocal size
        for chunk in map(memoryview, chunks):
            for start in range(0, len(chunk), _HASHED_BYTES):
                part = chunk[start:start + _HASHED_BYTES]
                digest.update(part)
                size += len(part)
                yield part

    write_atomically(path, hashed(), sync)
    return size, digest.hexdigest()


def remove_leftovers(folder: str) -> None:
    """Remove the temporary files that a killed writer left in a folder."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(folder):
            if _TEMPORARY.search(name):
                os.unlink(os.path.join(folder, name))


def sync_file(path: str) -> None:
    """Make a file that was written piece by piece survive a power cut."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: str) -> None:
    """Make renames in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str, value: Any) -> None:
    write_atomically(path, [json_bytes(value)])


def json_bytes(value: Any) -> bytes:
    return json.dumps(finite(value), indent=1, allow_nan=False).encode() + b"\n"


def finite(value: Any) -> Any:
    """A value for JSON, which has no infinity and no NaN: null stands for both."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: str, what: str) -> dict:
    """A JSON object from a file; ``what`` names it in the error."""
    try:
        with open(path, "rb") as file:
            return parse_json(file.read(), path, what)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {what} was expected there") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def parse_json(data: bytes, path: str, what: str) -> dict:
    """A JSON object in UTF-8; ``path`` and ``what`` name it in the error."""
    try:
        value = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {what} must be JSON: {error}") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: {what} must be a JSON object, found {type(value).__name__}")
    return value


def sha256(path: str | int) -> str:
    """Hexadecimal SHA-256 of a file, or of what a descriptor is open for, which is closed then."""
    # One buffer, which stays in the cache: fresh ones of 1 MiB took half as long as the hashing.
    digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 18))
    try:
        with open(path, "rb", buffering=0) as file:
            while size := file.readinto(buffer):
                digest.update(buffer[:size])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def sha256_of(data: bytes | memoryview | mmap.mmap) -> str:
    """The same of what is in memory."""
    return hashlib.sha256(data).hexdigest()


def make_folder(path: str) -> list[str]:
    """Make a folder and those above it; returns the ones that were not there, deepest first."""
    made, above = [], os.path.abspath(path)
    while above and not os.path.lexists(above):
        made.append(above)
        above = os.path.dirname(above)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {path}: the folder cannot be made: {error.strerror}") from None
    return made


def make_below(path: str) -> None:
    """Make the folder of a file, and none above it: a task that outlives its driver must not make
    anew what the next driver has removed."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(os.path.dirname(path))


def remove_empty(folders: list[str]) -> None:
    """Remove what ``make_folder`` made, as far as it is still empty."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)
