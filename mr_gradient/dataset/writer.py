"""Writing a data set: rows dealt to shards, and the folder made visible only when it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.dataset.schema import FILE, Dataset, Schema, ShardInfo, is_dataset
from mr_gradient.errors import UsageError

SHARD_BYTES = 64 * 1024 * 1024
MIN_SHARDS = 8


def uniform_hash(rows: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """64 pseudo-random bits a row number, from SplitMix64 (Steele, Lea and Flood 2014).

    Depends on the row's number, ``seed`` and ``stream`` alone, so every reader deals alike.
    """
    with np.errstate(over="ignore"):
        start = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
        z = (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def number_of_shards(total_bytes: int) -> int:
    """A shard for each 64 MiB, at least 8: a property of the data, never of the cores."""
    return max(MIN_SHARDS, -(-total_bytes // SHARD_BYTES))


@contextlib.contextmanager
def new_folder(out: str, overwrite: bool) -> Iterator[str]:
    """A temporary folder beside ``out`` that becomes ``out`` when the block ends well.

    Raises ``UsageError`` when ``out`` is a file, or holds anything and ``overwrite`` is not given.
    """
    out = os.path.realpath(out)
    _check_out(out, overwrite)
    parent = os.path.dirname(out)
    made = storage.make_folder(parent)
    done = False
    try:
        temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(out)}.partial-", dir=parent)
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            _put_in_place(temporary, out)
            done = True
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be written: {error.strerror or error}") from None
    finally:
        if not done:
            storage.remove_empty(made)


def _check_out(out: str, overwrite: bool) -> None:
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"--out {out}: must be a folder, found a file")
    found = set(os.listdir(out)) if os.path.isdir(out) else set()
    if found and not is_dataset(out):
        raise UsageError(f"--out {out}: must be empty or absent, but it holds something else "
                         f"({min(found)!r}); choose another folder")
    if others := found - {FILE, "shards"}:
        raise UsageError(f"--out {out}: holds a data set and also {min(others)!r}; choose another "
                         "folder")
    if found and not overwrite:
        raise UsageError(f"--out {out}: already holds a data set; choose another folder or "
                         "replace it with --overwrite")


def _put_in_place(temporary: str, out: str) -> None:
    """Rename, with the data set that was there put aside first and removed last."""
    old = f"{temporary}.replaced"
    if os.path.isdir(out):
        os.rename(out, old)
    os.rename(temporary, out)
    storage.sync_folder(os.path.dirname(out))
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class ShardFiles:
    """The shards of one part, their sizes known, filled batch by batch."""

    def __init__(self, folder: str, first: int, rows: np.ndarray, features: int,
                 x_dtype: np.dtype, y_dtype: np.dtype, scale: float) -> None:
        """``rows`` (shards,): how many rows each will get; shard numbers start at ``first``."""
        os.makedirs(os.path.join(folder, "shards"), exist_ok=True)
        self._folder, self._rows, self._filled = folder, rows, np.zeros_like(rows)
        self._paths = [f"shards/{first + i:05d}.safetensors" for i in range(len(rows))]
        self._x_dtype, self._y_dtype, self._offsets = x_dtype, y_dtype, []
        for path, count in zip(self._paths, rows.tolist()):
            specs = {"x": (x_dtype, (count, features)), "y": (y_dtype, (count,))}
            head, offsets = tensors.header(specs, {"scale": repr(scale)})
            self._offsets.append(offsets)
            with open(os.path.join(folder, path), "wb") as file:
                file.write(head)

    def add(self, shard_of_row: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Append each row of ``x`` and ``y`` to its shard, in order."""
        order = np.argsort(shard_of_row, kind="stable")
        counts = np.bincount(shard_of_row, minlength=len(self._rows))
        ends = np.cumsum(counts)
        for i in np.flatnonzero(counts):
            picked = order[ends[i] - counts[i]:ends[i]]
            with open(os.path.join(self._folder, self._paths[i]), "r+b") as file:
                for name, rows, dtype in (("x", x, self._x_dtype), ("y", y, self._y_dtype)):
                    data = np.ascontiguousarray(rows[picked], dtype)
                    row_bytes = dtype.itemsize * (rows.shape[1] if rows.ndim == 2 else 1)
                    file.seek(self._offsets[i][name] + int(self._filled[i]) * row_bytes)
                    file.write(data.data)
            self._filled[i] += counts[i]

    def finish(self) -> tuple[ShardInfo, ...]:
        """Checksum and describe the shards."""
        infos = []
        for path, rows in zip(self._paths, self._rows.tolist()):
            full = os.path.join(self._folder, path)
            infos.append(ShardInfo(path, rows, os.path.getsize(full), storage.sha256(full)))
        return tuple(infos)


def write_arrays(out: str, x: np.ndarray, y: np.ndarray, *, classes: tuple[str, ...] = (),
                 shards: int = MIN_SHARDS, held_out: tuple[np.ndarray, np.ndarray] | None = None,
                 scale: float = 1.0, overwrite: bool = False) -> Dataset:
    """Write arrays as a data set whose shards are equal, contiguous ranges of the rows.

    ``x`` (rows, features) keeps its dtype; ``y`` (rows,) holds class indices when ``classes`` are
    given and values otherwise. ``held_out`` is an optional (x, y) that becomes one more shard.
    """
    schema = Schema(tuple(f"x{i}" for i in range(x.shape[1])), "y", "class" if classes else "value",
                    tuple(classes), str(x.dtype), float(scale))
    with new_folder(out, overwrite) as folder:
        parts = []
        for first, (a, b), count in ((0, (x, y), shards), (shards, held_out or (x[:0], y[:0]),
                                                          1 if held_out else 0)):
            owner = np.arange(len(a)) * count // max(1, len(a))
            files = ShardFiles(folder, first, np.bincount(owner, minlength=count), x.shape[1],
                               x.dtype, y.dtype, scale)
            files.add(owner, a, b)
            parts.append(files.finish())
        Dataset(folder, schema, parts[0], parts[1]).save()
    return Dataset(os.path.abspath(out), schema, parts[0], parts[1])
