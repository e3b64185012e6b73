"""Which files an input is, and of which format; how text files are cut between lines."""

from __future__ import annotations

import bz2
import gzip
import os
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import shared_data
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset import formats
from mr_gradient.dataset.formats import opening
from mr_gradient.dataset.formats.discovery import choose_format, find_inputs
from mr_gradient.errors import DataError, UsageError

pytestmark = pytest.mark.fast

LIBSVM = "1 1:1\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with some files."""
    monkeypatch.chdir(tmp_path)
    for name in ("b.csv", "a.csv", "sub/c.csv", "sub/deep/d.tsv", "_SUCCESS", ".a.csv.crc",
                 "_temporary/e.csv", "sub/.hidden/f.csv", "part-00001", "part-00000.gz", "[1].csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"1") if name.endswith(".gz") else b"1")
    return tmp_path


ALL = ["[1].csv", "a.csv", "b.csv", "part-00000.gz", "part-00001", "sub/c.csv", "sub/deep/d.tsv"]


@pytest.mark.parametrize(("inputs", "expected"), [
    (["."], [f"./{name}" for name in ALL]),
    (["sub"], ["sub/c.csv", "sub/deep/d.tsv"]),
    (["sub/"], ["sub/c.csv", "sub/deep/d.tsv"]),
    (["b.csv", "a.csv"], ["a.csv", "b.csv"]),
    (["*.csv"], ["[1].csv", "a.csv", "b.csv"]),
    (["**"], ALL),
    (["**/*.csv"], ["[1].csv", "a.csv", "b.csv", "sub/c.csv"]),
    (["s*"], ["sub/c.csv", "sub/deep/d.tsv"]),
    (["sub/**"], ["sub/c.csv", "sub/deep/d.tsv"]),
    (["part-*"], ["part-00000.gz", "part-00001"]),
    (["[1].csv"], ["[1].csv"]),
    (["[ab].csv"], ["a.csv", "b.csv"]),
    (["_SUCCESS", "_temporary", "_temporary/../sub/.hidden/*"],
     ["_SUCCESS", "_temporary/../sub/.hidden/f.csv", "_temporary/e.csv"]),
])
def test_files_of_inputs(folder, inputs, expected):
    assert find_inputs(inputs) == expected
    assert find_inputs(inputs[::-1]) == expected


def test_a_file_uri_is_the_file(folder):
    assert find_inputs([(folder / "a.csv").as_uri()]) == [str(folder / "a.csv")]


@pytest.mark.parametrize(("inputs", "message"), [
    (["a.csv", "a.csv"], "a.csv: is there twice, by 'a.csv' and by 'a.csv'; give each file once"),
    (["sub", "*/c.csv"], "sub/c.csv: is there twice, by 'sub' and by '*/c.csv'; give each file once"),
    (["a.csv", "./a.csv"], "./a.csv: is there twice, by 'a.csv' and by './a.csv', the first time as "
                           "a.csv; give each file once"),
    (["absent.csv"], "absent.csv: no such file"),
    (["*.parquet"], "*.parquet: matches no file (names that begin with _ or . are passed over)"),
    (["_*"], "_*: matches no file (names that begin with _ or . are passed over)"),
])
def test_inputs_that_are_refused(folder, inputs, message):
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        find_inputs(inputs)


def test_links_folders_and_pipes_that_are_refused(folder):
    with pytest.raises(UsageError, match="no input was given"):
        find_inputs([])
    (folder / "empty" / "_logs").mkdir(parents=True)
    (folder / "empty" / "_logs" / "x").touch()
    with pytest.raises(DataError, match=r"^empty: is a folder without files"):
        find_inputs(["empty"])
    (folder / "empty" / "part-0").touch()
    with pytest.raises(DataError, match=r"^empty: has only empty part files"):
        find_inputs(["empty"])
    (folder / "link.csv").symlink_to("a.csv")
    with pytest.raises(DataError, match=r"^link\.csv: is there twice, by '\*.csv' and by '\*.csv', "):
        find_inputs(["*.csv"])
    (folder / "link.csv").unlink()
    (folder / "sub" / "loop").symlink_to("..")
    with pytest.raises(DataError, match=r"^sub/loop/sub: is a link to a folder that it lies in"):
        find_inputs(["sub"])
    (folder / "link.csv").symlink_to("nothing")
    with pytest.raises(DataError, match=r"^\./link\.csv: a link to nothing"):
        find_inputs(["."])
    os.mkfifo(folder / "pipe")
    with pytest.raises(DataError, match=r"^pipe: must be a file or a folder, found a device or a pipe"):
        find_inputs(["pipe"])
    (folder / "a.csv.gz").write_bytes(gzip.compress(b"x"))
    with pytest.raises(DataError, match=r"^a\.csv\.gz: seems to be a\.csv compressed"):
        find_inputs(["a.csv", "a.csv.gz"])


def test_empty_part_files_are_passed_over(folder):
    (folder / "out").mkdir()
    for name, data in (("part-0", b""), ("part-1", b"1"), ("part-2.gz", gzip.compress(b"")),
                       ("part-3.bz2", bz2.compress(b"")), ("part-4.gz", gzip.compress(b"1"))):
        (folder / "out" / name).write_bytes(data)
    assert find_inputs(["out"]) == ["out/part-1", "out/part-4.gz"]


def stand_in(files: dict[str, bytes]) -> types.ModuleType:
    """What is used of fsspec, over a dictionary of files."""
    import fnmatch
    import io

    class System:
        def find(self, path): return [name for name in files if name.startswith(path.rstrip("/") + "/")]
        def glob(self, pattern, detail):
            return {name: self.info(name) for name in fnmatch.filter(files, pattern)}
        def info(self, path):
            if path not in files and not self.find(path):
                raise FileNotFoundError(path)
            return {"type": "file" if path in files else "directory"}
        def size(self, path): return len(files[path])
        def open(self, path, mode, block_size): return io.BytesIO(files[path])
        def unstrip_protocol(self, path): return f"s3://{path}"
        def invalidate_cache(self): pass

    def url_to_fs(uri, **options):
        if not uri.startswith("s3://"):
            raise ValueError(f"Protocol not known: {uri.partition(':')[0]}")
        return System(), uri[5:]

    module = types.ModuleType("fsspec.core")
    module.url_to_fs = url_to_fs
    return module


def test_uris_go_through_fsspec(monkeypatch):
    files = {"b/d/two.libsvm": LIBSVM.encode() * 50, "b/d/one.libsvm": b"1 1:1\n", "b/d/_log": b"x",
             "b/d/part-0": b"", "b/x.csv": b""}
    monkeypatch.setitem(sys.modules, "fsspec", types.ModuleType("fsspec"))
    monkeypatch.setitem(sys.modules, "fsspec.core", stand_in(files))
    monkeypatch.setitem(sys.modules, "fsspec.config", types.SimpleNamespace(conf={}))
    found = find_inputs(["s3://b/d"])
    assert found == ["s3://b/d/one.libsvm", "s3://b/d/two.libsvm"]
    assert find_inputs(["s3://b/d/t*", "s3://b/x.csv"]) == ["s3://b/d/two.libsvm", "s3://b/x.csv"]
    assert choose_format(found).name == "libsvm"
    pieces = opening.line_aligned_pieces(found, 100)
    assert [(piece.start, piece.stop) for piece in pieces] == [(0, 6), (0, 102), (102, 204), (204, 300)]
    assert b"".join(opening.line_chunks(found[1], 102, 204)) == LIBSVM.encode() * 17
    for uri, words in (("s3://b/absent", "no such file or folder"), ("s3://b/*.gz", "matches no file"),
                       ("gopher://b", "cannot be opened: Protocol not known: gopher")):
        with pytest.raises(DataError, match=rf"^{re.escape(uri)}: {words}"):
            find_inputs([uri])


def test_without_fsspec_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(DataError, match=r"^hdfs://n/x: hdfs:// needs fsspec .*pip install "
                                        r"'mr_gradient\[cloud\]'"):
        find_inputs(["hdfs://n/x"])


@pytest.fixture
def known(monkeypatch):
    """The formats of a signature or a strict syntax only."""
    monkeypatch.setattr(formats, "NAMES", ("images", "numpy", "idx", "libsvm"))


def test_the_format_is_that_of_the_name_or_of_the_content(folder, known):
    (folder / "a.npy").touch()
    (folder / "b.SVM.bz2").touch()
    (folder / "train-images-idx3-ubyte.gz").touch()
    (folder / "plain").write_text(LIBSVM)
    (folder / "part-0.gz").write_bytes(gzip.compress(LIBSVM.encode()))
    np.save(folder / "array.data", np.zeros(3))
    os.rename("array.data.npy", "array.data")
    for path, name in (("a.npy", "numpy"), ("b.SVM.bz2", "libsvm"), ("plain", "libsvm"),
                       ("train-images-idx3-ubyte.gz", "idx"), ("part-0.gz", "libsvm"),
                       ("array.data", "numpy")):
        assert choose_format([path]).name == name
    assert choose_format(["plain", "part-0.gz", "b.SVM.bz2"]).name == "libsvm"
    assert choose_format(["plain"], "idx").name == "idx"


@pytest.mark.parametrize(("data", "message"), [
    (b"\1\2\3", "x: is of no known format; say which it is with --format, one of: images, numpy, idx, "
                "libsvm"),
    (b"", "x: is empty; leave it out"),
    (gzip.compress(b"1"), "x: is compressed, but its name does not end in .gz or .bz2; rename it"),
    (bz2.compress(b"1"), "x: is compressed, but its name does not end in .gz or .bz2; rename it"),
])
def test_no_known_format(folder, known, data, message):
    (folder / "x").write_bytes(data)
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        choose_format(["x"])


def test_mixed_formats_and_unknown_names(folder, known):
    with pytest.raises(DataError, match=r"^b\.npy: is numpy, while a\.svm is libsvm; give files"):
        choose_format(["a.svm", "b.npy"])
    with pytest.raises(UsageError, match=r"^--format arff: must be one of images, numpy"):
        choose_format(["a.svm"], "arff")


@given(lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20),
       end=st.booleans(), size=st.integers(1, 200), chunk=st.integers(1, 100))
