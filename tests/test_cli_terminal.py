"""The command with a terminal, and with a reader that goes away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from cli_tools import PROGRESS, environment, listing, on_terminal, small


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small(tmp_path_factory.mktemp("data"), "three")


def train(data, out, *options: object) -> list[str]:
    return [sys.executable, "-m", "mr_gradient", "train", "--data", str(data), "--model", "softmax",
            "--out", str(out), *map(str, options)]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_reader_that_goes_away(tmp_path, data, options):
    """``| head -1`` ends the command without a stack trace, and the model is there."""
    writer = subprocess.Popen(train(data, tmp_path / "m", "--iterations", 2, *options),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=environment())
    writer.stdout.close()
    err = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait(60) == 141
    assert all(PROGRESS.match(line) for line in err.splitlines()), err
    assert "model.json" in listing(tmp_path / "m")


def test_disk_of_stdout_that_is_full(tmp_path, data):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(train(data, tmp_path / "m", "--iterations", 1), stdout=full,
                              stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert done.returncode not in (0, 120)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_bar_shows_the_iterations(tmp_path, data, columns):
    """The count of the iterations is what the bar is for: it stays when the line is narrow."""
    done, shown = on_terminal(train(data, tmp_path / "m", "--iterations", 7, "--json"), columns)
    assert done.returncode == 0
    json.loads(done.stdout)
    last = shown.strip().splitlines()[-1].split("\r")[-1].rstrip()
    assert re.search(r"\b7/7\b", last), last
    assert re.search(r"loss \d", last), last
    assert len(last) <= columns


def test_error_stands_below_the_bar(tmp_path, data):
    """The line of an error starts at the left margin, and is the last that a terminal shows."""
    arguments = train(data, tmp_path / "m", "--iterations", 50, "--learning-rate", "1e38",
                      "--l2", "1")
    done, shown = on_terminal(arguments, 80)
    assert (done.returncode, done.stdout) == (3, "")
    assert "Traceback" not in shown
    assert "Warning" not in shown
    assert re.search(r"\nmr-gradient: iteration \d+: diverged", shown.replace("\r", "")), shown
    assert shown.replace("\r", "").strip().splitlines()[-1].startswith("mr-gradient: ")
