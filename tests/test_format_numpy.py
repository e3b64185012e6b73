"""NumPy's files: what is read, by rows and whole, and what is refused; nothing is unpickled."""

from __future__ import annotations

import bz2
import gzip
import io
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset.columns import Numbers
from mr_gradient.dataset.formats import stored_arrays
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.numpy_files import FORMAT
from mr_gradient.errors import DataError, UsageError

pytestmark = pytest.mark.fast

X = np.arange(42, dtype=np.float32).reshape(14, 3)
Y = np.arange(14) % 3
TYPES = ["bool", "uint8", "int16", "int64", "float16", "float32", "float64", ">f4", ">i2"]


def read(paths, options=None, size=1 << 20):
    """Features and labels of the whole input, with its source."""
    paths = [str(path) for path in paths]
    source = FORMAT.inspect(paths, options or {})
    pieces = FORMAT.pieces(paths, source, size)
    assert [piece.piece for piece in pieces] == list(range(len(pieces)))
    xs, ys = [], []
    for piece in pieces:
        at = 0
        for rows in FORMAT.read(piece, source, BadRows()):
            assert rows.number.tolist() == list(range(at, at + len(rows.features)))
            assert rows.line.tolist() == (rows.number + piece.start + 1).tolist()
            at += len(rows.features)
            xs.append(rows.features)
            label = rows.columns.get("label")
            if label is not None:
                ys += (label.values.tolist() if isinstance(label, Numbers)
                       else [label.words[code] for code in label.codes])
    return np.concatenate(xs), ys, source