def test_pieces_are_whole_lines_and_all_of_them(scratch_file, lines, end, size, chunk):
    data = b"\n".join(lines) + b"\n" * end
    data = b"" if data.startswith(b"\xef\xbb\xbf") else data
    Path(scratch_file).write_bytes(data)
    pieces = opening.line_aligned_pieces([scratch_file], size)
    assert [piece.piece for piece in pieces] == list(range(len(pieces)))
    at, found = 0, b""
    for piece in pieces:
        assert piece.start == at < piece.stop
        assert data[at - 1:at] in (b"", b"\n")
        assert opening.lines_before(scratch_file, at) == data[:at].count(b"\n")
        # A cut is moved to the next line, and no further.
        assert b"\n" not in data[(at // size + 1) * size - 1:piece.stop - 1]
        chunks = list(opening.line_chunks(scratch_file, piece.start, piece.stop, chunk))
        assert all(each.endswith(b"\n") for each in chunks[:-1])
        found += b"".join(chunks)
        at = piece.stop
    assert (at, found) == (len(data), data)


def test_text_files_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=r"a: ends 50 bytes before it did when the preparation began"):
        list(opening.line_chunks(str(path), 0, 150))
    monkeypatch.setattr(opening, "LONGEST_LINE", 80)
    with pytest.raises(DataError, match=r"a: must be lines of text, found a line of more than"):
        list(opening.line_chunks(str(path), size=10))
    with pytest.raises(DataError, match=r"b: no such file"):
        list(opening.line_chunks(str(tmp_path / "b")))
    with pytest.raises(DataError, match="must be a file, found a folder"):
        opening.read_head(str(tmp_path))


def test_line_numbers_are_counted_when_somebody_looks(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"1\n2\n3\n4\n5\n")
    lines = opening.FileLines(str(path), 4, np.arange(1, 4))
    kept = lines[np.array([True, False, True])]
    assert (len(lines), len(kept), kept[1], lines[0]) == (3, 2, 5, 3)
    assert np.concatenate([lines, kept[1:]]).tolist() == [3, 4, 5, 5]
    assert isinstance(kept[:1], opening.FileLines)


def test_ci_fails_without_the_shared_data(request, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MR_GRADIENT_CI", "1")
    with pytest.raises(pytest.fail.Exception, match="is missing, and MR_GRADIENT_CI is set"):
        shared_data.shared_data(request, tmp_path_factory, tmp_path / "clone")
