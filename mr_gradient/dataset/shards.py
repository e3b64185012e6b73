"""Reading shards: mapped once, kept open, handed out in chunks that fit the cache.

A shard is a safetensors file with ``x`` (rows, features) or sparse rows (``csr``), ``y`` (rows,) and
optionally ``weight`` (rows,). Shards never change, so a process that serves several jobs keeps them
mapped: opening one again costs as much as a whole pass over it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mr_gradient import storage, tensors
from mr_gradient.dataset import csr, node_cache
from mr_gradient.dataset.uris import is_uri
from mr_gradient.errors import DataError

#: A chunk's features, in the type that the model computes in, fill at most this many bytes: they
#: are read twice, forward and backward, and should still be in a cache the second time. Half as
#: much fits the second-level cache better, and lost to the calls that it doubles: softmax on MNIST
#: took 48 ms of CPU a pass instead of 43, 100 columns of float32 the same.
CHUNK_BYTES = 4 * 1024 * 1024


@dataclass
class Shard:
    """A mapped shard: ``x`` as stored, ``scale`` times ``x`` as models see it."""

    path: str
    x: np.ndarray | csr.CsrRows
    y: np.ndarray
    weight: np.ndarray | None
    scale: float
    verified: bool = False

    def chunks(self, start: int, stop: int, rows: int, dtype: np.dtype) -> Iterator[tuple]:
        """Yield ``(x, y, weight)`` of at most ``rows`` rows, ``x`` (n, features) in ``dtype``.

        ``x`` is an array, which may be a buffer that the next chunk overwrites, or a CSR array of
        scipy's where the shard is sparse. ``weight`` is None for all ones.
        """
        sparse = isinstance(self.x, csr.CsrRows)
        for lo, x in (self._sparse if sparse else self._dense)(start, stop, rows, dtype):
            hi = min(lo + rows, stop)
            yield x, self.y[lo:hi], None if self.weight is None else self.weight[lo:hi]

    def chunks_of(self, drawn: np.ndarray, rows: int, dtype: np.dtype) -> Iterator[tuple]:
        """The same for the rows ``drawn`` (n,) of the shard, in their order."""
        buffer = None
        for lo in range(0, len(drawn), rows):
            part = drawn[lo:lo + rows]
            if isinstance(self.x, csr.CsrRows):
                x = self.x.rows(part, dtype, self.scale)
            else:
                x = self.x[part]
                if x.dtype != dtype or self.scale != 1.0:
                    buffer = np.empty_like(x, dtype) if buffer is None else buffer
                    x = self._scaled(x, buffer[:len(part)])
            yield x, self.y[part], None if self.weight is None else self.weight[part]

    def _sparse(self, start: int, stop: int, rows: int, dtype: np.dtype) -> Iterator[tuple]:
        for lo in range(start, stop, rows):
            yield lo, self.x.matrix(lo, min(lo + rows, stop), dtype, self.scale)

    def _dense(self, start: int, stop: int, rows: int, dtype: np.dtype) -> Iterator[tuple]:
        convert = self.x.dtype != dtype or self.scale != 1.0
        buffer = np.empty((min(rows, stop - start), self.x.shape[1]), dtype) if convert else None
        for lo in range(start, stop, rows):
            x = self.x[lo:min(lo + rows, stop)]
            yield lo, self._scaled(x, buffer[:len(x)]) if convert else x

    def _scaled(self, x: np.ndarray, out: np.ndarray) -> np.ndarray:
        """``scale`` times ``x``, in the type of ``out``."""
        return np.multiply(x, out.dtype.type(self.scale), out=out, dtype=out.dtype, casting="unsafe")


_open: dict[str, tuple[tuple, Shard]] = {}


def open_shard(path: str, sha256: str = "", verify: bool = False, keep: bool = True) -> Shard:
    """Map the shard at ``path``, or return it as this process has it mapped.

    With ``verify`` the content is compared with ``sha256`` once in the life of the process. A shard at
    a URI comes from the node's cache, unless ``keep`` is false, and is always compared.
    Raises ``DataError`` when the file is missing, damaged, or other than the checksum says.
    """
    shard = _at_uri(path, sha256, keep) if is_uri(path) else _in_file(path)
    if verify and not shard.verified:
        if not is_uri(path) and (found := storage.sha256(path)) != sha256:
            raise DataError(f"shard {path}: its SHA-256 must be {sha256}, found {found}: the file "
                            "is corrupted; prepare the data set again")
        if isinstance(shard.x, csr.CsrRows):
            shard.x.check_indices(path)
        shard.verified = True
    return shard


def _at_uri(uri: str, sha256: str, keep: bool) -> Shard:
    known = _open.get(uri)
    if known and known[0] == (sha256,):
        node_cache.counts.hits += 1
        return known[1]
    with node_cache.open_shard_file(uri, sha256, keep) as file:
        return _remember(uri, (sha256,), _map(uri, *tensors.read_open(uri, file)))


def _in_file(path: str) -> Shard:
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"shard {path}: cannot be read: {error.strerror}; "
                        "prepare the data set again") from None
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    known = _open.get(path)
    if known and known[0] == identity:
        return known[1]
    return _remember(path, identity, _map(path, *tensors.read(path)))


def _remember(path: str, identity: tuple, shard: Shard) -> Shard:
    """Keep a shard open, with what tells it from a later one at the same place."""
    if len(_open) >= _most_open():
        _open.pop(next(iter(_open)))
    _open[path] = (identity, shard)
    return shard


def _most_open() -> int:
    """How many shards a process keeps mapped: each mapping holds a file descriptor."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(4096, soft - 64))


def _map(path: str, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> Shard:
    x, y, weight = arrays.get("x"), arrays.get("y"), arrays.get("weight")
    if "indptr" in arrays:
        x = csr.from_tensors(path, arrays, metadata)
    if (x is None or y is None or len(x.shape) != 2 or y.shape != x.shape[:1]
            or (weight is not None and weight.shape != y.shape)):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise DataError(f"shard {path}: must hold x (rows, features), or sparse rows, and y (rows,), "
                        f"found {shapes}")
    try:
        scale = float(metadata.get("scale", "1"))
    except ValueError:
        raise DataError(f"shard {path}: scale must be a number, found {metadata['scale']!r}") from None
    return Shard(path, x, y, weight, scale)


def rows_per_chunk(features: int, itemsize: int) -> int:
    """The power of two of rows, 512 to 65,536, whose features fill at most ``CHUNK_BYTES``.

    Fewer rows would cost more in calls than the cache saves.
    """
    rows = max(1, CHUNK_BYTES // max(1, features * itemsize))
    return min(65536, max(512, 1 << (rows.bit_length() - 1)))
