"""``mr-gradient prepare`` on input that is wrong: the message, the status, and nothing left behind.

``test_cli_errors.py`` has the faults of a CSV file and of the numbers among the options.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from cli_tools import answer, put, refused
from PIL import Image

ROWS = [f"{i},{i % 7},{'xy'[i % 2]}" for i in range(40)]
TABLE = "\n".join(["a,b,label", *ROWS]) + "\n"


def idx(shape: tuple[int, ...], length: int | None = None, magic: bytes = b"\0\0\x08") -> bytes:
    """A file of bytes 0, 1, 0, 1 ...; ``length`` of them, or as many as the header says."""
    data = bytes(i % 2 for i in range(int(np.prod(shape)) if length is None else length))
    return magic + struct.pack(f">B{len(shape)}I", len(shape), *shape) + data


def mnist(images: bytes, labels: bytes, packed: bool = False) -> dict[str, bytes]:
    files = {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels}
    return {f"in/{name}.gz": gzip.compress(data) for name, data in files.items()} if packed else {
        f"in/{name}": data for name, data in files.items()}


def png(value: int, shape: tuple[int, int] = (4, 5)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full(shape, value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def images(**wrong: bytes) -> dict[str, bytes]:
    """Five images a class, and those in ``wrong`` in the class dog."""
    good = {f"in/{name}/{i}.png": png(i) for name in ("cat", "dog") for i in range(5)}
    return good | {f"in/dog/{name}.png": data for name, data in wrong.items()}


def with_line(number: int, text: str | bytes) -> bytes:
    """``TABLE`` with one line replaced."""
    lines = TABLE.encode().splitlines()
    lines[number - 1] = text if isinstance(text, bytes) else text.encode()
    return b"\n".join(lines) + b"\n"


def npz(features: list) -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.array(features), y=np.array([0, 1] * (len(features) // 2)))
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def parquet(**columns: list) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as module

    sink = pa.BufferOutputStream()
    module.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


#: name: (files, options, file, line or 0, column, value, what is wrong): the first bad row of each.
BAD_ROWS = {
    "short row": ({"in.csv": with_line(9, "3,4")}, [], "in.csv", 9, "", "3,4", "3 values, has 2"),
    "long row": ({"in.csv": with_line(9, "3,4,x,5")}, [], "in.csv", 9, "", "3,4,x,5",
                 "3 values, has 4"),
    "word among numbers": ({"in.csv": with_line(9, "3,four,x")}, [], "in.csv", 9, "b", "four",
                           "must be a number"),
    "infinity": ({"in.csv": with_line(9, "3,-inf,x")}, [], "in.csv", 9, "b", "-inf", "finite number"),
    "missing label": ({"in.csv": with_line(9, "3,4,")}, [], "in.csv", 9, "label", "", "missing"),
    "missing group": ({"in.csv": with_line(9, "3,,x")}, ["--group", "b"], "in.csv", 9, "b", "",
                      "missing"),
    "missing weight": ({"in.csv": with_line(9, "3,,x")}, ["--weight", "b"], "in.csv", 9, "b", "",
                       "missing"),
    "negative weight": ({"in.csv": with_line(9, "3,-0.5,x")}, ["--weight", "b"], "in.csv", 9, "b",
                        "-0.5", "at least 0"),
    "word for a weight": ({"in.csv": with_line(9, "3,heavy,x")}, ["--weight", "b"], "in.csv", 9, "b",
                          "heavy", "must be a number"),
    "not UTF-8": ({"in.csv": with_line(9, b"3,4,\xe9")}, [], "in.csv", 9, "", "3,4,\\xe9", "0xe9"),
    "in the second file": ({"a.csv": TABLE, "b.csv": with_line(9, "3,four,x")}, [], "b.csv", 9, "b",
                           "four",
                           "must be a number"),
    "in gzip": ({"in.csv.gz": gzip.compress(with_line(9, "3,four,x"))}, [], "in.csv.gz", 9, "b", "four",
                "must be a number"),
    "missing, and not to be": ({"in.csv": with_line(9, "3,,x")}, ["--on-missing", "fail"], "in.csv", 9,
                               "b", "", "missing"),
    "index beyond the width": (
        {"in.libsvm": "1 1:2 3:1\n0 2:3\n1 4:1\n0 1:1\n"}, ["--width", "3"], "in.libsvm", 3, "", "4:1",
        "declared width is 3"),
    "index below the first": (
        {"in.libsvm": "1 1:2 3:1\n0 0:3\n1 4:1\n0 1:1\n"}, ["--first-index", "1"], "in.libsvm", 2, "",
        "0:3",
        "--first-index 0"),
    "indices out of order": (
        {"in.libsvm": "1 1:2 3:1\n0 3:3 2:1\n0 1:1\n1 2:1\n"}, [], "in.libsvm", 2, "", "2:1",
        "must rise"),
    "no JSON": ({"in.jsonl": '{"a": 1, "label": "x"}\n{"a": 3 "label": "y"}\n{"a": 2, "label": "y"}\n'},
                [], "in.jsonl", 2, "", '{"a": 3 "label": "y"}', "must be a JSON object"),
    "infinity in Parquet": (
        {"in.parquet": parquet(a=[1.0, 2.0, np.inf, 3.0], label=["x", "y", "x", "y"])}, [],
        "in.parquet", 3, "a", "inf", "finite number"),
    "infinity in npz": ({"in.npz": npz([[1.0, 2.0], [3.0, 4.0], [5.0, -np.inf], [7.0, 8.0]])}, [],
                        "in.npz", 3, "feature 1", "-inf", "finite number"),
    "NaN in npz": ({"in.npz": npz([[1.0, 2.0], [np.nan, 4.0], [5.0, 6.0], [7.0, 8.0]])},
                   ["--on-missing", "fail"], "in.npz", 2, "feature 0", "", "missing"),
    "no image": (images(wrong=b"no image"), [], "in/dog/wrong.png", 0, "",
                 "6e 6f 20 69 6d 61 67 65 ...",
                 "PNG or JPEG image that decodes"),
    "image cut off": (images(wrong=png(9)[:-30]), [], "in/dog/wrong.png", 0, "", None, "decodes"),
    "image of another size": (images(wrong=png(9, (4, 6))), [], "in/dog/wrong.png", 0, "", "4 x 6",
                              "4 x 5 pixels"),
}


#: Rows that are left without the bad one; 10 images, and 3 rows in other files.
GOOD = {"in.csv": 39, "in.csv.gz": 39, "b.csv": 79, "in.jsonl": 2}


@pytest.mark.parametrize(("files", "options", "file", "line", "column", "value", "wrong"),
                         BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row(tmp_path, capfd, monkeypatch, files, options, file, line, column, value, wrong):
    """Named and refused, or counted, written down and left out, as long as there are not too many."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path, files)
    inputs = ["in"] if file.startswith("in/") else sorted(files)
    place = str(tmp_path / file) + f", line {line}" * bool(line) + f", column {column!r}" * bool(column)
    named = (f"mr-gradient: {place}: ", wrong, "" if value is None else f"found {value!r}")
    argv = ["prepare", *inputs, "--out", "new", *options]
    refused(capfd, tmp_path, *argv, words=(*named, "--on-bad-row skip --max-bad-rows N"))
    skip = [*argv, "--on-bad-row", "skip"]
    refused(capfd, tmp_path, *skip, words=(*named, "bad row 1", "--max-bad-rows 0"))
    result = answer(capfd, *skip, "--max-bad-rows", "1")
    assert result["bad_rows"] == 1
    rejects = (tmp_path / "new" / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    reject, = map(json.loads, rejects)
    assert reject.keys() == {"file", "line", "column", "value", "wrong"}
    assert (reject["file"], reject["line"], reject["column"]) == (str(tmp_path / file), line, column)
    assert value in (None, reject["value"])
    assert wrong in reject["wrong"] or wrong in str(reject)
    assert result["examples"] == GOOD.get(file, 10 if file.startswith("in/") else 3)


def test_bad_rows_are_counted_up_to_the_limit(tmp_path, capfd, monkeypatch):
    """Over all files and pieces; the rejects come in the order of the files, whatever the cores."""
    monkeypatch.chdir(tmp_path)
    for name, bad in (("a", (2, 40)), ("b", ()), ("c", (7, 8, 9))):
        lines = TABLE.splitlines()
        for line in bad:
            lines[line - 1] = "1,many,x" if line % 2 else "1"
        put(tmp_path, {f"{name}.csv": "\n".join(lines) + "\n"})
    argv = ["prepare", "c.csv", "a.csv", "b.csv", "--on-bad-row", "skip"]
    refused(capfd, tmp_path, *argv, "--max-bad-rows", "4", "--out", "new",
            words=["5 bad rows", "--max-bad-rows 4"])
    refused(capfd, tmp_path, *argv, "--max-bad-rows", "2", "--out", "new",
            words=["c.csv, line 9, column 'b'", "bad row 3", "--max-bad-rows 2"])
    found = []
    for cores in (1, 2, 5):
        result = answer(capfd, *argv, "--max-bad-rows", "5", "--out", f"new{cores}", "--num-cores",
                        cores)
        assert (result["bad_rows"], result["examples"]) == (5, 115)
        found.append((tmp_path / f"new{cores}" / "rejects.jsonl").read_bytes())
    assert found[0] == found[1] == found[2]
    rejects = [json.loads(line) for line in found[0].splitlines()]
    assert [(Path(each["file"]).name, each["line"], each["column"],
             each["value"]) for each in rejects] == [
        ("a.csv", 2, "", "1"), ("a.csv", 40, "", "1"), ("c.csv", 7, "b", "many"), ("c.csv", 8, "", "1"),
        ("c.csv", 9, "b", "many")]


def test_only_bad_rows(tmp_path, capfd):
    put(tmp_path, {"in.csv": "a,label\n1\n2\n"})
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new", "--on-bad-row",
            "skip", "--max-bad-rows", "9", words=["in.csv", "must have rows", "2 bad ones"])


