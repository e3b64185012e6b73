"""``mr-gradient inspect``: sketches against plain counts, and what terminals and pipes get."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from cli_tools import answer, command, environment, refused
from shared_data import shared_data

from mr_gradient.dataset.row_sample import SAMPLE_BYTES, take_sample
from mr_gradient.dataset.schema import Dataset, open_dataset
from mr_gradient.dataset.sketches import BINS
from mr_gradient.dataset.writer import write_arrays
from mr_gradient.errors import DataError
from mr_gradient.inspection import inspect, print_inspection
from mr_gradient.jobs.launch import job_arguments
from mr_gradient.preparation import PreparationConfig, prepare

BLOCKS = re.compile("[▁▂▃▄▅▆▇█]+")
CITIES = ["Oslo", "Rome", "Bern", "Rome", "Rome", "", "Oslo"]
ROWS = 700


def make(path: Path, out: Path, **fields) -> Dataset:
    arguments = job_arguments("inline", ["--num-cores", "2"], False)
    return prepare(PreparationConfig([str(path)], str(out), arguments=arguments, **fields))[0]


@pytest.fixture(scope="module")
def csv(tmp_path_factory) -> Path:
    """Two numbers, one with missing values, words, and a label."""
    random = np.random.default_rng(5)
    size, mass = random.normal(5, 2, ROWS), random.exponential(1, ROWS)
    lines = ["size,mass,city,label"]
    lines += [f"{size[i]:.6f},{'' if i % 10 == 0 else f'{mass[i]:.6f}'},{CITIES[i % 7]},{i % 2}"
              for i in range(ROWS)]
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def features(data: Dataset, part: str = "train") -> np.ndarray:
    """The stored features of a part, as an independent reader sees them."""
    from mr_gradient.dataset.shards import open_shard

    found = [open_shard(f"{data.folder}/{shard.path}") for shard in getattr(data, part)]
    return np.concatenate([np.asarray(shard.x) if isinstance(shard.x, np.ndarray) else
                           shard.x.matrix(0, len(shard.y), np.dtype("f4")).toarray()
                           for shard in found])


def by_column(found: dict) -> dict[str, dict]:
    return {row["column"]: row["sketch"] for row in found["columns"]}


def assert_histogram(sketch: dict, values: np.ndarray) -> None:
    values = np.asarray(values, np.float64)
    counts, edges = np.histogram(values, BINS)
    assert (sketch["shows"], sketch["counts"]) == ("values", counts.tolist())
    assert (sketch["minimum"], sketch["maximum"]) == (edges[0], edges[-1])


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_numbers_words_and_hashes_are_counted(csv, tmp_path, layout):
    spec = {"columns": {"city": {"hash": {"bits": 9}}}, "crosses": [
        {"columns": ["city", "mass"], "bits": 11}, {"columns": ["city", "size"], "bits": 8},
        {"columns": ["city", "mass"], "bits": 10}]}
    hashed = make(csv, tmp_path / "hashed", spec=spec, layout=layout, test_fraction=0.2)
    assert hashed.schema.layout == layout
    found = inspect(hashed.folder)
    assert [row["features"] for row in found["columns"]] == [1, 1, 512, 2048, 256, 1024]
    sketches = [row["sketch"] for row in found["columns"]]
    x = features(hashed)
    assert found["sketched_rows"] == len(x) == found["train"]["examples"] < ROWS
    assert_histogram(sketches[0], x[:, 0])
    assert_histogram(sketches[1], x[:, 1])
    start = 2
    for sketch, bits in zip(sketches[2:], (9, 11, 8, 10)):
        rows = np.count_nonzero(x[:, start:start + (1 << bits)], axis=0)
        start += 1 << bits
        assert sketch == {"shows": "buckets", "counts": sorted(rows[rows > 0].tolist())[:-13:-1],
                          "filled": np.count_nonzero(rows), "of": 1 << bits}
    assert sketches[2]["filled"] == 4  # three cities, and none
    words = inspect(make(csv, tmp_path / "words", layout="auto").folder)
    assert by_column(words)["city"] == {
        "shows": "categories", "counts": [300, 200, 100, 100], "filled": 4, "of": 4,
        "names": ["Rome", "Oslo", "Bern", "(missing)"]}


def test_a_column_that_is_dropped_has_no_sketch(csv, tmp_path):
    data = make(csv, tmp_path / "data", spec={"target": "size", "columns": {"city": "drop"}})
    found = inspect(data.folder)
    assert by_column(found)["city"] is None
    sizes = np.loadtxt(csv, delimiter=",", skiprows=1, usecols=0)
    counts, edges = np.histogram(sizes.astype("f4"), BINS)
    assert found["label_sketch"] == {"shows": "values", "counts": counts.tolist(),
                                     "minimum": edges[0], "maximum": edges[-1]}
    assert found["labels"]["maximum"] == edges[-1]


def test_arrays_have_a_column_a_feature(tmp_path):
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(size=100), np.full(100, 7.0),
                         1.7e308 * random.uniform(-1, 1, 100), np.arange(100) * 5e-324,
                         np.full(100, np.nan)])
    x[3, 0], x[4, 0] = np.nan, -np.inf
    data = write_arrays(str(tmp_path / "d"), x, random.normal(size=100), shards=3)
    found = inspect(data.folder)
    rows = found["columns"]
    assert [row["column"] for row in rows] == list(data.schema.features)
    assert [row["missing"] for row in rows] == [2, 0, 0, 0, 100]
    assert_histogram(rows[0]["sketch"], x[np.isfinite(x[:, 0]), 0])
    assert (rows[1]["range"], rows[1]["sketch"]["counts"]) == ("7 to 7", [100] + [0] * 11)
    assert rows[2]["sketch"]["counts"] == np.histogram(x[:, 2] / 4, BINS)[0].tolist()
    assert sum(rows[3]["sketch"]["counts"]) == 100
    assert (rows[4]["range"], rows[4]["sketch"]["minimum"]) == ("", None)
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("ones", [True, False])
def test_a_sparse_matrix_is_one_column(tmp_path, ones):
    """Of a matrix of ones, whose values say nothing, it is told how often each feature is there."""
    x = scipy.sparse.random_array((200, 3000), density=0.01, rng=np.random.default_rng(2), format="csr",
                                  dtype=np.float32)
    x.data[:] = 1 if ones else x.data - 0.5
    if not ones:
        x.data[:len(x.data) // 2] = 1  # the first shards leave out their values
    data = write_arrays(str(tmp_path / "d"), x, np.arange(200) % 2, classes=("a", "b"))
    row, = inspect(data.folder)["columns"]
    sketch, rows = row["sketch"], np.bincount(x.indices, minlength=3000)
    assert (sketch["filled"], sketch["of"]) == (np.count_nonzero(rows), 3000)
    assert (row["kind"], row["features"], row["missing"]) == ("sparse matrix", 3000, 0)
    if ones:
        assert (sketch["shows"], row["range"]) == ("features", "1 to 1")
        assert sketch["counts"] == sorted(rows.tolist())[:-13:-1]
    else:
        assert sketch["shows"] == "nonzero values"
        assert sketch["counts"] == np.histogram(x.data.astype(np.float64), BINS)[0].tolist()


def test_bytes_are_one_matrix(tmp_path):
    x = np.random.default_rng(1).integers(0, 200, (64, 9), np.uint8)
    row, = inspect(write_arrays(str(tmp_path / "d"), x, np.zeros(64), scale=1 / 255).folder)["columns"]
    assert (row["kind"], row["features"], row["range"]) == ("matrix", 9, f"{x.min()} to {x.max()}")
    assert_histogram(row["sketch"], x)


def test_a_data_set_without_rows(tmp_path):
    for name, x in (("dense", np.empty((0, 3))), ("csr", scipy.sparse.csr_array((0, 3)))):
        found = inspect(write_arrays(str(tmp_path / name), x, np.empty(0)).folder)
        assert (found["labels"], found["sketched_rows"]) == ({}, 0)
        assert {row["range"] for row in found["columns"]} == {""}
        print_inspection(found, io.StringIO())


@pytest.mark.parametrize("kind", ["dense", "csr"])
def test_a_sample_is_spread_evenly_and_small(tmp_path, kind):
    """The first feature is the number of the row, from 1."""
    x = np.column_stack([np.arange(1, 5001), np.ones(5000)]).astype(np.float32)
    x = x if kind == "dense" else scipy.sparse.csr_array(x)
    data = write_arrays(str(tmp_path / "d"), x, np.arange(5000.0), shards=7)
    row_bytes = 8 if kind == "dense" else 16
    sample = take_sample(data, 640 * row_bytes)
    first, = (block for block in sample.blocks(0, 1))
    assert (first[:, 0] - 1 == sample.y).all()
    assert sample.y.tolist() == [5000 * run // 64 + i for run in range(64) for i in range(10)]
    assert take_sample(data, 1).rows == 1
    assert take_sample(data, 5000 * row_bytes).rows == 5000
    np.testing.assert_array_equal(take_sample(data, 640 * row_bytes).y, sample.y)


def test_many_columns_are_quick_and_few_are_shown(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    data = write_arrays(str(tmp_path / "d"), random.normal(size=(1200, 10_000)).astype("f4"),
                        random.normal(size=1200))
    assert take_sample(data).x.nbytes <= SAMPLE_BYTES
    found = inspect(data.folder)
    assert (found["sketched_rows"], len(found["columns"])) == (832, 10_000)
    out = io.StringIO()
    print_inspection(found, out)
    lines = out.getvalue().splitlines()
    assert len(lines) < 60
    assert lines[-3:] == ["... and 9,965 more; --json has them all", "",
                          "missing, range: of 832 of 1,200 rows, evenly spread"]


def on_terminal(*argv: object, columns: int = 80, **variables: str) -> str:
    """What ``mr-gradient inspect`` shows where stdout is a terminal, line ends made plain."""
    driver, terminal = pty.openpty()
    shown = bytearray()
    with subprocess.Popen([sys.executable, "-m", "mr_gradient", "inspect", *map(str, argv)],
                          stdin=subprocess.DEVNULL, stdout=terminal, stderr=subprocess.STDOUT,
                          env=environment(COLUMNS=str(columns), TERM="xterm-256color",
                                          **variables)) as child:
        os.close(terminal)
        try:
            while piece := os.read(driver, 4096):
                shown += piece
        except OSError:  # how Linux says that a terminal has ended
            pass
        finally:
            os.close(driver)
    assert child.returncode == 0, shown.decode()
    return shown.decode().replace("\r\n", "\n")


def plain(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_a_bar_a_column(csv, tmp_path, columns):
    spec = {"columns": {"city": {"hash": {"bits": 18}}, "mass": {"impute": 0}}}
    data = make(csv, tmp_path / "data", spec=spec)
    shown = on_terminal(data.folder, columns=columns, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown), "no colour"
    lines = plain(shown)
    assert max(map(len, lines)) <= columns
    for name in ("size", "mass", "city"):
        line, = (line for line in lines if line.startswith(name))
        sketch = by_column(inspect(data.folder))[name]
        assert len(BLOCKS.search(line)[0]) <= len(sketch["counts"])
        # The highest bar is where the most are.
        at = line.index(BLOCKS.search(line)[0])
        bars = line[at:at + BINS].ljust(BINS)
        assert bars[int(np.argmax(sketch["counts"]))] == "█"
    assert lines[-3:] == ["", "numbers     how many are in each twelfth of their range, as stored",
                          "hashes      rows in each bucket, the fullest first"]


def test_a_terminal_without_block_letters_gets_the_table_alone(csv, tmp_path):
    data = make(csv, tmp_path / "data")
    ascii_only = on_terminal(data.folder, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert ascii_only.isascii()
    assert "sketch" not in ascii_only
    assert "\\u25" not in ascii_only
    assert "size" in ascii_only


def test_a_pipe_gets_plain_lines(csv, tmp_path, capfd, monkeypatch):
    data = make(csv, tmp_path / "data")
    monkeypatch.setenv("COLUMNS", "300")  # what the terminal has, which is none of a file's business
    assert command("inspect", data.folder) == 0
    out, err = capfd.readouterr()
    assert (err, "\x1b" in out, BLOCKS.search(out)) == ("", False, None)
    assert all(line == line.rstrip() and len(line) <= 80 for line in out.splitlines()
               if not line.startswith("data "))
    found = answer(capfd, "inspect", data.folder)
    assert all(len(sketch["counts"]) <= BINS for sketch in by_column(found).values())


def test_names_are_shown_as_they_are(tmp_path, capfd):
    """Neither as markup, nor as instructions to the terminal, nor without an end."""
    names = ["[red]a[/red]", ":smile:", "\x1b[31mx", "n" * 500]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([",".join([*names, "label"]), *(f"{i},{i * i},{-i},{i % 3},{i % 2}"
                                                              for i in range(20))]) + "\n")
    folder = make(path, tmp_path / "data").folder
    assert command("inspect", folder) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    flat = "".join(line.split(" ")[0] for line in out.splitlines())
    for name in ("[red]a[/red]", ":smile:", "\\x1b[31mx", "n" * 57 + "..."):
        assert name in flat
    assert "n" * 58 not in flat


def test_what_is_damaged_is_one_line(csv, tmp_path, capfd):
    data = make(csv, tmp_path / "data", dtype="float64")
    file = tmp_path / "data/dataset.json"
    whole = file.read_text()
    for change, words in (
            (lambda value: value["train"][0].update(rows=value["train"][0]["rows"] + 1),
             ["00000.safetensors", "prepare the data set again"]),
            (lambda value: value["options"]["plan"]["parts"].pop(), ["plan has 2 features"]),
            (lambda value: value["schema"].update(classes=["0"]), ["labels must be classes 0 to 0"])):
        value = json.loads(whole)
        change(value)
        file.write_text(json.dumps(value))
        refused(capfd, tmp_path, "inspect", data.folder, words=words)
    file.write_text(whole)
    (tmp_path / "data" / data.train[0].path).unlink()
    refused(capfd, tmp_path, "inspect", data.folder, words=["00000.safetensors", "cannot be read"])


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_data(request, tmp_path_factory)


def test_a9a(real, tmp_path):
    data = make(real / "a9a.bz2", tmp_path / "data", format_options={"width": 123})
    row, = inspect(data.folder)["columns"]
    rows = np.count_nonzero(features(data), axis=0)
    assert (row["sketch"]["shows"], row["sketch"]["filled"]) == ("features", np.count_nonzero(rows))
    assert row["sketch"]["counts"] == sorted(rows.tolist())[:-13:-1]
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(str(tmp_path / "nothing"))
