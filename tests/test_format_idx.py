"""IDX files: MNIST as it is, headers that lie, and pairs that do not fit."""

from __future__ import annotations

import bz2
import gzip
import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import MNIST, shared_data

from mr_gradient.dataset.formats import stored_arrays
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.idx import FORMAT
from mr_gradient.errors import DataError

pytestmark = pytest.mark.fast

X = (np.arange(7 * 4 * 5) % 251).astype(np.uint8).reshape(7, 4, 5)
Y = np.arange(7, dtype=np.uint8) % 3
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array: np.ndarray) -> bytes:
    """An array as an IDX file."""
    code = CODES[array.dtype.str[1:]]
    head = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(folder, x=X, y=Y, pack=lambda data: data, ending="") -> list[str]:
    paths = [folder / f"a-images-idx3-ubyte{ending}", folder / f"a-labels-idx1-ubyte{ending}"]
    for path, array in zip(paths, (x, y)):
        path.write_bytes(pack(array if isinstance(array, bytes) else idx(array)))
    return [str(path) for path in paths]


def read(paths, options=None, size=1 << 20):
    source = FORMAT.inspect(paths, options or {})
    xs, ys = [], []
    for piece in FORMAT.pieces(paths, source, size):
        at = 0
        for rows in FORMAT.read(piece, source, BadRows()):
            assert rows.number.tolist() == list(range(at, at + len(rows.features)))
            assert rows.line.tolist() == (rows.number + piece.start + 1).tolist()
            at += len(rows.features)
            xs.append(rows.features)
            ys += rows.columns["label"].values.tolist() if rows.columns else []
    return np.concatenate(xs), ys, source


@pytest.mark.parametrize("kind", CODES)
def test_features_keep_their_own_type(tmp_path, kind):
    x = X.astype(kind)
    found, labels, source = read(write(tmp_path, x), size=50)
    assert found.dtype == source.dtype == x.dtype
    np.testing.assert_array_equal(found, x.reshape(7, 20))
    assert labels == Y.tolist()
    assert (source.width, source.options["shape"], source.columns) == (20, [4, 5], {"label": "number"})


def test_labels_beside_the_images_are_found(tmp_path):
    images, labels = write(tmp_path)
    assert read([images])[1] == Y.tolist()
    (tmp_path / "other").write_bytes(idx(Y + 1))
    assert read([images], {"labels": str(tmp_path / "other")})[1] == (Y + 1).tolist()
    assert read([images, labels], {"labels": False})[2].columns == {}
    (tmp_path / "a-labels-idx1-ubyte").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=rf"^{re.escape(images)}: found no labels; .*a-labels-idx1"):
        read([images])
    (tmp_path / "digits.idx").write_bytes(idx(X))
    with pytest.raises(DataError, match=r"digits\.idx: found no labels; its name must have 'images'"):
        read([str(tmp_path / "digits.idx")])
    with pytest.raises(DataError, match=r"elsewhere: holds labels \(one dimension\), and no file of"):
        read([str(tmp_path / "elsewhere")])
    write(tmp_path)
    with pytest.raises(DataError, match="elsewhere: holds labels, but no file of features belongs"):
        read([images, str(tmp_path / "elsewhere")])


@given(rows=st.integers(1, 30), size=st.integers(1, 300), batch=st.integers(1, 100),
       packed=st.booleans())
