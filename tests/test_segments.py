"""Batches that were dealt go through segments into shards: every row once, in order, byte for byte."""

from __future__ import annotations

import hashlib
import os

import numpy as np
import pytest

from mr_gradient import storage, tensors
from mr_gradient.dataset.csr import CsrRows
from mr_gradient.dataset.deal import Deal, Examples
from mr_gradient.dataset.segments import assemble, write_segment
from mr_gradient.dataset.stores import store_at
from mr_gradient.dataset.writer import write_shard

SHARDS = 4


def batches(layout: str, ones: bool = False) -> list[Examples]:
    """Batches sorted by shard, rows told apart by their label; one has no row of shard 2."""
    generator = np.random.default_rng(1)
    found, first = [], 0
    for rows in (50, 3, 120):
        x = generator.integers(1, 2 if ones else 9, (rows, 6)).astype(np.float32)
        x[generator.random(x.shape) < 0.6] = 0
        shard = np.sort(generator.integers(0, SHARDS, rows) if rows > 3 else np.array([0, 1, 3]))
        if layout == "csr":
            indptr = np.concatenate(([0], np.cumsum(np.count_nonzero(x, axis=1))))
            x = CsrRows(indptr, np.nonzero(x)[1].astype(np.int32), x[x != 0], 6)
        found.append(Examples(shard, x, np.arange(first, first + rows, dtype=np.float32),
                              np.arange(rows, dtype=np.float32) % 7))
        first += rows
    return found


def dense(x: np.ndarray | CsrRows) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return x
    full = np.zeros(x.shape, np.float32)
    full[np.repeat(np.arange(len(full)), np.diff(x.indptr)), x.indices] = x.values
    return full


@pytest.mark.parametrize(("layout", "ones"), [("dense", False), ("csr", False), ("csr", True)])
def test_shards_are_those_of_all_rows_together(tmp_path, layout, ones):
    parts = batches(layout, ones)
    deal = Deal(0, 0.0, SHARDS + 1, 0, layout, "float32", "float32", 6, weighted=True)
    places: dict[int, list] = {}
    store = store_at(str(tmp_path))
    for number, held in enumerate((parts[:2], parts[2:])):
        for shard, segment in write_segment(store, f"s{number}", held, deal):
            places.setdefault(shard, []).append(segment)
    shard, x, y, weight = (np.concatenate(each) for each in zip(*(
        (part.shard, dense(part.x), part.y, part.weight) for part in parts)))
    for number in range(SHARDS + 1):
        info = assemble(store, f"attempts/{number}", places.get(number, []), deal)
        assert info.path == f"attempts/{number}"
        made = (tmp_path / info.path).read_bytes()
        assert (info.bytes, info.sha256) == (len(made), hashlib.sha256(made).hexdigest())
        assert info.rows == np.count_nonzero(shard == number)
        own = shard == number
        whole = x[own]
        if layout == "csr":
            from scipy.sparse import csr_array

            whole = csr_array(whole)
        written = write_shard(str(tmp_path), number, whole, y[own], weight[own])
        assert (written.rows, written.bytes, written.sha256) == (info.rows, info.bytes, info.sha256)
        assert (tmp_path / written.path).read_bytes() == made
    assert info.rows == 0  # the last of them


def test_tensors_in_parts_are_the_whole(tmp_path):
    x = np.arange(24.0).reshape(8, 3)
    parts = {"x": [x[:3], x[3:3], x[3:]], "y": [np.arange(8)]}
    whole = {"x": x, "y": np.arange(8)}
    assert b"".join(tensors.to_chunks(parts)) == b"".join(tensors.to_chunks(whole))


@pytest.mark.parametrize("size", [0, 5, (1 << 20) + 1])
def test_a_file_is_hashed_as_it_is_written(tmp_path, size):
    content = os.urandom(size)
    path = str(tmp_path / "file")
    assert storage.write_hashed(path, [content[:3], memoryview(content)[3:]]) == (
        size, hashlib.sha256(content).hexdigest())
    assert storage.sha256(path) == hashlib.sha256(content).hexdigest()
