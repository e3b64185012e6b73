"""Data sets on disk: rows dealt to shards, checksummed, mapped once, read in chunks."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient import storage, tensors
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.dataset.shards import CHUNK_BYTES, Shard, open_shard, rows_per_chunk
from mr_gradient.dataset.writer import (
    MIN_SHARDS,
    SHARD_BYTES,
    new_folder,
    number_of_shards,
    uniform_hash,
    write_arrays,
)
from mr_gradient.errors import DataError, UsageError

pytestmark = pytest.mark.fast

GAMMA, MODULUS = 0x9E3779B97F4A7C15, 2**64


def example(rows=23, dtype=np.float32):
    return (np.arange(rows * 3).reshape(rows, 3) % 251).astype(dtype), np.arange(rows) % 2


def shards_of(dataset, part="train"):
    return [open_shard(os.path.join(dataset.folder, info.path), info.sha256, verify=True)
            for info in getattr(dataset, part)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("rows", "shards"), [(23, 1), (23, 4), (24, 8), (3, 8), (0, 2)])
def test_arrays_become_equal_contiguous_shards(tmp_path, dtype, rows, shards):
    x, y = example(rows, dtype)
    dataset = write_arrays(str(tmp_path / "set"), x, y, classes=("a", "b"), shards=shards)
    found = shards_of(dataset)
    assert len(found) == shards
    np.testing.assert_array_equal(np.concatenate([shard.x for shard in found]), x)
    np.testing.assert_array_equal(np.concatenate([shard.y for shard in found]), y)
    sizes = [len(shard.y) for shard in found]
    assert max(sizes) - min(sizes) <= 1
    assert all(shard.x.dtype == dtype and shard.y.dtype == y.dtype for shard in found)
    for info, rows_found in zip(dataset.train, sizes):
        path = os.path.join(dataset.folder, info.path)
        assert (info.rows, info.bytes, info.sha256) == (
            rows_found, os.path.getsize(path), storage.sha256(path))


def test_a_data_set_is_read_as_it_was_written(tmp_path):
    x, y = example()
    written = write_arrays(str(tmp_path / "set"), x, y / 2, held_out=(x[:5], y[:5] / 2), scale=0.5)
    opened = open_dataset(written.folder)
    assert opened == written
    assert opened.digest == written.digest
    assert (opened.rows("train"), opened.rows("held_out")) == (23, 5)
    assert (opened.schema.kind, opened.schema.scale) == ("value", 0.5)
    held_out, = shards_of(opened, "held_out")
    np.testing.assert_array_equal(held_out.x, x[:5])
    assert held_out.scale == 0.5
    assert os.listdir(tmp_path) == ["set"]


@given(rows=st.integers(0, 30), chunk=st.integers(1, 40), weighted=st.booleans(), data=st.data(),
       stored=st.sampled_from([np.uint8, np.float16, np.float32, np.float64]),
       wanted=st.sampled_from([np.float32, np.float64]), scale=st.sampled_from([1.0, 1 / 255]))
def test_chunks_cover_the_rows_once_in_order(rows, chunk, weighted, data, stored, wanted, scale):
    x, y = example(rows, stored)
    weight = np.arange(rows) / 4 if weighted else None
    shard = Shard("path", x, y, weight, scale)
    start = data.draw(st.integers(0, rows))
    stop = data.draw(st.integers(start, rows))
    chunks = [(a.copy(), b, c) for a, b, c in shard.chunks(start, stop, chunk, np.dtype(wanted))]
    assert [len(b) for _, b, _ in chunks] == [
        min(chunk, stop - lo) for lo in range(start, stop, chunk)]
    expected = x[start:stop].astype(wanted) * wanted(scale)
    found = np.concatenate([np.empty((0, 3), wanted), *(a for a, _, _ in chunks)])
    assert found.dtype == wanted
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.concatenate([y[:0], *(b for _, b, _ in chunks)]), y[start:stop])
    if weighted:
        np.testing.assert_array_equal(
            np.concatenate([weight[:0], *(c for _, _, c in chunks)]), weight[start:stop])
    else:
        assert all(c is None for _, _, c in chunks)


def test_chunks_of_the_wanted_type_are_views(tmp_path):
    x, y = example()
    shard, = shards_of(write_arrays(str(tmp_path / "set"), x, y, shards=1))
    chunks = list(shard.chunks(0, 23, 10, np.dtype(np.float32)))
    assert all(np.shares_memory(chunk, shard.x) for chunk, _, _ in chunks)


def test_weights_come_with_their_rows(tmp_path):
    x, y = example(4)
    path = str(tmp_path / "shard")
    storage.write_atomically(path, tensors.to_chunks({"x": x, "y": y, "weight": np.arange(4.0)}))
    weights = [weight for _, _, weight in open_shard(path).chunks(1, 4, 2, np.dtype(np.float32))]
    assert [weight.tolist() for weight in weights] == [[1, 2], [3]]


def test_a_corrupted_shard_is_named_with_its_checksum(tmp_path):
    dataset = write_arrays(str(tmp_path / "set"), *example(), shards=1)
    info = dataset.train[0]
    path = os.path.join(dataset.folder, info.path)
    with open(path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    with pytest.raises(DataError, match=f"{path}: its SHA-256 must be {info.sha256}, found "
                                        f"{storage.sha256(path)}: the file is corrupted"):
        open_shard(path, info.sha256, verify=True)
    with pytest.raises(DataError, match="SHA-256"):  # also when it is mapped already
        open_shard(path, info.sha256, verify=True)
    assert not open_shard(path, info.sha256).verified


def test_a_shard_is_mapped_once_and_a_replaced_one_again(tmp_path):
    first = write_arrays(str(tmp_path / "set"), *example(), shards=1)
    path = os.path.join(first.folder, first.train[0].path)
    shard = open_shard(path, first.train[0].sha256, verify=True)
    assert open_shard(path) is shard
    assert shard.verified
    x, y = example()
    second = write_arrays(str(tmp_path / "set"), x + 1, y, shards=1, overwrite=True)
    replaced = open_shard(path)
    assert replaced is not shard
    assert not replaced.verified
    np.testing.assert_array_equal(replaced.x, x + 1)
    np.testing.assert_array_equal(shard.x, x)  # whoever still holds the old one is not disturbed
    with pytest.raises(DataError, match="SHA-256"):
        open_shard(path, first.train[0].sha256, verify=True)
    assert open_shard(path, second.train[0].sha256, verify=True) is replaced


@pytest.mark.parametrize(("arrays", "metadata", "message"), [
    ({"x": np.ones((3, 2))}, {}, "must hold x"),
    ({"y": np.ones(3)}, {}, "must hold x"),
    ({"x": np.ones(3), "y": np.ones(3)}, {}, "must hold x"),
    ({"x": np.ones((3, 2)), "y": np.ones(2)}, {}, "must hold x"),
    ({"x": np.ones((3, 2)), "y": np.ones((3, 1))}, {}, "must hold x"),
    ({"x": np.ones((3, 2)), "y": np.ones(3), "weight": np.ones(2)}, {}, "must hold x"),
    ({"x": np.ones((3, 2)), "y": np.ones(3)}, {"scale": "wide"}, "scale")])
def test_files_that_are_no_shards_are_refused(tmp_path, arrays, metadata, message):
    path = str(tmp_path / "shard")
    storage.write_atomically(path, tensors.to_chunks(arrays, metadata))
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        open_shard(path)


def test_an_absent_shard_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: No such file.*; prepare the data set again"):
        open_shard(str(tmp_path / "absent"))


def splitmix64(seed, count):
    """Steele, Lea and Flood 2014, figure 13, with Java's constants, one number at a time."""
    for _ in range(count):
        seed = (seed + GAMMA) % MODULUS
        z = seed
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % MODULUS
        z = (z ^ z >> 27) * 0x94D049BB133111EB % MODULUS
        yield z ^ z >> 31


