"""``mr-gradient prepare``: options that cannot be, input like that of another data set, full disks."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_tools import answer, assert_one_line, environment, listing, put, read_data, refused

pytestmark = pytest.mark.fast

ROWS = [f"{i},{i % 7},{'xy'[i % 2]}" for i in range(40)]
TABLE = "\n".join(["a,b,label", *ROWS]) + "\n"

#: (options, files beside in.csv, words of the message)
OPTIONS = [
    (["--format", "cvs"], {}, ["--format cvs", "csv"]),
    (["--preset", "crito"], {}, ["--preset crito", "criteo"]),
    (["--preset", "criteo", "--format", "csv"], {}, ["--format csv", "--preset criteo is tsv"]),
    (["--format", "parquet"], {}, ["in.csv", "Parquet"]),
    (["--width", "3"], {}, ["--width", "option of libsvm", "csv"]),
    (["--first-index", "1"], {}, ["--first-index", "option of libsvm", "csv"]),
    (["--labels", "in.csv"], {}, ["--labels", "option of", "idx", "csv"]),
    (["--image-size", "4,4"], {}, ["--image-size", "option of images", "csv"]),
    (["--image-size", "4x4"], {}, ["--image-size", "'4x4'", "HEIGHT,WIDTH"]),
    (["--image-size", "0,4"], {}, ["--image-size", "'0,4'"]),
    (["--delimiter", "ab"], {}, ["--delimiter", "'ab'"]),
    (["--kind", "a=text"], {}, ["--kind", "'a=text'", "COLUMN=word"]),
    (["--kind", "aa=word"], {}, ["--kind aa", "in.csv", "'aa'", "a, b, label"]),
    (["--target", "labels"], {}, ["--target labels", "'label'?"]),
    (["--weight", "aa"], {}, ["--weight aa", "'a'?"]),
    (["--group", "city"], {}, ["--group city", "a, b, label"]),
    (["--weight", "label"], {}, ["target, weight and group", "different"]),
    (["--numbers", "standardise"], {}, ["--numbers", "'standardise'", "standardize"]),
    (["--transforms", "absent.yaml"], {}, ["absent.yaml", "No such file"]),
    (["--transforms", "t.yaml"], {"t.yaml": "colums:\n  a: pass\n"},
     ["t.yaml", "'colums'", "'columns'?"]),
    (["--transforms", "t.yaml"], {"t.yaml": "columns:\n  labl: pass\n"},
     ["t.yaml", "'labl'", "'label'?"]),
    (["--transforms", "t.yaml"], {"t.yaml": "columns:\n  a: standardise\n"},
     ["t.yaml", "'standardise'", "'standardize'?"]),
    (["--transforms", "t.yaml"], {"t.yaml": "columns:\n  a: {one_hot: {cpa: 3}}\n"},
     ["t.yaml", "'cpa'", "'cap'?"]),
    (["--transforms", "t.yaml"], {"t.yaml": "columns: [a\n"}, ["t.yaml", "YAML", "line 1"]),
    (["--transforms", "t.yaml"], {"t.yaml": "- a\n"}, ["t.yaml", "mapping", "['a']"]),
    (["--max-bad-rows", "3"], {}, ["--max-bad-rows 3", "--on-bad-row skip"]),
    (["--stratify"], {}, ["--stratify", "--test-fraction"]),
    (["--stratify", "--test-fraction", "0.5", "--group", "b"], {}, ["--stratify", "--group"]),
    (["--stratify", "--test-fraction", "0.5", "--target", "a", "--target-type", "value"], {},
     ["--stratify", "classes"]),
    (["--class-weight", "balanced", "--target", "a", "--target-type", "value"], {},
     ["--class-weight balanced", "classes"]),
    (["--like", "absent"], {}, ["--like absent", "data set", "model"]),
    (["--like", "."], {}, ["--like .", "data set", "model"]),
    (["--overwrit"], {}, ["--overwrit:", "--overwrite?"]),
    (["--num-cores", "x"], {}, ["--num-cores", "'x'"]),
]


@pytest.mark.parametrize(("options", "files", "words"), OPTIONS,
                         ids=[" ".join(each[0]) for each in OPTIONS])
def test_an_option_that_cannot_be(tmp_path, capfd, monkeypatch, options, files, words):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"in.csv": TABLE, **files})
    refused(capfd, tmp_path, "prepare", "in.csv", "--out", "new", *options, words=words)


@pytest.fixture
def like(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, {"in.csv": TABLE})
    answer(capfd, "prepare", "in.csv", "--out", "before", "--dtype", "float64")
    return tmp_path


def test_a_label_that_training_has_not(like, capfd):
    put(like, {"test.csv": "b,label,a\n1,x,2\n3,z,4\n5,y,6\n"})
    argv = ["prepare", "test.csv", "--like", "before", "--out", "new"]
    refused(capfd, like, *argv, words=["test.csv, line 3, column 'label'", "(x, y)", "found 'z'"])
    result = answer(capfd, *argv, "--on-bad-row", "skip", "--max-bad-rows", "1")
    assert (result["examples"], result["bad_rows"], result["classes"]) == (2, 1, ["x", "y"])


def test_columns_in_another_order_are_the_same_features(like, capfd):
    """Columns go by name: their order, others beside them and other quoting change nothing."""
    rows = [row.split(",") for row in ROWS[:9]]
    put(like, {"one.csv": "a,b,label\n" + "".join(f"{a},{b},{y}\n" for a, b, y in rows),
               "two.csv": "new;label;b;a\n" + "".join(f"q;{y};{b};{a}\n" for a, b, y in rows),
               "three.jsonl": "".join(json.dumps({"label": y, "b": int(b), "a": float(a)}) + "\n"
                                      for a, b, y in rows)})
    for name in ("one.csv", "two.csv", "three.jsonl"):
        answer(capfd, "prepare", name, "--like", "before", "--out", name.partition(".")[0],
               "--shards", "1")
    x, y = read_data(like / "one", "train")
    raw = np.array([[float(a), float(b)] for a, b, _ in rows])
    table = np.array([[float(i), i % 7] for i in range(40)])
    # One piece, dealt to one shard, keeps the order.
    np.testing.assert_allclose(x, (raw - table.mean(axis=0)) / table.std(axis=0), rtol=1e-12)
    for other in ("two", "three"):
        assert [each.tolist() for each in read_data(like / other, "train")] == [x.tolist(), y.tolist()]


@pytest.mark.parametrize(("files", "words"), [
    ({"t.csv": "a,label\n1,x\n2,y\n"}, ["--like before", "['b']", "t.csv"]),
    ({"t.libsvm": "1 1:2\n0 2:3\n"}, ["--like before", "made of csv", "libsvm"])],
    ids=["column", "format"])
def test_input_that_is_not_like_the_other(like, capfd, files, words):
    put(like, files)
    refused(capfd, like, "prepare", *files, "--like", "before", "--out", "new", words=words)


def test_an_unseen_category_is_no_fault(tmp_path, capfd, monkeypatch):
    """All zeros where every category has a feature, the feature of the rest where not all have."""
    monkeypatch.chdir(tmp_path)
    cities = ["Oslo", "Rome", "Bern", "Kyiv"]
    put(tmp_path, {"in.csv": "city,label\n" + "".join(f"{cities[i * i % 4 if i % 8 else 3]},{i % 2}\n"
                                                      for i in range(40)),
                   "test.csv": "city,label\nOslo,0\nLima,1\n,0\n",
                   "two.yaml": "columns: {city: {one_hot: {cap: 1}}}\n"})
    answer(capfd, "prepare", "in.csv", "--out", "all")
    answer(capfd, "prepare", "in.csv", "--out", "most", "--transforms", "two.yaml")
    for name, features, expected in (
            ("all", ["city=Kyiv", "city=Oslo", "city=Rome"], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
            ("most", ["city=Rome", "city=(other)"], [[0, 1], [0, 1], [0, 1]])):
        answer(capfd, "prepare", "test.csv", "--like", name, "--out", f"{name}-test", "--shards", "1")
        described = json.loads((tmp_path / f"{name}-test" / "dataset.json").read_text(encoding="utf-8"))
        assert described["schema"]["features"] == features
        assert read_data(tmp_path / f"{name}-test", "train")[0].tolist() == expected


BIG = "a,b,label\n" + "".join(f"{i / 7:.9f},{i % 11},{'xy'[i % 2]}\n" for i in range(60_000))
RUN = [sys.executable, "-c", "from mr_gradient.cli import main; raise SystemExit(main())", "prepare"]


def assert_refused_by_the_system(done: subprocess.CompletedProcess, folder: Path, kept: list[str],
                                 words: tuple[str, ...]) -> None:
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert_one_line(done.stderr, words)
    assert listing(folder) == kept


@pytest.mark.parametrize("cores", ["1", "2"])
def test_a_file_that_may_not_grow(tmp_path, cores):
    """As on a full disk, which not everybody can make: a write fails in the middle of the pass."""
    put(tmp_path, {"in.csv": BIG})

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run([*RUN, "in.csv", "--out", "new", "--num-cores", cores], cwd=tmp_path,
                          text=True,
                          capture_output=True, check=False, env=environment(), preexec_fn=limit)
    assert_refused_by_the_system(done, tmp_path, ["in.csv"], ("new", "cannot be written", "too large"))


@contextlib.contextmanager
def small_disk(folder: Path):
    """A disk of 1 MiB at ``folder``. Skips where this user may not have one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not sys.platform.startswith("linux") or libc.mount(b"none", bytes(folder), b"tmpfs", 0,
                                                          b"size=1m"):
        pytest.skip("only root may mount a disk, on Linux")
    try:
        yield
    finally:
        libc.umount2(bytes(folder), 2)


