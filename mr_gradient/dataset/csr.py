"""Sparse rows of a shard: ``indptr``, ``indices`` and ``values`` mapped, served as scipy's CSR.

A shard with ``indptr`` (rows + 1,) int64, ``indices`` (nonzeros,) int32 or int64 and ``values``
(nonzeros,) holds row i in ``indices[indptr[i]:indptr[i + 1]]``. Values that are all ones are left
out, which saves up to half of the bytes, and the metadata say so; ``width`` is there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from mr_gradient.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

#: Values converted to the model's type are kept between jobs, up to so many bytes a process.
CONVERTED_BYTES = 1 << 30
#: A chunk holds about this many times as many numbers as there are columns, since each chunk also
#: costs a few passes over a vector of all columns: 39 of 2**20 columns took 53 ms a pass in chunks
#: of 8,192 rows, 46 of 65,536 and 40 of 262,144.
_NONZEROS_PER_COLUMN = 16
_CHUNK_NONZEROS = 1 << 19
_OUTPUT_BYTES = 16 * 1024 * 1024
_INT32_MAX = np.iinfo(np.int32).max


@dataclass(eq=False)
class CsrRows:
    """Rows (rows, width) as stored; ``values`` is None for all ones."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray | None
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.indptr) - 1, self.width

    @property
    def nbytes(self) -> int:
        values = 0 if self.values is None else self.values.nbytes
        return self.indptr.nbytes + self.indices.nbytes + values

    def matrix(self, start: int, stop: int, dtype: np.dtype, scale: float = 1.0) -> csr_array:
        """Rows ``start`` to ``stop``, values in ``dtype`` times ``scale``; indices are not copied."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        kind = self.indices.dtype if last - first <= _INT32_MAX else np.int64
        indptr = (self.indptr[start:stop + 1] - first).astype(kind)
        if self.values is None:
            values = _constant(dtype, scale, last - first)
        else:
            values = self._converted(first, last, dtype, scale)
        return _csr_array()((_own(values), _own(self.indices[first:last]), indptr),
                            shape=(stop - start, self.width))

    def rows(self, numbers: np.ndarray, dtype: np.dtype, scale: float = 1.0) -> csr_array:
        """The rows ``numbers`` (n,), in their order."""
        starts = self.indptr[numbers]
        lengths = self.indptr[numbers + 1] - starts
        indptr = np.concatenate(([0], np.cumsum(lengths)))
        at = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
        values = (np.full(len(at), scale, dtype) if self.values is None
                  else _scaled(self.values[at], dtype, scale))
        return _csr_array()((values, self.indices[at], indptr.astype(self.indices.dtype)),
                            shape=(len(numbers), self.width))

    def _converted(self, first: int, last: int, dtype: np.dtype, scale: float) -> np.ndarray:
        """Values ``first`` to ``last`` as the model wants them."""
        if self.values.dtype == dtype and scale == 1.0:
            return self.values[first:last]
        kept = _kept.get(self)
        if kept is None or kept[0] != (dtype, scale):
            _kept.pop(self, None)
            whole = self.values.size * dtype.itemsize
            if whole + sum(array.nbytes for _, array in _kept.values()) > CONVERTED_BYTES:
                return _scaled(self.values[first:last], dtype, scale)
            kept = _kept[self] = (dtype, scale), _scaled(self.values, dtype, scale)
        return kept[1][first:last]

    def check_rows(self, path: str) -> None:
        """Whether ``indptr`` rises from 0 to the number of indices; cheap, done at each opening."""
        indptr, count = self.indptr, len(self.indices)
        if indptr[0] != 0 or indptr[-1] != count or (np.diff(indptr) < 0).any():
            raise DataError(f"shard {path}: indptr must rise from 0 to {count}, the number of its "
                            "indices; prepare the data set again")

    def check_indices(self, path: str) -> None:
        """Whether every column exists: scipy itself would read beyond the parameters."""
        if len(self.indices):
            low, high = int(self.indices.min()), int(self.indices.max())
            if low < 0 or high >= self.width:
                raise DataError(f"shard {path}: indices must be columns 0 to {self.width - 1}, "
                                f"found {low} to {high}; prepare the data set again")


_kept: WeakKeyDictionary[CsrRows, tuple] = WeakKeyDictionary()
_constants: dict[tuple, np.ndarray] = {}


def _scaled(values: np.ndarray, dtype: np.dtype, scale: float) -> np.ndarray:
    return np.multiply(values, dtype.type(scale), dtype=dtype, casting="unsafe")


def _constant(dtype: np.dtype, scale: float, size: int) -> np.ndarray:
    """``size`` times ``scale``, from one array that grows to the largest chunk of the process."""
    known = _constants.get((dtype, scale))
    if known is None or len(known) < size:
        known = _constants[dtype, scale] = np.full(size, scale, dtype)
    return known[:size]


def _csr_array() -> type[csr_array]:
    """scipy's class. Raises ``MissingPackageError``."""
    try:
        from scipy.sparse import csr_array
    except ImportError:
        raise MissingPackageError("sparse data needs scipy, which is not installed; install it with "
                                  "'pip install mr_gradient[sparse]'") from None
    return csr_array