def test_hash_gives_the_published_sequence_of_splitmix64():
    """Row r of the hash is output r + 1 from a start that the seed chooses; go back to 1234567."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    start = int(np.random.SeedSequence([5, 6]).generate_state(1, np.uint64)[0])
    first = (1234567 - start) * pow(GAMMA, -1, MODULUS)
    rows = np.array([(first + number) % MODULUS for number in range(3)], np.uint64)
    assert uniform_hash(rows, 5, 6).tolist() == published == list(splitmix64(1234567, 3))
    assert uniform_hash(np.arange(9), 5, 6).tolist() == list(splitmix64(start, 9))


def test_hash_depends_on_row_seed_and_stream_alone():
    rows = np.arange(1000)
    whole = uniform_hash(rows, 1, 0)
    np.testing.assert_array_equal(whole[300:400], uniform_hash(rows[300:400], 1, 0))
    for other in (uniform_hash(rows, 2, 0), uniform_hash(rows, 1, 1)):
        assert not np.isin(other, whole).any()


@pytest.mark.parametrize("seed", range(3))
def test_hash_is_uniform(seed):
    """Counts in 16 equal bins, of the high and of the low bits: chi-squared below its 1e-6 tail."""
    bits = uniform_hash(np.arange(160_000), seed, 0)
    for bins in (bits >> np.uint64(60), bits & np.uint64(15)):
        counts = np.bincount(bins.astype(int), minlength=16)
        assert np.sum((counts - 10_000) ** 2) / 10_000 < 56.5


@pytest.mark.parametrize(("total", "shards"), [
    (0, MIN_SHARDS), (1, MIN_SHARDS), (MIN_SHARDS * SHARD_BYTES, MIN_SHARDS),
    (MIN_SHARDS * SHARD_BYTES + 1, MIN_SHARDS + 1), (100 * SHARD_BYTES, 100)])
def test_number_of_shards_depends_on_the_bytes_alone(total, shards):
    assert number_of_shards(total) == shards


@given(st.integers(0, 10**7), st.sampled_from([4, 8]))
def test_rows_per_chunk_fill_the_cache(features, itemsize):
    rows = rows_per_chunk(features, itemsize)
    assert rows.bit_count() == 1
    assert 512 <= rows <= 65536
    assert rows == 512 or rows * features * itemsize <= CHUNK_BYTES
    assert rows == 65536 or 2 * rows * features * itemsize > CHUNK_BYTES


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = str(tmp_path / "set")
    with pytest.raises(UsageError, match="cannot be written"), new_folder(out, False) as folder:
        os.rename(os.path.join(folder, "absent"), tmp_path / "elsewhere")
    assert os.listdir(tmp_path) == []
    dataset = write_arrays(out, *example())
    with pytest.raises(UsageError, match=r"already holds a data set; .*--overwrite"):
        write_arrays(out, *example())
    with pytest.raises(ZeroDivisionError), new_folder(out, overwrite=True):
        raise ZeroDivisionError
    assert open_dataset(out) == dataset
    assert os.listdir(tmp_path) == ["set"]
