"""Commands that end early: divergence (status 3), Ctrl-C (status 130) and kills leave what is good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_tools import (
    PROGRESS,
    answer,
    assert_one_line,
    command,
    environment,
    listing,
    refused,
    small,
)

from mr_gradient import checkpoint
from mr_gradient.models import Linear


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    small(folder, "two")
    (folder / "steep.csv").write_text("a,label\n1000,1.5\n2000,3.5\n-3000,2\n", encoding="utf-8")
    assert command("prepare", folder / "steep.csv", "--out", folder / "steep",
                   "--numbers", "pass") == 0
    return folder


STEEP = np.array([[1000], [2000], [-3000]], np.float32), np.array([1.5, 3.5, 2], np.float32)


#: At 1 and 10 the loss grows for some iterations; at 1e35 the parameters of iteration 1 are finite
#: and their loss is not; at 1e38 these parameters are not finite.
@pytest.mark.fast
@pytest.mark.parametrize(("rate", "l2", "iterations"), [
    ("10", "0", 1000), ("1", "0", 1000), ("1e30", "0", 1000), ("1e30", "0", 2), ("1e35", "0", 1000),
    ("1e35", "0", 2), ("1e35", "0", 1), ("1e38", "0", 1000), ("1e38", "0", 1),
    ("0.1", "1e39", 2), ("1e30", "1e20", 1000)])
def test_divergence(tmp_path, capfd, data, rate, l2, iterations):
    base = ["train", "--data", data / "steep", "--model", "linear", "--out", tmp_path / "m"]
    capfd.readouterr()
    status = command(*base, "--iterations", iterations, "--learning-rate", rate, "--l2", l2,
                     "--json")
    out, err = capfd.readouterr()
    assert (status, out) == (3, "")
    done = sum(bool(PROGRESS.match(line)) for line in err.splitlines())
    assert_one_line(err, ["diverged", "--learning-rate"])
    last = err.splitlines()[-1]
    assert f"iteration {done + 1}:" in last or f"iteration {done}:" in last
    assert "model.json" not in listing(tmp_path)
    kept = checkpoint.iterations(str(tmp_path / "m"))
    if kept:
        assert f"iteration {kept[-1]} is kept" in last
        parameters = checkpoint.load(str(tmp_path / "m"), kept[-1]).parameters
        assert all(np.isfinite(array).all() for array in parameters.values())
        with np.errstate(all="ignore"):
            sums = Linear(1).accumulate(parameters, *STEEP, None, None)
        assert np.isfinite(sums["loss"])
    # The advice works: a lower rate in the same place.
    assert answer(capfd, *base, "--iterations", "2", "--learning-rate", "1e-9",
                  *["--restart"] * bool(kept))["loss"] < 10


@pytest.mark.fast
def test_divergence_does_not_spoil_what_was_there(tmp_path, capfd, data):
    """Going on from a good model with the same options, and no number that is not finite."""
    base = ["train", "--data", data / "steep", "--model", "linear", "--out", tmp_path / "m",
            "--learning-rate", "1e-5", "--momentum", "0.99", "--optimizer", "momentum"]
    answer(capfd, *base, "--iterations", "2")
    before = (tmp_path / "m" / "model.json").read_bytes()
    assert command(*base, "--iterations", "3000") == 3
    assert_one_line(capfd.readouterr().err, ["diverged"])
    assert (tmp_path / "m" / "model.json").read_bytes() == before


def start(*argv: object, temporary) -> subprocess.Popen:
    """A training in a session of its own, three iterations after its start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mr_gradient", *map(str, argv)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, start_new_session=True,
        env=environment(TMPDIR=str(temporary)))
    for _ in range(3):
        assert PROGRESS.match(process.stderr.readline())
    return process


def assert_session_is_gone(pid: int) -> None:
    """No process of the session is left; whoever reaps orphans may take a moment."""
    for _ in range(200):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(f"processes of session {pid} are left")


@pytest.mark.parametrize("runner", ["inline", "local"])
@pytest.mark.parametrize(("number", "to"), [
    (signal.SIGINT, "driver"), (signal.SIGINT, "group"), (signal.SIGTERM, "driver")])