def _own(array: np.ndarray) -> np.ndarray:
    """The same memory with a buffer for its base.

    scipy copies an array smaller than half of the array that it is a view of; the copies of each
    chunk and of its transpose doubled the time of a pass.
    """
    return np.frombuffer(memoryview(array), array.dtype) if array.size else array.copy()


def from_tensors(path: str, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> CsrRows:
    """The rows of the shard at ``path``; raises ``DataError`` when they are none."""
    indptr, indices, values = (arrays.get(name) for name in ("indptr", "indices", "values"))
    text = metadata.get("width", "")
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"shard {path}: width must be a number of columns, found {text!r}")
    if (indptr is None or indptr.dtype != np.int64 or indptr.ndim != 1 or len(indptr) < 1
            or indices is None or indices.dtype != index_dtype(int(text)) or indices.ndim != 1
            or (values is None) != (metadata.get("values") == "ones")
            or (values is not None and values.shape != indices.shape)):
        found = {name: f"{array.dtype}{array.shape}" for name, array in arrays.items()}
        raise DataError(f"shard {path}: must hold indptr int64 (rows + 1,), indices "
                        f"{index_dtype(int(text))} (nonzeros,) and values (nonzeros,) unless they are "
                        f"declared to be ones, found {found}")
    rows = CsrRows(indptr, indices, values, int(text))
    rows.check_rows(path)
    return rows


def to_tensors(indptr: np.ndarray, indices: np.ndarray, values: np.ndarray,
               width: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a shard, without ``y`` and ``weight``; ``indptr`` may start anywhere."""
    arrays = {"indptr": (indptr - indptr[0]).astype(np.int64),
              "indices": np.asarray(indices, index_dtype(width))}
    if (np.asarray(values) == 1).all():
        return arrays, {"width": str(width), "values": "ones"}
    return {**arrays, "values": np.asarray(values)}, {"width": str(width)}


def index_dtype(width: int) -> np.dtype:
    """Type of the indices of ``width`` columns."""
    return np.dtype(np.int32 if width <= _INT32_MAX else np.int64)


def mean_nonzeros(nonzeros: int, rows: int) -> int:
    """Stored numbers of a mean row, rounded up, as the schema records them."""
    return -(-nonzeros // max(1, rows))


def rows_per_sparse_chunk(width: int, nonzeros: int, outputs: int, itemsize: int) -> int:
    """The power of two of rows, 512 to 262,144, that makes calls and passes over columns cheap.

    ``nonzeros``: stored numbers of a mean row. ``outputs``: of the model's widest layer; for one
    chunk they fill at most 16 MiB.
    """
    rows = max(_CHUNK_NONZEROS, _NONZEROS_PER_COLUMN * width) // max(1, nonzeros)
    rows = min(rows, _OUTPUT_BYTES // max(1, outputs * itemsize))
    return min(1 << 18, max(512, 1 << (max(1, rows).bit_length() - 1)))
