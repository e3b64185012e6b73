"""Writing a data set: rows dealt to shards, and the folder made visible only when it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.dataset import csr, names
from mr_gradient.dataset.schema import FILE, Dataset, Schema, ShardInfo, is_dataset
from mr_gradient.errors import UsageError
from mr_gradient.ownership import give_up_lock, owned_folder

#: Rows that were left out, in the data set's folder.
REJECTS = "rejects.jsonl"
SHARD_BYTES = 64 * 1024 * 1024
MIN_SHARDS = 8
#: Data with a smaller share of numbers that are not zero is written as CSR. A gradient pass takes
#: the same time both ways (benchmarks/density.py, float32, one thread, 100, 1,000 and 10,000 columns)
#: at 0.08, 0.19 and 0.14 for logistic loss, and at 0.17, 0.15 and 0.17 for softmax of 10 classes.
DENSITY_THRESHOLD = 0.15


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
    parent, old = os.path.dirname(out), _put_aside(out)
    if os.path.isdir(old):  # a kill came between the two renames of _put_in_place
        if os.path.exists(out):
            shutil.rmtree(old)
        else:
            os.rename(old, out)
    _check_out(out, overwrite)
    made = storage.make_folder(parent)
    done = False
    try:
        with owned_folder(f".{os.path.basename(out)}.partial-", parent) as temporary:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            give_up_lock(temporary)
            _put_in_place(temporary, out)
            done = True
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
    if others := found - {FILE, REJECTS, "shards"}:
        raise UsageError(f"--out {out}: holds a data set and also {min(others)!r}; choose another "
                         "folder")
    if found and not overwrite:
        raise UsageError(f"--out {out}: already holds a data set; choose another folder or "
                         "replace it with --overwrite")


def _put_in_place(temporary: str, out: str) -> None:
    """Rename, with the data set that was there put aside first and removed last."""
    old = _put_aside(out)
    if os.path.isdir(out):
        os.rename(out, old)
    try:
        os.rename(temporary, out)
    except OSError:
        if os.path.isdir(old):
            os.rename(old, out)
        raise
    storage.sync_folder(os.path.dirname(out))
    shutil.rmtree(old, ignore_errors=True)


def _put_aside(out: str) -> str:
    """Where the data set that is being replaced stays until the new one is in its place."""
    return os.path.join(os.path.dirname(out), f".{os.path.basename(out)}.replaced")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_shard(folder: str, number: int, x: Any, y: np.ndarray, weight: np.ndarray | None = None,
                scale: float = 1.0) -> ShardInfo:
    """Write a whole shard below ``folder``: ``x`` is an array or a CSR matrix of scipy's."""
    if isinstance(x, np.ndarray):
        arrays, metadata = {"x": x}, {}
    else:
        arrays, metadata = csr.to_tensors(x.indptr, x.indices, x.data, x.shape[1])
    arrays |= {"y": y} if weight is None else {"y": y, "weight": weight}
    return write_tensors(folder, number, arrays, {**metadata, "scale": repr(scale)}, len(y))


def shard_path(number: int) -> str:
    """Of a shard in the folder of its data set."""
    return f"shards/{number:05d}.safetensors"


def write_tensors(folder: str, number: int, arrays: dict[str, np.ndarray | list[np.ndarray]],
                  metadata: dict[str, str], rows: int) -> ShardInfo:
    """Write a whole shard below ``folder`` from its tensors, as ``tensors.to_chunks`` takes them."""
    path = shard_path(number)
    full = os.path.join(folder, path)
    storage.make_below(full)
    return ShardInfo(path, rows, *storage.write_hashed(full, tensors.to_chunks(arrays, metadata)))


def write_arrays(out: str, x: Any, y: np.ndarray, weight: np.ndarray | None = None, *,
                 classes: tuple[str, ...] = (), shards: int = MIN_SHARDS,
                 held_out: tuple | None = None, scale: float = 1.0,
                 overwrite: bool = False) -> Dataset:
    """Write arrays as a data set whose shards are equal, contiguous ranges of the rows.

    ``x`` (rows, features) is an array or a sparse matrix of scipy's, and keeps its dtype; ``y``
    (rows,) holds class indices when ``classes`` are given and values otherwise; ``weight`` (rows,)
    is optional. ``held_out`` is an optional tuple like them that becomes one more shard.
    """
    dense = isinstance(x, np.ndarray)
    x = x if dense else x.tocsr()
    schema = Schema(
        names.numbered("x", x.shape[1]), "y", "class" if classes else "value", tuple(classes),
        str(x.dtype), float(scale), "dense" if dense else "csr",
        0 if dense else csr.mean_nonzeros(x.nnz, x.shape[0]))
    with new_folder(out, overwrite) as folder:
        ends = [-(-x.shape[0] * (i + 1) // shards) for i in range(shards)]
        train = tuple(
            write_shard(folder, number, x[lo:hi], y[lo:hi], None if weight is None else weight[lo:hi],
                        scale)
            for number, (lo, hi) in enumerate(zip([0, *ends], ends)))
        held = ()
        if held_out:
            a, *others = held_out
            held = (write_shard(folder, shards, a if dense else a.tocsr(), *others, scale=scale),)
        Dataset(folder, schema, train, held).save()
    return Dataset(os.path.abspath(out), schema, train, held)
