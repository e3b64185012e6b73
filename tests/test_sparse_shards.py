"""CSR shards: written, checked, mapped without a copy, read in chunks."""

import gc
import os
import sys

import numpy as np
import pytest
from sparse_data import WIDTH, examples

from mr_gradient import storage, tensors
from mr_gradient.dataset import csr
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.dataset.shards import open_shard
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError, UsageError

FLOATS = pytest.mark.parametrize("wanted", [np.float32, np.float64])


def shards_of(dataset, part="train"):
    return [open_shard(os.path.join(dataset.folder, info.path), info.sha256, verify=True)
            for info in getattr(dataset, part)]


def written(folder, rows=23, shards=1, **fields):
    data = examples(rows, **fields)
    return data, write_arrays(str(folder / "set"), data.sparse, data.y, shards=shards)


@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize(("rows", "shards"), [(23, 1), (23, 4), (3, 8), (1, 1), (0, 2)])
@FLOATS
def test_sparse_rows_become_shards_and_come_back(tmp_path, rows, shards, ones, wanted):
    data, dataset = written(tmp_path, rows, shards, ones=ones, dtype=wanted)
    assert open_dataset(dataset.folder) == dataset
    schema = dataset.schema
    assert (schema.layout, schema.width, schema.dtype) == ("csr", WIDTH, np.dtype(wanted).name)
    assert schema.nonzeros == -(-data.sparse.nnz // max(1, rows))
    found = [(x.toarray(), y) for shard in shards_of(dataset)
             for x, y, _ in shard.chunks(0, len(shard.y), 5, np.dtype(wanted))]
    np.testing.assert_array_equal(
        np.concatenate([data.dense[:0], *(x for x, _ in found)]), data.dense)
    np.testing.assert_array_equal(np.concatenate([data.y[:0], *(y for _, y in found)]), data.y)
    assert all((shard.x.values is None) == (ones or not shard.x.indices.size)
               for shard in shards_of(dataset))


@pytest.mark.parametrize("form", ["csr_matrix", "csc_array", "coo_array"])
def test_every_sparse_form_is_written_alike(tmp_path, form):
    import scipy.sparse

    data, expected = written(tmp_path, shards=3)
    other = write_arrays(str(tmp_path / "other"), getattr(scipy.sparse, form)(data.sparse), data.y,
                         shards=3)
    assert other.digest == expected.digest


def test_weights_and_the_held_out_part_come_with_their_rows(tmp_path):
    data = examples(20)
    held = (data.sparse[:4], data.y[:4], data.weight[:4])
    dataset = write_arrays(str(tmp_path / "set"), data.sparse, data.y, data.weight, shards=2,
                           held_out=held)
    weights = [w for shard in shards_of(dataset) for _, _, w in shard.chunks(0, 10, 4, np.dtype("f4"))]
    np.testing.assert_array_equal(np.concatenate(weights), data.weight)
    shard, = shards_of(dataset, "held_out")
    (x, _, weight), = shard.chunks(0, 4, 9, np.dtype(np.float32))
    np.testing.assert_array_equal(x.toarray(), data.dense[:4])
    np.testing.assert_array_equal(weight, data.weight[:4])


@pytest.mark.parametrize("ones", [False, True])
def test_chunks_and_their_transposes_copy_nothing(tmp_path, ones):
    _, dataset = written(tmp_path, 200, ones=ones)
    shard, = shards_of(dataset)
    chunks = [x for x, _, _ in shard.chunks(3, 200, 7, np.dtype(np.float32)) if x.nnz]
    assert len(chunks) > 10
    for x in chunks:
        for form in (x, x.T):
            assert np.shares_memory(form.indices, shard.x.indices)
            assert ones or np.shares_memory(form.data, shard.x.values)
    if ones:
        assert np.shares_memory(chunks[0].data, chunks[1].data)


@pytest.mark.parametrize("ones", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
@pytest.mark.parametrize("stored", [np.uint8, np.float32, np.float64])
@FLOATS
def test_values_are_scaled_and_converted_as_dense_ones_are(tmp_path, stored, wanted, scale, ones):
    data = examples(30, dtype=np.float32, ones=ones)
    x = (data.sparse * 9).astype(stored) if not ones else data.sparse.astype(stored)
    dataset = write_arrays(str(tmp_path / "set"), x, data.y, shards=1, scale=scale)
    shard, = shards_of(dataset)
    found = [a for a, _, _ in shard.chunks(0, 30, 8, np.dtype(wanted))]
    assert {a.dtype for a in found} == {np.dtype(wanted)}
    np.testing.assert_array_equal(np.concatenate([a.toarray() for a in found]),
                                  x.toarray().astype(wanted) * wanted(scale))


def test_converted_values_are_kept_up_to_a_bound_and_go_with_the_shard(tmp_path, monkeypatch):
    _, dataset = written(tmp_path, 50)
    rows = shards_of(dataset)[0].x
    again = [rows.matrix(0, 50, np.dtype(np.float64)) for _ in range(2)]
    assert np.shares_memory(again[0].data, again[1].data)
    types = (np.float16, np.float64, np.float16)
    assert [rows.matrix(0, 50, np.dtype(dtype)).dtype for dtype in types] == list(types)
    again = [rows.matrix(0, 50, np.dtype(np.float64)) for _ in range(2)]
    monkeypatch.setattr(csr, "CONVERTED_BYTES", 0)
    copy = csr.CsrRows(rows.indptr, rows.indices, rows.values, rows.width)
    others = [copy.matrix(0, 50, np.dtype(np.float64)) for _ in range(2)]
    assert not np.shares_memory(others[0].data, others[1].data)
    np.testing.assert_array_equal(others[0].data, again[0].data)
    monkeypatch.undo()
    copy.matrix(0, 50, np.dtype(np.float64))
    before = len(csr._kept)
    del copy
    gc.collect()
    assert len(csr._kept) == before - 1


def good():
    """Three rows of four columns, the second row empty."""
    return {"indptr": np.array([0, 2, 2, 3]), "indices": np.array([0, 3, 1], np.int32),
            "values": np.array([1.5, 2, 3], np.float32), "y": np.zeros(3, np.uint8)}


def put(tmp_path, arrays, metadata):
    path = str(tmp_path / "shard")
    storage.write_atomically(path, tensors.to_chunks(
        {name: array for name, array in arrays.items() if array is not None}, metadata))
    return path


BREACHES = {
    "does not start at 0": ({"indptr": np.array([1, 2, 2, 3])}, {}, "indptr must rise from 0 to 3"),
    "ends early": ({"indptr": np.array([0, 2, 2, 2])}, {}, "indptr must rise from 0 to 3"),
    "ends late": ({"indptr": np.array([0, 2, 2, 4])}, {}, "indptr must rise from 0 to 3"),
    "falls": ({"indptr": np.array([0, 3, 2, 3])}, {}, "indptr must rise from 0 to 3"),
    "negative": ({"indptr": np.array([0, -2, 2, 3])}, {}, "indptr must rise from 0 to 3"),
    "no rows": ({"indptr": np.zeros(0, np.int64), "y": np.zeros(0)}, {}, "must hold indptr"),
    "narrow indptr": ({"indptr": np.array([0, 2, 2, 3], np.int32)}, {}, "must hold indptr"),
    "flat indptr": ({"indptr": np.zeros((2, 2), np.int64)}, {}, "must hold indptr"),
    "no indices": ({"indices": None}, {}, "must hold indptr"),
    "wide indices": ({"indices": np.array([0, 3, 1])}, {}, "must hold indptr"),
    "floats for indices": ({"indices": np.ones(3, np.float32)}, {}, "must hold indptr"),
    "no values": ({"values": None}, {}, "must hold indptr"),
    "values and ones": ({}, {"values": "ones"}, "must hold indptr"),
    "few values": ({"values": np.ones(2, np.float32)}, {}, "must hold indptr"),
    "no width": ({}, {"width": ""}, "width must be a number"),
    "negative width": ({}, {"width": "-4"}, "width must be a number"),
    "no labels": ({"y": None}, {}, "must hold x"),
    "few labels": ({"y": np.zeros(2)}, {}, "must hold x"),
    "few weights": ({"weight": np.ones(2)}, {}, "must hold x"),
    "scale": ({}, {"scale": "wide"}, "scale must be a number"),
    "column beyond the width": ({"indices": np.array([0, 4, 1], np.int32)}, {},
                                "indices must be columns 0 to 3, found 0 to 4"),
    "negative column": ({"indices": np.array([0, 3, -1], np.int32)}, {},
                        "indices must be columns 0 to 3, found -1 to 3"),
}


@pytest.mark.fast
@pytest.mark.parametrize("breach", BREACHES)
def test_a_corrupted_shard_is_refused(tmp_path, breach):
    arrays, metadata, message = BREACHES[breach]
    path = put(tmp_path, good() | arrays, {"width": "4"} | metadata)
    with pytest.raises(DataError, match=f"shard {path}: .*{message}"):
        open_shard(path, storage.sha256(path), verify=True)


@pytest.mark.fast
def test_a_good_shard_is_accepted_and_checked_once(tmp_path, monkeypatch):
    path = put(tmp_path, good(), {"width": "4"})
    shard = open_shard(path, storage.sha256(path), verify=True)
    assert (shard.x.shape, shard.verified) == ((3, 4), True)
    assert shard.x.nbytes == 4 * 8 + 3 * 4 + 3 * 4
    monkeypatch.setattr(csr.CsrRows, "check_indices", None)
    assert open_shard(path, storage.sha256(path), verify=True) is shard


@pytest.mark.fast
def test_without_scipy_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    shard = open_shard(put(tmp_path, good(), {"width": "4"}))
    with pytest.raises(UsageError, match=r"needs scipy.*pip install mr_gradient\[sparse\]"):
        list(shard.chunks(0, 3, 3, np.dtype(np.float32)))


@pytest.mark.fast
@pytest.mark.parametrize(("width", "nonzeros", "outputs", "rows"), [
    (1 << 20, 39, 1, 1 << 18), (1 << 20, 39, 10, 1 << 18), (1 << 20, 39, 1000, 1 << 12),
    (123, 14, 1, 1 << 15), (123, 14, 256, 1 << 14), (40, 0, 1, 1 << 18), (10**6, 10**6, 1, 512),
    (47236, 75, 46, 1 << 13)])
def test_rows_per_chunk_come_from_the_data(width, nonzeros, outputs, rows):
    assert csr.rows_per_sparse_chunk(width, nonzeros, outputs, 4) == rows


@pytest.mark.fast
def test_indices_are_as_wide_as_the_columns_need():
    assert [csr.index_dtype(width) for width in (0, 2**31 - 1, 2**31)] == ["i4", "i4", "i8"]
