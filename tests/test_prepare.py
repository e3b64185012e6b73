"""``mr-gradient prepare``: what is in the data set is what was in the files."""

from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
from cli_tools import DIGITS, answer, command, listing, read_data, read_shard, refused, write_csv

pytestmark = pytest.mark.fast


#: Of number columns; they are standardized otherwise.
AS_THEY_ARE = ("--numbers", "pass")


def numbered(rows: int, columns: int = 3) -> np.ndarray:
    """Random features whose first column is the number of the row."""
    x = np.random.default_rng(3).normal(size=(rows, columns))
    x[:, 0] = np.arange(rows)
    return x


def contents(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in listing(folder)
            if (folder / name).is_file()}


def schema(folder) -> dict:
    return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["schema"]


def prepared(capfd, tmp_path, text: str | bytes, *options: str, name: str = "in"):
    """Prepare a text; returns the data set's folder."""
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / f"{name}.csv").write_bytes(data)
    answer(capfd, "prepare", tmp_path / f"{name}.csv", "--out", tmp_path / name, *options)
    return tmp_path / name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("fraction", ["0", "0.3"])
def test_every_row_once_with_its_own_label(tmp_path, capfd, dtype, fraction):
    x = numbered(300)
    y = np.sin(np.arange(300.0))
    source = write_csv(tmp_path / "in.csv", x, y.tolist())
    answer(capfd, "prepare", source, "--out", tmp_path / "d", "--dtype", dtype, *AS_THEY_ARE,
           "--test-fraction", fraction)
    parts = [read_data(tmp_path / "d", part) for part in ("train", "held_out")]
    found_x = np.concatenate([part[0] for part in parts])
    found_y = np.concatenate([part[1] for part in parts])
    order = np.argsort(found_x[:, 0])
    np.testing.assert_array_equal(found_x[order], x.astype(dtype))
    np.testing.assert_array_equal(found_y[order], y.astype(dtype))


def test_digits_are_scaled_bytes(tmp_path, capfd):
    result = answer(capfd, "prepare", DIGITS, "--out", tmp_path / "d", "--test-fraction", "0.2")
    with DIGITS.open(encoding="ascii", newline="") as file:
        header, *rows = csv.reader(file)
    expected = sorted(tuple(map(int, row)) for row in rows)
    found = []
    for part in ("train", "held_out"):
        x, y = read_data(tmp_path / "d", part)
        assert x.dtype == np.uint8
        found += [(*a, b) for a, b in zip(x.tolist(), y.tolist())]
    assert sorted(found) == expected
    assert schema(tmp_path / "d")["scale"] == 1 / 16
    assert schema(tmp_path / "d")["features"] == header[:-1]
    assert (result["examples"] + result["held_out"], result["features"]) == (1797, 64)
    assert result["classes"] == [str(digit) for digit in range(10)]
    for name in listing(tmp_path / "d" / "shards"):
        _, metadata, start = read_shard(tmp_path / "d" / "shards" / name)
        assert float(metadata["scale"]) == 1 / 16
        assert start % 64 == 0


@pytest.mark.parametrize(("labels", "options", "kind", "classes"), [
    (["b", "a", "c", "b"], [], "class", ["a", "b", "c"]),
    (["10", "9", "-1", "9"], [], "class", ["-1", "9", "10"]),
    (["1", "1.0", "01", "2"], [], "class", ["1", "2"]),
    (["1", "1.0", "01", "2"], ["--kind", "label=word"], "class", ["01", "1", "1.0", "2"]),
    (["1", "yes", "1.0", "yes"], [], "class", ["1", "1.0", "yes"]),
    (["0.5", "1", "1.25", "1"], [], "value", []),
    (["0.5", "1", "1.25", "1"], ["--target-type", "class"], "class", ["0.5", "1", "1.25"]),
    (["3", "1", "2", "1"], ["--target-type", "value"], "value", []),
    ([str(i) for i in range(100)], [], "class", [str(i) for i in range(100)]),
    ([str(i) for i in range(101)], [], "value", []),
    ([f"c{i:03d}" for i in range(300)], [], "class", [f"c{i:03d}" for i in range(300)]),
])
def test_kind_and_order_of_classes(tmp_path, capfd, labels, options, kind, classes):
    source = write_csv(tmp_path / "in.csv", numbered(len(labels)), labels)
    result = answer(capfd, "prepare", source, "--out", tmp_path / "d", *AS_THEY_ARE, *options)
    assert (result["kind"], result["classes"]) == (kind, classes)
    x, y = read_data(tmp_path / "d", "train")
    y = y[np.argsort(x[:, 0])]
    if kind == "class":
        def same(label):
            return label if label in classes else str(float(label)).removesuffix(".0")
        assert y.tolist() == [classes.index(same(label)) for label in labels]
        assert y.dtype == (np.uint8 if len(classes) <= 256 else np.uint16)
    else:
        np.testing.assert_array_equal(y, np.array(labels, np.float32))


