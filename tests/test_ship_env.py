"""``--ship-env`` on a real Hadoop whose Python has no packages, and what is said without it."""

from __future__ import annotations

import json
import re
import sys
import time

import pytest
from cli_tools import DIGITS, answer, command
from hadoop_tools import User, left_here, left_in_hdfs
from trainings import bits, run

MODEL = {"model": "softmax", "learning_rate": 1.0}
TRAIN = ("--model", "softmax", "--learning-rate", "1", "--iterations", "1", "--json")
ARCHIVES = "/user/hadoop/.mr_gradient/environments"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The digits, as two shards for training and one that is held out, on this machine; a model."""
    folder = tmp_path_factory.mktemp("digits")
    assert command("prepare", DIGITS, "--out", folder / "digits", "--test-fraction", "0.2",
                   "--shards", "2", "--json") == 0
    run(str(folder / "digits"), folder / "model", 1, **MODEL)
    return folder


@pytest.fixture(scope="module")
def data(hadoop, here):
    """The same in HDFS."""
    hadoop.run("fs", "-put", here / "digits", "digits-to-ship")
    yield f"hdfs://{hadoop.ports.address('name node')}/user/hadoop/digits-to-ship"
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "digits-to-ship", ".mr_gradient")


@pytest.fixture
def user(hadoop, tmp_path):
    user = User(hadoop, tmp_path)
    yield user
    assert left_in_hdfs(hadoop) == []
    assert left_here(user) == []


def python(folder, script: str):
    """A Python for the nodes, at a path without a space."""
    path = folder / "node-python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def archives(hadoop) -> dict[str, int]:
    """Names in the cache, and when they were written."""
    words = hadoop.run("fs", "-stat", "%n %Y", f"{ARCHIVES}/*", check=False).split()
    return dict(zip(words[::2], map(int, words[1::2])))


def age(hadoop, days: dict[str, float]) -> None:
    """Make files of the cache that look as if they had been written long ago."""
    hadoop.run("fs", "-touchz", *(f"{ARCHIVES}/{name}" for name in days))
    for name, number in days.items():
        hadoop.web_hdfs(f"{ARCHIVES}/{name}", "SETTIMES", "hadoop",
                        modificationtime=str(int((time.time() - number * 86400) * 1000)))


def test_a_python_without_packages(hadoop, user, here, data, tmp_path, capfd):
    bare = python(tmp_path, f"exec '{sys.executable}' -S \"$@\"")
    options = [*user.options, "--python-bin", bare]
    before = len(hadoop.resource_manager.applications())

    done = user.run("train", "--data", data, *TRAIN, "--out", tmp_path / "m", *options)
    assert (done.returncode, done.stdout) == (2, "")
    first, said = done.stderr.splitlines()
    assert first.startswith("the jobs are on YARN, the first at ")
    node, python_bin = r"127\.0\.0\.[23]", re.escape(sys.executable)
    assert re.fullmatch(
        rf"mr-gradient: the tasks cannot run: {node}(, {node})?: Python [\d.]+ \({python_bin}\) "
        "has no numpy; install numpy there, name another Python with --python-bin, or add --ship-env",
        said)
    # One job, in which no task was tried again.
    [job] = hadoop.resource_manager.applications()[before:]
    assert job["finalStatus"] == "SUCCEEDED"
    assert archives(hadoop) == {}

    done = user.run("train", "--data", data, *TRAIN, "--out", tmp_path / "m", *options, "--ship-env")
    assert done.returncode == 0, done.stderr
    assert bits(tmp_path / "m") == bits(here / "model")
    [line] = [json.loads(text) for text in (tmp_path / "m" / "history.jsonl").read_text().splitlines()]
    assert (line["job"]["failed_map_tasks"], line["job"]["failed_reduce_tasks"]) == (0, 0)
    staged = archives(hadoop)
    digest = next(iter(staged)).partition(".")[0]
    assert {*staged} == {f"{digest}.zip", f"{digest}.used"}

    # The next run stages nothing, and removes what nobody has used for a month.
    other = "0" * 31
    age(hadoop, {f"{other}1.zip": 40, f"{other}2.zip": 40, f"{other}2.used": 20, f"{other}3.part": 2,
                 f"{other}4.part": 0.5})
    done = user.run("evaluate", "--data", data, "--model", here / "model", "--json", *options,
                    "--ship-env")
    assert done.returncode == 0, done.stderr
    expected = answer(capfd, "evaluate", "--data", here / "digits", "--model", here / "model")
    assert json.loads(done.stdout) == {**expected, "seconds": json.loads(done.stdout)["seconds"]}
    left = archives(hadoop)
    assert left[f"{digest}.zip"] == staged[f"{digest}.zip"]
    assert left[f"{digest}.used"] > staged[f"{digest}.used"]
    assert {name[31:] for name in left if name.startswith(other)} == {"2.zip", "2.used", "4.part"}


@pytest.mark.long
def test_one_node_without_packages(hadoop, user, here, data, tmp_path, capfd):
    """It is named, and its tasks go to others. Here the first attempt of a task stands for it."""
    mixed = python(tmp_path, 'case "$mapreduce_task_attempt_id" in\n'
                             f"*_m_000000_0) exec '{sys.executable}' -S \"$@\" ;;\n"
                             f"*) exec '{sys.executable}' \"$@\" ;;\nesac")
    done = user.run("evaluate", "--data", data, "--model", here / "model", "--part", "train", "--json",
                    *user.options, "--python-bin", mixed)
    assert done.returncode == 0, done.stderr
    expected = answer(capfd, "evaluate", "--data", here / "digits", "--model", here / "model", "--part",
                      "train")
    assert json.loads(done.stdout) == {**expected, "seconds": json.loads(done.stdout)["seconds"]}
    _, warning = done.stderr.splitlines()
    assert re.match(r"warning: tasks are run again on other nodes, since 127\.0\.0\.[23]: Python .* "
                    "has no numpy; install numpy there", warning)