def test_interrupted(tmp_path, capfd, data, number, to, runner):
    """A terminal sends Ctrl-C to the whole group; SIGTERM goes to one process."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    argv = ["train", "--data", data / "two", "--model", "logistic", "--out", tmp_path / "m",
            "-r", runner, "--num-cores", "2"]
    process = start(*argv, "--iterations", "100000", "--json", temporary=temporary)
    try:
        (os.killpg if to == "group" else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, "")
    assert_one_line(err, ["interrupted", "same command again"])
    assert_session_is_gone(process.pid)
    assert listing(temporary) == []
    if os.path.isdir("/dev/shm"):
        prefix = f"mr_gradient-{process.pid}-"
        assert not [name for name in os.listdir("/dev/shm") if name.startswith(prefix)]
    assert not [name for name in listing(tmp_path) if ".tmp-" in name]
    done = checkpoint.iterations(str(tmp_path / "m"))[-1]
    assert done >= 3
    # The same command goes on; of as many iterations as a whole run it makes the same bits.
    answer(capfd, *argv[:-4], "--iterations", done + 2)
    argv[argv.index("--out") + 1] = tmp_path / "whole"
    answer(capfd, *argv[:-4], "--iterations", done + 2)
    assert ((tmp_path / "m" / "model.safetensors").read_bytes()
            == (tmp_path / "whole" / "model.safetensors").read_bytes())
    assert [line.count(b"iteration") for line in
            (tmp_path / "m" / "history.jsonl").read_bytes().splitlines()] == [1] * (done + 2)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A table that takes seconds, and the data set that an undisturbed preparation makes of it."""
    folder = tmp_path_factory.mktemp("large")
    x = np.random.default_rng(5).normal(size=(20_000, 8)).round(4).astype("U")
    rows = [",".join([*row, "no" if i % 3 else "yes"]) for i, row in enumerate(x.tolist())]
    text = "\n".join(rows) + "\n"
    with open(folder / "in.csv", "w", encoding="utf-8") as file:
        file.write(",".join([*(f"f{i}" for i in range(8)), "label"]) + "\n")
        for _ in range(30):  # more than a piece, so that two processes work
            file.write(text)
    assert command("prepare", folder / "in.csv", "--out", folder / "whole", "--json") == 0
    return folder


def partial(folder: Path) -> list[Path]:
    return list(folder.glob(".new.partial-*"))


def preparing(source: Path, tmp_path: Path, until: str, *options: str) -> subprocess.Popen:
    """A preparation in a session of its own, once it has made what is called ``until`` in the
    folder of the data set in the making."""
    (tmp_path / "temporary").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "mr_gradient", "prepare", source / "in.csv", "--out", tmp_path / "new",
         "--num-cores", "2", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        start_new_session=True, env=environment(TMPDIR=str(tmp_path / "temporary")))
    end = time.monotonic() + 60
    while not any((folder / until).exists() for folder in partial(tmp_path)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.002)
    return process


@pytest.mark.parametrize("until", [".owner", "segments"])
@pytest.mark.parametrize(("number", "to", "options"), [
    (signal.SIGINT, "driver", []), (signal.SIGINT, "group", []), (signal.SIGTERM, "driver", []),
    (signal.SIGINT, "group", ["-r", "local"])])
def test_prepare_interrupted(tmp_path, large, number, to, options, until):
    """In the pass that counts, and in the one that writes: nothing is left, and no process."""
    process = preparing(large, tmp_path, until, *options)
    try:
        (os.killpg if to == "group" else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, "")
    assert_one_line(err, ["interrupted"])
    assert_session_is_gone(process.pid)
    assert listing(tmp_path) == ["temporary"]


@pytest.mark.parametrize("until", [".owner", "segments"])
def test_prepare_killed(tmp_path, capfd, large, until):
    """What is left looks like no data set, and the next preparation removes it and is whole."""
    process = preparing(large, tmp_path, until)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert_session_is_gone(process.pid)
    assert partial(tmp_path)
    assert not (tmp_path / "new").exists()
    assert not [name for name in listing(tmp_path) if name.endswith("dataset.json")]
    for command_ in (["inspect", tmp_path / "new"],
                     ["train", "--data", tmp_path / "new", "--model", "logistic", "--out",
                      tmp_path / "m"]):
        refused(capfd, tmp_path, *command_, words=["new", "no such folder"])
    answer(capfd, "prepare", large / "in.csv", "--out", tmp_path / "new")
    assert not partial(tmp_path)
    for name in listing(large / "whole"):
        if (large / "whole" / name).is_file():
            assert (tmp_path / "new" / name).read_bytes() == (large / "whole" / name).read_bytes()
    assert listing(tmp_path / "new") == listing(large / "whole")
