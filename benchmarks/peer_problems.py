"""The three data sets of ``peers.py``, for this project and as plain arrays for its peers."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mr_gradient.dataset.writer import write_arrays

_COLUMNS = 1 << 20
#: Distinct values of the 39 fields of a click; a field's value of rank r comes about as 1 / r.
_DISTINCT = (4, 10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10_000) * 2 + (
    24, 300, 1500, 5600, 12_000, 15_000, 93_000, 140_000, 290_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000)
_SHARDS = 8


@dataclass(frozen=True)
class Problem:
    """A linear model on a data set; ``l2`` of the objective, mean loss + l2 / 2 |w|^2.

    ``make(rows)`` gives x, y and the scale of x; 0 rows stand for all of them.
    """

    name: str
    model: str
    l2: float
    make: Callable[[int, str], tuple[Any, np.ndarray, float]]

    def prepare(self, folder: str, rows: int, mnist: str) -> None:
        """Write the data set to ``data``, and x and y in float32 for peers, unless they are there."""
        if os.path.exists(os.path.join(folder, "y.npy")):
            return
        x, y, scale = self.make(rows, mnist)
        data = os.path.join(folder, "data")
        classes = tuple(str(label) for label in range(int(y.max()) + 1))
        write_arrays(data, x, y, classes=classes, shards=_SHARDS, scale=scale, overwrite=True)
        if self.model == "softmax":
            write_arrays(os.path.join(folder, "two"), x, y, classes=classes, shards=2, scale=scale,
                         overwrite=True)
        if isinstance(x, np.ndarray):
            np.save(os.path.join(folder, "x.npy"), np.multiply(x, scale, dtype=np.float32))
        else:
            for part in ("data", "indices", "indptr"):
                np.save(os.path.join(folder, f"{part}.npy"), getattr(x, part))
        np.save(os.path.join(folder, "y.npy"), y)


def load(folder: str) -> tuple[Any, np.ndarray]:
    """x as an array or a CSR matrix, float32, and y, as ``prepare`` left them."""
    y = np.load(os.path.join(folder, "y.npy"))
    if os.path.exists(os.path.join(folder, "x.npy")):
        return np.load(os.path.join(folder, "x.npy")), y
    from scipy.sparse import csr_matrix  # of scikit-learn's choice

    parts = (np.load(os.path.join(folder, f"{part}.npy")) for part in ("data", "indices", "indptr"))
    return csr_matrix(tuple(parts), shape=(len(y), _COLUMNS)), y


def _mnist(rows: int, folder: str) -> tuple[np.ndarray, np.ndarray, float]:
    with gzip.open(os.path.join(folder, "train-images-idx3-ubyte.gz")) as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 784)
    with gzip.open(os.path.join(folder, "train-labels-idx1-ubyte.gz")) as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    rows = rows or len(labels)
    return images[:rows], labels[:rows], 1 / 255


def _dense(rows: int, _: str) -> tuple[np.ndarray, np.ndarray, float]:
    """100 features that depend on each other, of unlike spread."""
    rows = rows or 2_000_000
    generator = np.random.default_rng(0)
    mixing = np.eye(100) + 0.5 * generator.normal(size=(100, 100)) / 10
    mixing = (mixing * np.exp(generator.normal(0, 0.8, 100))).astype(np.float32)
    x = np.empty((rows, 100), np.float32)
    for lo in range(0, rows, 65_536):
        part = x[lo:lo + 65_536]
        np.matmul(generator.standard_normal(part.shape, np.float32), mixing, out=part)
    weight = generator.normal(0, 0.3, 100).astype(np.float32)
    return x, _labels(x @ weight - 0.5, generator), 1.0


def _clicks(rows: int, _: str) -> tuple[Any, np.ndarray, float]:
    """One column a field and row, by the hash of field and value; equal ones add up."""
    from scipy.sparse import csr_array

    rows = rows or 1_000_000
    generator = np.random.default_rng(0)
    columns = np.empty((rows, len(_DISTINCT)), np.int32)
    for field, distinct in enumerate(_DISTINCT):
        rank = np.exp(generator.random(rows) * np.log(distinct)).astype(np.uint64)  # about 1 / r
        mixed = (rank + np.uint64(field << 32)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        columns[:, field] = mixed >> np.uint64(44)
    indptr = np.arange(rows + 1, dtype=np.int32) * len(_DISTINCT)
    x = csr_array((np.ones(columns.size, np.float32), columns.reshape(-1), indptr),
                  shape=(rows, _COLUMNS))
    x.sum_duplicates()
    weight = generator.normal(0, 0.4, _COLUMNS).astype(np.float32)
    return x, _labels(x @ weight - 1.5, generator), 1.0


def _labels(z: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return (generator.random(len(z)) < 1 / (1 + np.exp(-z))).astype(np.uint8)


PROBLEMS = {problem.name: problem for problem in (
    Problem("mnist", "softmax", 1e-4, _mnist),
    Problem("dense", "logistic", 1e-6, _dense),
    Problem("clicks", "logistic", 1e-6, _clicks))}