@pytest.mark.parametrize("cores", ["1", "2"])
def test_a_disk_that_fills_up(tmp_path, cores):
    put(tmp_path, {"in.csv": BIG})
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk"):
        done = subprocess.run([*RUN, "in.csv", "--out", "disk/new", "--num-cores", cores], cwd=tmp_path,
                              text=True, capture_output=True, check=False, env=environment())
        assert_refused_by_the_system(done, tmp_path, ["disk", "in.csv"],
                                     ("new", "cannot be written", "No space left"))
        done = subprocess.run([*RUN, "in.csv", "--out", "new"], cwd=tmp_path, text=True,
                              capture_output=True, check=False, env=environment())
        assert done.returncode == 0, done.stderr


def test_a_folder_that_cannot_be_written(tmp_path, capfd):
    put(tmp_path, {"in.csv": TABLE})
    if os.geteuid():
        (tmp_path / "shut").mkdir()
        (tmp_path / "shut").chmod(0o555)
        refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", tmp_path / "shut" / "new",
                words=["--out", "shut/new", "Permission denied"])
    if not os.path.isdir("/proc/self"):
        pytest.skip("needs a folder that root cannot write to")
    refused(capfd, tmp_path, "prepare", tmp_path / "in.csv", "--out", "/proc/new",
            words=["--out /proc/new", "cannot be"])