def test_pieces_together_are_the_whole(tmp_path_factory, rows, size, batch, packed):
    x = np.random.default_rng(rows).integers(0, 256, (rows, 2, 3)).astype(np.uint8)
    y = np.arange(rows, dtype=np.int32)
    paths = write(tmp_path_factory.getbasetemp(), x, y, *((gzip.compress, ".gz") if packed else ()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_arrays, "_BATCH_BYTES", batch)
        found, labels, _ = read(paths, size=size)
    np.testing.assert_array_equal(found, x.reshape(rows, -1))
    assert labels == y.tolist()


def changed(at: int, value: bytes) -> bytes:
    data = idx(X)
    return data[:at] + value + data[at + len(value):]


@pytest.mark.parametrize(("data", "words"), [
    (b"", r"must begin with an IDX header .*, found $"),
    (b"\0\0\x08", r"must begin with an IDX header .*, found 00 00 08"),
    (changed(0, b"\1"), "must begin with an IDX header .*, found 01 00 08 03"),
    (changed(2, b"\x0a"), "a type of 08, 09, 0b, 0c, 0d, 0e.*, found 00 00 0a 03"),
    (changed(3, b"\0"), "must tell of 1 to 8 dimensions and list them, found 0"),
    (changed(3, b"\x09"), "must tell of 1 to 8 dimensions and list them, found 9"),
    (idx(X)[:12], "dimensions and list them, found 3 in 12 bytes"),
    (changed(2, b"\x0d"), r"tells of shape \(7, 4, 5\), 576 bytes, found 156"),
    (changed(7, b"\x08"), r"tells of shape \(8, 4, 5\), 176 bytes, found 156"),
    (changed(4, b"\xff" * 12), r"tells of shape \(4294967295, 4294967295, 4294967295\)"),
    (idx(X)[:-1], "156 bytes, found 155; it was cut off, or the header is wrong"),
    (idx(X) + b"1", "156 bytes, found 157"),
    (idx(X[:0]), r"must have rows and features, found shape \(0, 4, 5\)"),
])
def test_a_header_that_lies(tmp_path, data, words):
    paths = write(tmp_path, data)
    with pytest.raises(DataError, match=rf"^{re.escape(paths[0])}: .*{words}"):
        read(paths)


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
@pytest.mark.parametrize(("data", "words"), [
    (changed(7, b"\x09"), "must hold 9 rows as its header says, found 7; it was cut off"),
    (changed(7, b"\x06"), "must end after the 6 rows that its header tells of, found more bytes"),
])
def test_a_compressed_header_that_lies(tmp_path, pack, ending, data, words):
    rows = data[7]
    paths = write(tmp_path, data, np.zeros(rows, np.uint8), pack, ending)
    with pytest.raises(DataError, match=rf"^{re.escape(paths[0])}: .*{words}"):
        read(paths)


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_damaged_compressed_files(tmp_path, pack, ending):
    paths = write(tmp_path, X, Y, pack, ending)
    for path in paths:
        write(tmp_path, X, Y, pack, ending)
        with open(path, "rb") as file:
            whole = file.read()
        with open(path, "wb") as file:
            file.write(whole[:-5])
        with pytest.raises(DataError, match=rf"^{re.escape(path)}: the \w+ data end too soon"):
            read(paths)


def test_counts_that_differ(tmp_path):
    paths = write(tmp_path, X, Y[:6])
    with pytest.raises(DataError, match=rf"^{re.escape(paths[1])}: must hold a label for each of the 7 "
                                        rf"rows of {re.escape(paths[0])}, found 6"):
        read(paths)


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    return shared_data(request, tmp_path_factory) / "mnist"


@pytest.mark.parametrize("part", MNIST)
def test_mnist(folder, part):
    paths = [str(folder / f"{part}-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1")]
    found, labels, source = read(paths)
    assert (source.format, source.dtype, source.width) == ("idx", "uint8", 784)
    assert source.options["shape"] == [28, 28]
    assert found.shape == (MNIST[part], 784)
    assert found.dtype == np.uint8
    assert set(labels) == set(range(10))
    for path, array in zip(paths, (found, np.array(labels))):
        with gzip.open(path) as file:
            data = file.read()
        plain = np.frombuffer(data, np.uint8)[16 if array is found else 8:]
        np.testing.assert_array_equal(array.reshape(-1), plain)


def test_all_four_files_of_mnist_are_two_pieces(folder):
    paths = sorted(str(path) for path in folder.glob("*.gz"))
    source = FORMAT.inspect(paths, {})
    assert [piece.path.rpartition("/")[2] for piece in FORMAT.pieces(paths, source, 1 << 20)] == [
        "t10k-images-idx3-ubyte.gz", "train-images-idx3-ubyte.gz"]


def test_content_is_told():
    assert FORMAT.looks_like(idx(X))
    assert FORMAT.looks_like(idx(Y))
    for other in (b"", b"1,2,3\n", b"\0\0\x0a\x03" + bytes(20), b"\0\0\x08\0" + bytes(20)):
        assert not FORMAT.looks_like(other)
