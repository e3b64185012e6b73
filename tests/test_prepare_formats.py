"""``mr-gradient prepare`` from every format to a model, and how it deals and weighs the rows."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_tools import ROOT, answer, command, put, read_data, read_shard

sys.path.insert(0, str(ROOT / "benchmarks"))
from make_ctr import write as write_clicks

ROWS = 90


def columns() -> tuple[list[float], list[str | None], list[str]]:
    """A number, a category that is missing now and then, and a label that follows from both."""
    random = np.random.default_rng(2)
    size = random.normal(size=ROWS).round(3).tolist()
    colour = [["red", "blue", None][i] for i in random.integers(0, 3, ROWS)]
    labels = ["big" if x + (c == "red") > 0 else "small" for x, c in zip(size, colour)]
    return size, colour, labels


def write_table(folder: Path, form: str) -> list[Path]:
    """The table of ``columns`` in a format, for some of them in two files."""
    size, colour, labels = columns()
    rows = list(zip(size, colour, labels))
    if form == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.table({"size": size, "colour": colour, "label": labels}),
                            folder / "t.parquet", row_group_size=25)
        return [folder / "t.parquet"]
    if form == "jsonl":
        lines = [json.dumps({"size": x, "colour": c, "label": y}) + "\n" for x, c, y in rows]
        put(folder, {"out/part-00000": "".join(lines[:40]), "out/part-00001": "".join(lines[40:]),
                     "out/part-00002": "", "out/_SUCCESS": ""})
        return [folder / "out"]
    delimiter = "\t" if form == "tsv" else ","
    text = "".join(delimiter.join([repr(x), c or "", y]) + "\n" for x, c, y in rows)
    put(folder, {"t.gz": gzip.compress((delimiter.join(["size", "colour",
                                                        "label"]) + "\n" + text).encode())})
    return [folder / "t.gz"]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_a_table(tmp_path, capfd, form):
    """Found out without a word of the user's: the same columns, and a model that is right more often
    than the larger class."""
    result = answer(capfd, "prepare", *write_table(tmp_path, form), "--out", tmp_path / "d")
    assert (result["examples"], result["features"], result["classes"]) == (ROWS, 4, ["big", "small"])
    described = json.loads((tmp_path / "d" / "dataset.json").read_text(encoding="utf-8"))
    assert described["schema"]["features"] == ["size", "colour=blue", "colour=red", "colour=(missing)"]
    assert described["options"]["source"]["format"] == form
    x, y = read_data(tmp_path / "d", "train")
    size, colour, labels = columns()
    expected = [[(s - np.mean(size)) / np.std(size), c == "blue", c == "red", c is None,
                 label == "small"]
                for s, c, label in zip(size, colour, labels)]
    found = np.column_stack([x, y])
    np.testing.assert_allclose(found[np.lexsort(found.T)], np.array(expected, float)[
        np.lexsort(np.array(expected, np.float32).T)], rtol=1e-6, atol=1e-6)
    trained = answer(capfd, "train", "--data", tmp_path / "d", "--model", "logistic", "--iterations",
                     20,
                     "--learning-rate", 2, "--out", tmp_path / "m")
    assert trained["accuracy"] > max(np.bincount(y)) / ROWS + 0.1


def write_pictures(folder: Path, form: str) -> list[object]:
    """24 pictures of 4 x 5 pixels: dark ones are of one class, light ones of the other."""
    random = np.random.default_rng(4)
    labels = np.arange(24) % 2
    x = (random.integers(0, 100, (24, 4, 5)) + 150 * labels[:, None, None]).astype(np.uint8)
    if form == "npz":
        np.savez(folder / "t.npz", x=x, y=labels)
        return [folder / "t.npz"]
    if form == "npy":
        np.save(folder / "pictures.npy", x)
        np.save(folder / "truth.npy", labels)
        return [folder / "pictures.npy", "--labels", folder / "truth.npy"]
    if form == "idx":
        for name, array in (("images-idx3", x), ("labels-idx1", labels.astype(np.uint8))):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            put(folder, {f"idx/t-{name}-ubyte": head + array.tobytes()})
        return [folder / "idx"]
    from PIL import Image

    for i, picture in enumerate(x):
        (folder / "images" / "dl"[labels[i]]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / "images" / "dl"[labels[i]] / f"{i:02d}.png")
    return [folder / "images"]


@pytest.mark.parametrize("form", ["npz", "npy", "idx", "images"])
def test_pictures(tmp_path, capfd, form):
    result = answer(capfd, "prepare", *write_pictures(tmp_path, form), "--out", tmp_path / "d",
                    "--shards", 2)
    assert (result["examples"], result["features"], result["dtype"]) == (24, 20, "uint8")
    x, y = read_data(tmp_path / "d", "train")
    assert ((x.mean(axis=1) > 128) == (y == 1)).all()
    assert sorted(x.sum(axis=1).tolist()) == sorted(
        (np.random.default_rng(4).integers(0, 100, (24, 20)) + 150 * (np.arange(24) % 2)[:, None])
        .sum(axis=1).tolist())
    trained = answer(capfd, "train", "--data", tmp_path / "d", "--model", "softmax", "--iterations", 2,
                     "--out", tmp_path / "m")
    assert trained["loss"] < np.log(2)


def test_libsvm(tmp_path, capfd):
    put(tmp_path, {"t.txt": "".join(f"{'+1' if i % 2 else '-1'} {1 + i % 2}:1 {3 + i % 60}:0.5\n"
                                    for i in range(60))})
    result = answer(capfd, "prepare", tmp_path / "t.txt", "--out", tmp_path / "d")
    assert (result["features"], result["layout"], result["classes"]) == (62, "csr", ["-1", "1"])
    assert answer(capfd, "train", "--data", tmp_path / "d", "--model", "logistic", "--iterations", 2,
                  "--learning-rate", 1, "--out", tmp_path / "m")["accuracy"] == 1


def test_more_images_than_are_named_to_every_task(tmp_path, capfd, monkeypatch):
    """The list of names goes by a file of the preparation's own, which is not kept."""
    from mr_gradient.dataset.formats import images

    inputs = write_pictures(tmp_path, "images")
    answer(capfd, "prepare", *inputs, "--out", tmp_path / "short", "--num-cores", 1)
    monkeypatch.setattr(images, "LISTED", 5)
    answer(capfd, "prepare", *inputs, "--out", tmp_path / "long", "--num-cores", 1)
    for name in ("short", "long"):
        source = json.loads((tmp_path / name / "dataset.json").read_text(encoding="utf-8"))[
            "options"]["source"]
        assert not set(source["options"]) & {"names", "listing", "root", "files"}
    assert [each.tolist() for each in read_data(tmp_path / "long", "train")] == [
        each.tolist() for each in read_data(tmp_path / "short", "train")]