def test_large_whole_labels_never_become_one(tmp_path, capfd):
    """Two identifiers that are one float64 are refused, and as text they are two."""
    text = f"a,label\n1,{2**53}\n2,{2**53 + 1}\n3,7\n"
    (tmp_path / "in.csv").write_text(text, encoding="utf-8")
    for sign in ("", "-"):
        (tmp_path / "in.csv").write_text(text.replace("900", f"{sign}900"), encoding="utf-8")
        refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "d",
                "--target-type", "class",
                words=("in.csv", "'label'", "2**53", f"{sign}{2**53}", "--kind label=word"))
    folder = prepared(capfd, tmp_path, text, "--kind", "label=word")
    assert schema(folder)["classes"] == ["7", str(2**53), str(2**53 + 1)]
    folder = prepared(capfd, tmp_path, f"a,label\n1,{2**53 - 1}\n2,{2**53 - 2}\n",
                      "--target-type", "class", name="below")
    assert schema(folder)["classes"] == [str(2**53 - 2), str(2**53 - 1)]


def stored(capfd, tmp_path, values: list, width: int, *options: str) -> np.ndarray:
    """A table of ``width`` columns, all of them ``values``, as it is stored: (rows, width)."""
    x = np.tile(np.array(values, float)[:, None], width)
    source = write_csv(tmp_path / "in.csv", x, (["p", "q"] * len(values))[:len(values)])
    answer(capfd, "prepare", source, "--out", tmp_path / "d", *options)
    return read_data(tmp_path / "d", "train")[0]


@pytest.mark.parametrize(("values", "width", "options", "scale"), [
    ([0, 255, 3], 16, [], 1 / 255),
    ([0, 4, 3], 16, [], 1 / 4),
    ([0, 0, 0], 16, [], 1.0),
    ([0, 7, 3], 1, ["--dtype", "uint8"], 1 / 7),
])
def test_an_image_in_a_table_is_scaled_bytes(tmp_path, capfd, values, width, options, scale):
    x = stored(capfd, tmp_path, values, width, *options)
    assert (x.dtype, schema(tmp_path / "d")["dtype"]) == (np.uint8, "uint8")
    assert schema(tmp_path / "d")["scale"] == scale
    assert sorted(x[:, -1].tolist()) == sorted(values)
    if any(values):
        assert (x * scale).max() == pytest.approx(1)


@pytest.mark.parametrize(("values", "width", "options", "dtype"), [
    ([0, 255, 3], 15, [], "float32"),
    ([0, 256, 3], 16, [], "float32"),
    ([0, -1, 3], 16, [], "float32"),
    ([0, 1.5, 3], 16, [], "float32"),
    ([0, 4, 3], 1, ["--dtype", "float64"], "float64"),
    ([0, 0.1, 3], 2, ["--dtype", "float16"], "float16"),
    ([0, 0.1, 3], 2, ["--dtype", "float64"], "float64"),
])
def test_other_numbers_are_standardized_or_stored_as_they_are(tmp_path, capfd, values, width, options,
                                                               dtype):
    values = np.array(values)
    x = stored(capfd, tmp_path, values, width, *options)
    assert (x.dtype, schema(tmp_path / "d")["dtype"], schema(tmp_path / "d")["scale"]) == (
        dtype, dtype, 1.0)
    expected = np.sort((values - values.mean()) / values.std())
    np.testing.assert_allclose(np.sort(x[:, -1]), expected, rtol=float(16 * np.finfo(dtype).eps))
    x = stored(capfd, tmp_path, values, width, *options, *AS_THEY_ARE, "--overwrite")
    assert sorted(x[:, -1].tolist()) == sorted(values.astype(dtype).tolist())


