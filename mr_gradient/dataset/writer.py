"""Writing a data set: rows dealt to shards, and the folder made visible only when it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.dataset.schema import Dataset, Schema, ShardInfo, is_dataset
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
    out = os.path.abspath(out)
    if os.path.exists(out) and not os.path.isdir(out):
        raise UsageError(f"--out {out}: must be a folder, found a file")
    if os.path.isdir(out) and os.listdir(out):
        if not is_dataset(out):
            raise UsageError(f"--out {out}: must be empty or absent, but it holds something else "
                             f"({sorted(os.listdir(out))[0]!r}); choose another folder")
        if not overwrite:
            raise UsageError(f"--out {out}: already holds a data set; choose another folder or "
                             "replace it with --overwrite")
    storage.make_folder(os.path.dirname(out))
    try:
        temporary = tempfile.mkdtemp(prefix=f".{os.path.basename(out)}.partial-",
                                     dir=os.path.dirname(out))
    except OSError as error:
        raise UsageError(f"--out {out}: cannot be made: {error.strerror}") from None
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if os.path.isdir(out):
            shutil.rmtree(out)
        os.rename(temporary, out)
        storage.sync_folder(os.path.dirname(out))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


class ShardFiles:
    """The shards of one part, their sizes known, filled batch by batch through mapped files."""

    def __init__(self, folder: str, first: int, rows: np.ndarray, features: int,
                 x_dtype: np.dtype, y_dtype: np.dtype, scale: float) -> None:
        """``rows`` (shards,): how many rows each will get; shard numbers start at ``first``."""
        os.makedirs(os.path.join(folder, "shards"), exist_ok=True)
        self._folder, self._rows, self._filled = folder, rows, np.zeros_like(rows)
        self._paths = [f"shards/{first + i:05d}.safetensors" for i in range(len(rows))]
        self._x, self._y = [], []
        for path, count in zip(self._paths, rows.tolist()):
            specs = {"x": (x_dtype, (count, features)), "y": (y_dtype, (count,))}
            head, offsets = tensors.header(specs, {"scale": repr(scale)})
            full = os.path.join(folder, path)
            with open(full, "wb") as file:
                file.write(head)
                file.truncate(len(head) + count * (features * x_dtype.itemsize + y_dtype.itemsize))
            self._x.append(_mapped(full, x_dtype, offsets["x"], (count, features)))
            self._y.append(_mapped(full, y_dtype, offsets["y"], (count,)))

    def add(self, shard_of_row: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        """Append each row of ``x`` and ``y`` to its shard, in order."""
        order = np.argsort(shard_of_row, kind="stable")
        counts = np.bincount(shard_of_row, minlength=len(self._rows))
        ends = np.cumsum(counts)
        for i in np.flatnonzero(counts):
            picked = order[ends[i] - counts[i]:ends[i]]
            at = slice(self._filled[i], self._filled[i] + counts[i])
            self._x[i][at] = x[picked]
            self._y[i][at] = y[picked]
            self._filled[i] += counts[i]

    def finish(self) -> tuple[ShardInfo, ...]:
        """Flush, checksum and describe the shards."""
        for array in (*self._x, *self._y):
            if isinstance(array, np.memmap):
                array.flush()
        infos = []
        for path, rows in zip(self._paths, self._rows.tolist()):
            full = os.path.join(self._folder, path)
            infos.append(ShardInfo(path, rows, os.path.getsize(full), storage.sha256(full)))
        return tuple(infos)


def _mapped(path: str, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r+", offset, shape)


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