def test_images_are_resized(tmp_path, capfd):
    result = answer(capfd, "prepare", *write_pictures(tmp_path, "images"), "--image-size", "2,3",
                    "--out",
                    tmp_path / "d")
    assert result["features"] == 6


@pytest.fixture(scope="module")
def clicks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    write_clicks(str(folder / "train.txt"), rows=6000)
    write_clicks(str(folder / "test.txt"), rows=1500, seed=1)
    assert command("prepare", folder / "train.txt", "--preset", "criteo", "--out", folder / "d",
                   "--json") == 0
    return folder


def test_criteo(clicks, tmp_path, capfd):
    """13 numbers and 26 hashed categories; a model beats the larger class on rows of another day."""
    result = answer(capfd, "prepare", clicks / "test.txt", "--like", clicks / "d", "--out",
                    tmp_path / "t")
    assert (result["examples"], result["target"], result["layout"]) == (1500, "label", "csr")
    assert result["features"] == 13 + 26 * 2**16
    described = answer(capfd, "inspect", clicks / "d")
    assert [row["column"] for row in described["columns"]] == [
        *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    answer(capfd, "train", "--data", clicks / "d", "--model", "logistic", "--optimizer", "momentum",
           "--iterations", 25, "--learning-rate", 0.5, "--out", tmp_path / "m")
    measured = answer(capfd, "evaluate", "--model", tmp_path / "m", "--data", tmp_path / "t")
    _, y = read_data_labels(tmp_path / "t")
    share = y.mean()
    assert 0.05 < share < 0.5
    assert measured["accuracy"] > 1 - share + 0.005
    assert measured["loss"] < -share * np.log(share) - (1 - share) * np.log(1 - share) - 0.01


def read_data_labels(folder: Path) -> tuple[list[int], np.ndarray]:
    """Rows of each training shard, and all labels."""
    shards = [read_shard(path)[0] for path in sorted((folder / "shards").iterdir())]
    return [len(shard["y"]) for shard in shards], np.concatenate([shard["y"] for shard in shards])


def labelled(folder: Path, rows: int = 3000) -> Path:
    """``id`` tells the rows apart; 1% of them are of the class rare, 30% some, the rest most."""
    share = np.random.default_rng(6).random(rows)
    labels = np.where(share < 0.01, "rare", np.where(share < 0.31, "some", "most"))
    put(folder, {"in.csv": "id,group,weight,label\n" + "".join(
        f"{i},{i * 7919 % 97},{1 + i % 3},{label}\n" for i, label in enumerate(labels))})
    return folder / "in.csv"


AS_THEY_ARE = ("--numbers", "pass", "--dtype", "float64")


def parts(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    return [read_data(folder, part) for part in ("train", "held_out")]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_stratified(tmp_path, capfd, fraction):
    """Of every class the share that was asked for, to half of what may fall into a range of hashes, and
    the same rows whatever the cores."""
    source, found = labelled(tmp_path), []
    for cores in (1, 2, 5):
        out = tmp_path / f"d{cores}"
        answer(capfd, "prepare", source, "--test-fraction", fraction, "--stratify", "--out", out,
               *AS_THEY_ARE,
               "--num-cores", cores)
        found.append([(out / "dataset.json").read_bytes(),
                      *(path.read_bytes() for path in sorted((out / "shards").iterdir()))])
    assert found[0] == found[1] == found[2]
    (x, y), (held_x, held_y) = parts(tmp_path / "d1")
    assert not set(x[:, 0]) & set(held_x[:, 0])
    total = np.bincount(y, minlength=3) + np.bincount(held_y, minlength=3)
    assert total.sum() == 3000
    off = np.abs(np.bincount(held_y, minlength=3) - fraction * total)
    in_a_range = total / 1024
    assert (off <= 0.5 + (in_a_range + 4 * np.sqrt(in_a_range) + 1) / 2).all(), off
    by_chance = np.sqrt(total * fraction * (1 - fraction))
    assert off[0] < by_chance[0] / 3


def test_groups_stay_on_one_side(tmp_path, capfd):
    answer(capfd, "prepare", labelled(tmp_path), "--group", "group", "--test-fraction", "0.3", "--out",
           tmp_path / "d", *AS_THEY_ARE)
    groups = [set((x[:, 0] * 7919 % 97).tolist()) for x, _ in parts(tmp_path / "d")]
    assert not groups[0] & groups[1]
    assert len(groups[0] | groups[1]) == 97
    assert 10 < len(groups[1]) < 50


def weights(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, labels and weights of the training part."""
    shards = [read_shard(path)[0] for path in sorted((folder / "shards").iterdir())]
    return tuple(np.concatenate([shard[name] for shard in shards]) for name in ("x", "y", "weight"))


def test_weights(tmp_path, capfd):
    """A column, the classes, or their product; none is a feature."""
    source = labelled(tmp_path)
    for name, options in {"column": ["--weight", "weight"], "classes": ["--class-weight", "balanced"],
                          "both": ["--weight", "weight", "--class-weight", "balanced"]}.items():
        answer(capfd, "prepare", source, *options, "--out", tmp_path / name, *AS_THEY_ARE)
    x, y, weight = weights(tmp_path / "column")
    assert x.shape[1] == 2
    np.testing.assert_array_equal(weight, 1 + x[:, 0] % 3)
    x, y, balanced = weights(tmp_path / "classes")
    # As scikit-learn's compute_class_weight: rows / (classes * rows of the class).
    np.testing.assert_allclose(balanced, 3000 / (3 * np.bincount(y))[y], rtol=1e-6)
    x, y, both = weights(tmp_path / "both")
    np.testing.assert_allclose(both, (1 + x[:, 0] % 3) * 3000 / (3 * np.bincount(y))[y], rtol=1e-6)