@pytest.mark.parametrize("width", [2, 16])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bytes_as_another_type(tmp_path, capfd, width, dtype):
    """What could be bytes is of the type that is asked for, and a model sees the same numbers."""
    x = stored(capfd, tmp_path, [0, 8, 4], width, "--dtype", dtype)
    assert (x.dtype, schema(tmp_path / "d")["dtype"]) == (dtype, dtype)
    seen = np.sort(x[:, 0].astype(float) * schema(tmp_path / "d")["scale"])
    expected = [0, 0.5, 1] if width == 16 else np.sqrt(1.5) * np.array([-1, 0, 1])
    np.testing.assert_allclose(seen, expected, atol=float(2 * np.finfo(dtype).eps))


def test_held_out_rows_depend_on_row_and_seed_alone(tmp_path, capfd):
    source = write_csv(tmp_path / "in.csv", numbered(5000), ["p", "q"] * 2500)

    def held_out(name, *options):
        answer(capfd, "prepare", source, "--out", tmp_path / name, "--test-fraction", "0.2",
               *AS_THEY_ARE, *options)
        ids = [set(read_data(tmp_path / name, part)[0][:, 0].tolist())
               for part in ("train", "held_out")]
        assert not ids[0] & ids[1]
        assert len(ids[0] | ids[1]) == 5000
        return ids[1]

    first = held_out("a")
    assert abs(len(first) - 1000) < 5 * np.sqrt(5000 * 0.2 * 0.8)
    assert held_out("b", "--shards", "3", "--dtype", "float64") == first
    other = held_out("c", "--seed", "1")
    assert other != first
    assert len(other & first) < 300  # 200 by chance