PACKED = gzip.compress(TABLE.encode() * 50)
#: name: (files, options, words of the message): files that no row can be taken of.
FILES = {
    "column twice": ({"in.csv": "a,a,label\n1,2,x\n"}, [], ["in.csv, line 1", "'a' twice"]),
    "key twice": ({"in.jsonl": '{"a": 1, "a": 2, "label": "x"}\n'}, [],
                  ["in.jsonl, line 1", "'a'", "once"]),
    "value in a value": ({"in.jsonl": '{"a": 1, "label": "x"}\n{"a": [1], "label": "y"}\n'}, [],
                         ["in.jsonl, line 2", "'a'", "plain value", "[1]"]),
    "gzip cut off": ({"in.csv.gz": PACKED[:len(PACKED) // 2]}, [], ["in.csv.gz", "gzip", "too soon"]),
    "gzip without its end": ({"in.csv.gz": PACKED[:-4]}, [], ["in.csv.gz", "gzip", "too soon"]),
    "gzip that is none": ({"in.csv.gz": TABLE}, [], ["in.csv.gz", "gzip", "damaged"]),
    "gzip with a flipped bit": ({"in.csv.gz": PACKED[:-6] + bytes([PACKED[-6] ^ 1]) + PACKED[-5:]}, [],
                                ["in.csv.gz", "gzip", "damaged"]),
    "bzip2 cut off": ({"in.csv.bz2": bz2.compress(TABLE.encode())[:-20]}, [],
                      ["in.csv.bz2", "bzip2", "too soon"]),
    "bzip2 that is none": ({"in.csv.bz2": TABLE}, [], ["in.csv.bz2", "bzip2", "damaged"]),
    "Parquet cut off": ({"in.parquet": parquet(a=[1, 2], label=["x", "y"])[:-9]}, [],
                        ["in.parquet", "Parquet"]),
    "IDX with too few rows": (mnist(idx((12, 4, 4), 160), idx((12,))), [],
                              ["train-images-idx3-ubyte", "(12, 4, 4)", "208", "176"]),
    "IDX with too few rows, packed": (mnist(idx((12, 4, 4), 160), idx((12,)), True), [],
                                      ["train-images-idx3-ubyte.gz", "12 rows", "found 10"]),
    "IDX with too many rows, packed": (mnist(idx((12, 4, 4), 200), idx((12,)), True), [],
                                       ["train-images-idx3-ubyte.gz", "12 rows", "more"]),
    "IDX of another magic": (mnist(idx((12, 4, 4), magic=b"\1\2\x08"), idx((12,))), [],
                             ["train-images-idx3-ubyte", "header", "01 02 08 03"]),
    "IDX of no type": (mnist(idx((12, 4, 4), magic=b"\0\0\x07"), idx((12,))), [],
                       ["train-images-idx3-ubyte", "header", "00 00 07 03"]),
    "IDX with too few labels": (mnist(idx((12, 4, 4)), idx((11,))), [],
                                ["train-labels-idx1-ubyte", "12 rows", "found 11"]),
    "IDX without labels": ({"in/train-images-idx3-ubyte": idx((12, 4, 4))}, [],
                           ["train-images-idx3-ubyte", "no labels", "train-labels-idx1-ubyte",
                            "--labels"]),
    "npy without labels": ({"x.npy": npy(np.eye(3))}, [], ["x.npy", "no labels", "y.npy", "--labels"]),
    "npy with too few labels": ({"x.npy": npy(np.eye(3)), "y.npy": npy(np.arange(2))}, [],
                                ["y.npy", "3 rows of", "x.npy", "found 2"]),
    "pickles": ({"in.npz": npz([[{}, 1], [2, 3]])}, [], ["in.npz", "Python objects"]),
    "images of one class": ({f"in/cat/{i}.png": png(i) for i in range(3)}, [],
                            ["in/cat/0.png", "folder a class", "'cat'"]),
    "first image broken": ({**images(), "in/cat/0.png": b"oops"}, [],
                           ["in/cat/0.png", "decodes", "first"]),
    "two formats": ({"a.csv": TABLE, "b.jsonl": '{"a": 1, "label": "x"}\n'}, [],
                    ["b.jsonl", "jsonl", "a.csv", "csv"]),
    "no format": ({"in.dat": bytes(range(256)) * 4}, [], ["in.dat", "--format", "parquet"]),
    "packed and not": ({"in.csv": TABLE, "in.csv.gz": PACKED}, [], ["in.csv.gz", "in.csv", "once"]),
    "empty part files": ({"in/part-00000": "", "in/_SUCCESS": ""}, [], ["in", "only empty part files"]),
    "only _SUCCESS": ({"in/_SUCCESS": ""}, [], ["in", "folder without files"]),
}


@pytest.mark.parametrize(("files", "options", "words"), FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_read(tmp_path, capfd, monkeypatch, files, options, words):
    """No bad row, so ``--on-bad-row skip`` changes nothing."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path, files)
    inputs = ["in"] if (tmp_path / "in").is_dir() else sorted(files)
    for skip in ([], ["--on-bad-row", "skip", "--max-bad-rows", "1000"]):
        refused(capfd, tmp_path, "prepare", *inputs, "--out", "deep/new", *options, *skip, words=words)


@pytest.mark.parametrize(("given", "words"), [
    ("empty", ["empty", "folder without files"]), ("no-*.csv", ["no-*.csv", "matches no file"]),
    ("absent.csv", ["absent.csv", "no such file"]), ("link.csv", ["link.csv", "link to nothing"]),
    ("pipe.csv", ["pipe.csv", "a pipe"]), ("s3x://b/c.csv", ["s3x://b/c.csv"])])
def test_no_input(tmp_path, capfd, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link.csv").symlink_to("absent")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(capfd, tmp_path, "prepare", given, "--out", "new", words=words)