def save(folder, x=X, y=Y, name="x"):
    np.save(folder / f"{name}.npy", x)
    np.save(folder / f"{name.replace('x', 'y')}.npy", y)
    return [folder / f"{name}.npy", folder / f"{name.replace('x', 'y')}.npy"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_features_keep_their_own_type(tmp_path, dtype, order):
    x = np.asarray(X % 2 if dtype == "bool" else X, dtype, order=order)
    found, labels, source = read(save(tmp_path, x), size=40)
    assert found.dtype == source.dtype == ("uint8" if dtype == "bool" else x.dtype.newbyteorder("="))
    np.testing.assert_array_equal(found, x.astype(found.dtype))
    assert labels == Y.tolist()
    assert (source.width, source.columns) == (3, {"label": "number"})


@pytest.mark.parametrize(("x", "y"), [("x", "y"), ("X", "y"), ("x_train", "y_train"), ("a", "a_y"),
                                      ("a_x", "a_y"), ("train-x", "train-y"), ("X1", "Y1")])
@pytest.mark.parametrize("given_too", [True, False])
def test_labels_are_found_by_name(tmp_path, x, y, given_too):
    np.save(tmp_path / f"{x}.npy", X)
    np.save(tmp_path / f"{y}.npy", Y)
    paths = [tmp_path / f"{x}.npy", tmp_path / f"{y}.npy"]
    assert read(paths if given_too else paths[:1])[1] == Y.tolist()


def test_labels_are_named_or_there_are_none(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.save(tmp_path / "b.npy", Y[:, None] + 0.5)
    assert read([tmp_path / "a.npy"], {"labels": str(tmp_path / "b.npy")})[1] == (Y + 0.5).tolist()
    assert read([tmp_path / "a.npy"], {"labels": False})[2].columns == {}
    with pytest.raises(DataError, match=r"a\.npy: found no labels; .* in a_y\.npy, or be named"):
        read([tmp_path / "a.npy"])
    with pytest.raises(UsageError, match="labels: must name a file for each of the 1 files"):
        read([tmp_path / "a.npy"], {"labels": ["b.npy", "c.npy"]})


def test_labels_may_be_texts(tmp_path):
    words = np.array(["cat", "dog", "ape", "dog"])
    found = read(save(tmp_path, X[:4], words))
    assert found[1] == words.tolist()
    assert found[2].columns == {"label": "word"}


@pytest.mark.parametrize("names", [("x", "y"), ("X", "labels"), ("data", "target"), ("features", "y")])
@pytest.mark.parametrize("save_as", [np.savez, np.savez_compressed])
def test_npz(tmp_path, names, save_as):
    save_as(tmp_path / "a.npz", **dict(zip(names, (X, Y))), other=np.arange(3))
    found, labels, source = read([tmp_path / "a.npz"], size=40)
    np.testing.assert_array_equal(found, X)
    assert labels == Y.tolist()
    pieces = FORMAT.pieces([str(tmp_path / "a.npz")], source, 40)
    assert len(pieces) == (5 if save_as is np.savez else 1)


@pytest.mark.parametrize(("pack", "ending"), [(gzip.compress, ".gz"), (bz2.compress, ".bz2")])
def test_compressed_files_are_one_piece_and_tell_of_damage(tmp_path, pack, ending):
    paths = []
    for path in save(tmp_path):
        paths.append(path.with_name(path.name + ending))
        paths[-1].write_bytes(pack(path.read_bytes()))
        path.unlink()
    found, labels, source = read(paths, size=40)
    np.testing.assert_array_equal(found, X)
    assert labels == Y.tolist()
    paths[0].write_bytes(paths[0].read_bytes()[:-6])
    with pytest.raises(DataError, match=rf"x\.npy\{ending}: the \w+ data end too soon"):
        list(FORMAT.read(FORMAT.pieces([str(paths[0])], source, 40)[0], source, BadRows()))


@pytest.mark.parametrize("shape", [(6, 4, 5), (6, 4, 5, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_images_are_flattened(tmp_path, shape, order):
    x = np.arange(np.prod(shape)).astype(np.uint8).reshape(shape)
    found, _, source = read(save(tmp_path, np.asarray(x, order=order), Y[:6]), size=50)
    np.testing.assert_array_equal(found, x.reshape(6, -1))
    assert (source.options["shape"], source.width) == (list(shape[1:]), found.shape[1])


@given(rows=st.integers(1, 30), width=st.integers(1, 5), size=st.integers(1, 300),
       batch=st.integers(1, 200), order=st.sampled_from("CF"))
def test_pieces_together_are_the_whole(tmp_path_factory, rows, width, size, batch, order):
    folder = tmp_path_factory.getbasetemp()
    x = np.random.default_rng(rows).normal(size=(rows, width))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored_arrays, "_BATCH_BYTES", batch)
        found, labels, _ = read(save(folder, np.asarray(x, order=order), np.arange(rows)), size=size)
    np.testing.assert_array_equal(found, x)
    assert labels == list(range(rows))


@pytest.mark.parametrize(("x", "y", "file", "words"), [
    (np.array([[1], ["a"]], object), Y[:2], "x.npy", "found Python objects, which could run code"),
    (X, Y.astype(object), "y.npy", "found Python objects, which could run code"),
    (X, Y[:13], "y.npy", "must hold a label for each of the 14 rows of .*x.npy, found 13"),
    (X[:, 0], Y, "x.npy", r"two dimensions or more, the first of them the rows, found shape \(14,\)"),
    (X[:0], Y[:0], "x.npy", r"must have rows and features, found shape \(0, 3\)"),
    (X.astype(complex), Y, "x.npy", "features must be numbers, found type complex128"),
    (X.astype("M8[s]"), Y, "x.npy", r"features must be numbers, found type datetime64\[s\]"),
    (np.zeros(14, "f4,f4"), Y, "x.npy", "features must be numbers"),
    (X, Y.astype("M8[s]"), "y.npy", "labels must be numbers or texts, found type datetime64"),
    (X, X, "y.npy", r"labels must have one dimension, found shape \(14, 3\)"),
])
def test_arrays_that_are_not_features_and_labels(tmp_path, x, y, file, words):
    paths = save(tmp_path, x, y)
    with pytest.raises(DataError, match=re.escape(str(tmp_path / file)) + ": .*" + words):
        read(paths)


@pytest.mark.parametrize(("damage", "words"), [
    (lambda data: data[:-1], r"tells of shape \(14, 3\) and type float32, 296 bytes, found 295"),
    (lambda data: data + data, "296 bytes, found 592; it was cut off or is not one array"),
    (lambda data: b"", "must be an array in NumPy's format"),
    (lambda data: b"\x80\x04" + data, "must be an array in NumPy's format"),
    (lambda data: data[:40], "must be an array in NumPy's format"),
    (lambda data: data.replace(b"'descr'", b"'decsr'"), "must be an array in NumPy's format"),
    (lambda data: data.replace(b"(14, 3)", b"(-4, 3)"), "its header tells of shape"),
    (lambda data: data[:6] + b"\x09" + data[7:], "must be an array in NumPy's format"),
])
def test_a_header_that_lies(tmp_path, damage, words):
    paths = save(tmp_path)
    paths[0].write_bytes(damage(paths[0].read_bytes()))
    with pytest.raises(DataError, match=rf"x\.npy: .*{words}"):
        read(paths)


def test_compressed_arrays_that_lie(tmp_path):
    file = io.BytesIO()
    np.save(file, X)
    np.save(tmp_path / "x_y.npy", Y)
    path = tmp_path / "x.npy.gz"
    for data, words in ((file.getvalue()[:-5], "14 rows as its header says, found 13; it was cut off"),
                        (file.getvalue() + b"1", "must end after the 14 rows")):
        path.write_bytes(gzip.compress(data))
        with pytest.raises(DataError, match=rf"x\.npy\.gz: .*{words}"):
            read([path])
    np.savez_compressed(tmp_path / "f.npz", x=np.asfortranarray(X), y=Y)
    with pytest.raises(DataError, match=r"f\.npz: .*column by column"):
        read([tmp_path / "f.npz"])


@pytest.mark.parametrize(("arrays", "words"), [
    ({"a": X, "y": Y}, "must hold one array called x, X, data, features; it holds a, y"),
    ({"x": X, "data": X, "y": Y}, "it holds x, data, y"),
    ({"x": X}, "must hold one array called y, labels, target; it holds x"),
    ({"x": X, "y": Y[:3]}, "must hold a label for each of the 14 rows of .*, found 3"),
    ({"x": X.astype(object), "y": Y}, "found Python objects"),
])
def test_npz_without_the_arrays(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=rf"a\.npz: .*{words}"):
        read([tmp_path / "a.npz"])


def test_a_damaged_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.random.default_rng(1).normal(size=(2000, 3)), y=np.zeros(2000))
    whole = path.read_bytes()
    for damaged in (whole[:-30], whole[:3000] + bytes(40) + whole[3040:], b"x"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.npz: must be a sound \.npz file"):
            read([path])


@pytest.mark.parametrize("other", [X.astype(np.float64), X[:, :2], X.reshape(14, 3, 1)])
def test_files_that_are_not_alike(tmp_path, other):
    paths = [*save(tmp_path, X, Y, "x1"), *save(tmp_path, other, Y, "x2")]
    with pytest.raises(DataError, match=r"x2\.npy: must be like .*x1\.npy, which has rows of shape"):
        read(paths)
    assert len(read([*paths[:2], *save(tmp_path, X, Y, "x3")])[0]) == 28


def test_labels_without_features(tmp_path):
    paths = save(tmp_path)
    np.save(tmp_path / "y_more.npy", Y)
    with pytest.raises(DataError, match=r"y_more\.npy: holds labels, but no file of features"):
        read([*paths, tmp_path / "y_more.npy"])
    with pytest.raises(DataError, match=r"y_more\.npy: found no labels"):
        read([tmp_path / "y_more.npy"])


def test_content_is_told(tmp_path):
    for path in save(tmp_path):
        assert FORMAT.looks_like(path.read_bytes())
    np.savez(tmp_path / "a.npz", x=X)
    assert FORMAT.looks_like((tmp_path / "a.npz").read_bytes())
    assert not FORMAT.looks_like(b"PK\3\4 another zip")
    assert not FORMAT.looks_like(b"1,2,3\n")