@pytest.mark.parametrize("shards", [0, 1, 3, 20])
def test_shards_are_counted_and_described(tmp_path, capfd, shards):
    source = write_csv(tmp_path / "in.csv", numbered(2000), ["p", "q"] * 1000)
    options = ["--shards", shards] if shards else []
    result = answer(capfd, "prepare", source, "--out", tmp_path / "d", *options)
    described = json.loads((tmp_path / "d" / "dataset.json").read_text(encoding="utf-8"))["train"]
    assert result["shards"] == len(described) == (shards or 8)
    assert listing(tmp_path / "d" / "shards") == [f"{i:05d}.safetensors" for i in range(shards or 8)]
    mean = 2000 / len(described)
    for shard in described:
        data = (tmp_path / "d" / shard["path"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert len(read_shard(tmp_path / "d" / shard["path"])[0]["y"]) == shard["rows"]
        assert abs(shard["rows"] - mean) <= 6 * np.sqrt(mean)
    assert sum(shard["rows"] for shard in described) == result["examples"] == 2000


def test_same_bytes_for_the_same_input(tmp_path, capfd):
    source = write_csv(tmp_path / "in.csv", numbered(500), ["p", "q"] * 250)
    for name in ("a", "b"):
        answer(capfd, "prepare", source, "--out", tmp_path / name, "--test-fraction", "0.3")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_several_files_are_one_table(tmp_path, capfd):
    """All rows once, the plan of the table, and the same shards however the files are named."""
    x, labels = numbered(90), ["p", "q", "r"] * 30
    whole = write_csv(tmp_path / "all.csv", x, labels)
    (tmp_path / "files").mkdir()
    parts = [write_csv(tmp_path / "files" / f"{i}.csv", x[lo:hi], labels[lo:hi])
             for i, (lo, hi) in enumerate([(0, 10), (10, 11), (11, 90)])]
    inputs = {"whole": [whole], "parts": parts, "turned": parts[::-1], "folder": [tmp_path / "files"],
              "glob": [tmp_path / "files" / "*.csv"], "mixed": [parts[2], tmp_path / "files" / "[01]*"]}
    for name, files in inputs.items():
        answer(capfd, "prepare", *files, "--out", tmp_path / name, "--test-fraction", "0.3",
               *AS_THEY_ARE, "--dtype", "float64")
    found = [read_data(tmp_path / name, part) for name in ("whole", "parts")
             for part in ("train", "held_out")]
    rows = [np.vstack([np.column_stack(part) for part in both]) for both in (found[:2], found[2:])]
    for each in rows:
        np.testing.assert_array_equal(each[np.argsort(each[:, 0])],
                                      np.column_stack([x, np.tile([0, 1, 2], 30)]))
    assert schema(tmp_path / "parts") == schema(tmp_path / "whole")
    for name in ("turned", "folder", "glob", "mixed"):
        assert contents(tmp_path / name / "shards") == contents(tmp_path / "parts" / "shards")


PLAIN = "a,b,label\n1,2.5,no\n-3,4,yes\n5,6,no\n"


def test_lines_that_end_in_cr_alone_are_refused(tmp_path, capfd):
    (tmp_path / "in.csv").write_text(PLAIN.replace("\n", "\r"), encoding="utf-8", newline="")
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "new",
            words=("in.csv, line 1", "LF or CRLF", "CR alone", "convert"))


@pytest.mark.parametrize("text", [
    PLAIN.replace("\n", "\r\n"), b"\xef\xbb\xbf" + PLAIN.encode(),
    PLAIN.rstrip("\n"), "\n" + PLAIN.replace("\n", "\n\n"), PLAIN.replace(",", " , "),
    '"a","b","label"\n"1",2.5,"no"\n-3,"4",yes\n5,6,no\n', PLAIN.replace("-3,4", "-3.0,4e0"),
    "label,a,b\nno,1,2.5\nyes,-3,4\nno,5,6\n", "a,label,b\n1,no,2.5\n-3,yes,4\n5,no,6\n",
], ids=["CRLF", "BOM", "no newline at the end", "blank lines", "spaces", "quotes",
        "other notation", "label first", "label between"])
def test_forms_of_csv(tmp_path, capfd, text):
    plain = prepared(capfd, tmp_path, PLAIN, name="plain")
    other = prepared(capfd, tmp_path, text, name="other")
    assert contents(other / "shards") == contents(plain / "shards")
    assert schema(other) == schema(plain)


def test_more_rows_than_a_batch(tmp_path, capfd):
    rows = 600_000  # of one feature and the label: a block has 4 MiB
    lines = [f"{row},{row % 7}" for row in range(rows)]
    folder = prepared(capfd, tmp_path, "\n".join(["id,label", *lines]), "--dtype", "float64",
                      *AS_THEY_ARE)
    x, y = read_data(folder, "train")
    order = np.argsort(x[:, 0])
    np.testing.assert_array_equal(x[order, 0], np.arange(rows))
    np.testing.assert_array_equal(y[order], np.arange(rows) % 7)
    lines[595_000] = "oops,1"
    (tmp_path / "bad.csv").write_text("\n".join(["id,label", *lines]), encoding="utf-8")
    refused(capfd, tmp_path, "prepare", tmp_path / "bad.csv", "--out", tmp_path / "bad",
            words=("bad.csv", "line 595002", "'id'", "'oops'"))


def test_one_row_and_more_shards_than_rows(tmp_path, capfd):
    folder = prepared(capfd, tmp_path, "a,label\n3,0.5\n", "--target-type", "value", *AS_THEY_ARE)
    x, y = read_data(folder, "train")
    assert (x.tolist(), y.tolist()) == ([[3]], [0.5])


def test_overwrite_replaces_only_when_all_is_well(tmp_path, capfd):
    folder = prepared(capfd, tmp_path, PLAIN)
    before = contents(folder)
    (tmp_path / "bad.csv").write_text("a,b,label\n1,inf,no\n2,3,yes\n", encoding="utf-8")
    refused(capfd, tmp_path, "prepare", tmp_path / "bad.csv", "--out", folder, "--overwrite",
            words=("bad.csv", "line 2"))
    assert contents(folder) == before
    (tmp_path / "new.csv").write_text("c,label\n1,2\n3,4\n", encoding="utf-8")
    answer(capfd, "prepare", tmp_path / "new.csv", "--out", folder, "--overwrite", "--shards", "2")
    assert schema(folder)["features"] == ["c"]
    assert listing(folder / "shards") == ["00000.safetensors", "00001.safetensors"]


def test_overwrite_keeps_files_of_others(tmp_path, capfd):
    """``--overwrite`` replaces a data set; what else lies in its folder is not ours to remove."""
    folder = prepared(capfd, tmp_path, PLAIN)
    (folder / "source.csv").write_text(PLAIN, encoding="utf-8")
    status = command("prepare", folder / "source.csv", "--out", folder, "--overwrite")
    _, err = capfd.readouterr()
    assert status == 0 or (status == 2 and err.count("\n") == 1)
    assert (folder / "source.csv").read_text(encoding="utf-8") == PLAIN


def test_out_may_be_a_link_to_an_empty_folder(tmp_path, capfd):
    """The data set is made where the link leads."""
    (tmp_path / "in.csv").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    answer(capfd, "prepare", tmp_path / "in.csv", "--out", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "dataset.json").is_file()
    assert not [name for name in listing(tmp_path) if "partial" in name]
