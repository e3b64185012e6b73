"""``-r spark``: the bits of inline on this machine and on a cluster of processes, and no traces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_tools import DIGITS, PROGRESS, answer, assert_one_line, command, environment, listing
from spark_cluster import SparkCluster, alive, with_variable
from trainings import RECIPES, Silent, bits, run

from mr_gradient import checkpoint, fingerprint
from mr_gradient.errors import DataError, TaskError
from mr_gradient.jobs.engines import spark_application

LOCAL = ["--spark-master", "local[2]"]


@pytest.fixture(scope="module")
def digits(tmp_path_factory, spark_ready) -> Path:
    """The data set, and the models that inline makes of it in 5 iterations."""
    folder = tmp_path_factory.mktemp("digits")
    assert command("prepare", DIGITS, "--out", folder / "data", "--test-fraction", "0.2",
                   "--json") == 0
    for name, recipe in RECIPES.items():
        run(str(folder / "data"), folder / name, 5, **recipe)
    return folder


@pytest.fixture(scope="module")
def spark(spark_ready):
    with SparkCluster() as cluster:
        yield cluster


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The temporary folder, which must be empty at the end, as must be the list of its users."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield folder
    assert not gone(lambda: with_variable(f"TMPDIR={folder}"))
    assert listing(folder) == []


def gone(found, seconds: float = 10):
    """What is still found after a moment."""
    end = time.monotonic() + seconds
    while (left := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return left


class Watched(Silent):
    """Keeps all that a training says; calls a function in an iteration while its job runs."""

    def __init__(self, function=None, iteration: int = 2) -> None:
        self.words: list[str] = []
        self.notes: list[str] = []
        self._function, self._left = function, iteration

    def iteration(self, line: dict) -> None:
        self._left -= 1

    def job(self, text: str) -> None:
        self.words.append(text)
        if self._function and self._left <= 1 and self._function(text):
            self._function = None

    def note(self, text: str) -> None:
        self.notes.append(text)


def jobs(out: Path) -> list[dict]:
    return [json.loads(line)["job"] for line in (out / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", RECIPES)
def test_same_bits_on_this_machine(tmp_path, temporary, digits, name):
    before, handler = os.environ.copy(), signal.getsignal(signal.SIGINT)
    watched = Watched()
    run(str(digits / "data"), tmp_path / "m", 5, watched, LOCAL, runner="spark", **RECIPES[name])
    assert bits(tmp_path / "m") == bits(digits / name)
    told = jobs(tmp_path / "m")
    assert len({each["application"] for each in told}) == 1
    assert {(each["map_tasks"], each["failed_map_tasks"], each["failed_reduce_tasks"])
            for each in told} == {(9, 0, 0)}
    assert all(each["shuffled_bytes"] > 1000 for each in told)
    assert any(words.startswith("map ") for words in watched.words)
    assert watched.notes == []
    assert signal.getsignal(signal.SIGINT) is handler
    assert {name for name in before if not name.startswith("SPARK_")} <= set(os.environ)


@pytest.mark.parametrize("name", RECIPES)
def test_same_bits_on_a_cluster(tmp_path, temporary, digits, spark, monkeypatch, name):
    """With a variable that chooses kernels: had it not reached the executors, there were a note."""
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    fingerprint.describe.cache_clear()
    watched = Watched()
    run(f"file://{digits / 'data'}", tmp_path / "m", 5, watched, spark.options, runner="spark",
        **RECIPES[name])
    monkeypatch.undo()
    fingerprint.describe.cache_clear()
    assert bits(tmp_path / "m") == bits(digits / name)
    assert watched.notes == []
    assert not gone(spark.executors)
    # Spark keeps what it calls the work folder of an application; of ours there is the package.
    assert not gone(lambda: {os.path.basename(path) for path in spark.files()} - {"mr_gradient.zip"})


def test_kill_9_of_an_executor(tmp_path, temporary, digits, spark, monkeypatch):
    """While its task runs: the master starts another, and the bits are those of inline."""
    monkeypatch.setattr(spark_application, "_POLL_SECONDS", 0.02)
    killed = []

    def kill(words: str) -> bool:
        if words.startswith("map 0 of 9") and (found := spark.executors()):
            os.kill(found[0], signal.SIGKILL)
            killed.append(found[0])
        return bool(killed)

    run(f"file://{digits / 'data'}", tmp_path / "m", 5, Watched(kill), spark.options, runner="spark",
        **RECIPES["softmax"])
    assert len(killed) == 1
    assert not alive(killed[0])
    assert "because it is EXITED" in spark.log("master")
    assert bits(tmp_path / "m") == bits(digits / "softmax")


def test_a_task_that_fails_is_one_clear_error(tmp_path, temporary, digits):
    """As inline says it."""
    train_on_a_corrupted_shard(tmp_path, digits, LOCAL)


@pytest.mark.long
def test_a_task_that_fails_is_one_clear_error_of_a_cluster(tmp_path, temporary, digits, spark):
    """The last of its attempts reports it."""
    train_on_a_corrupted_shard(tmp_path, digits, spark.options)


def train_on_a_corrupted_shard(folder: Path, digits: Path, options: list[str]) -> None:
    shutil.copytree(digits / "data", folder / "data")
    shard = folder / "data" / "shards" / "00001.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match=r"00001.safetensors.*corrupted"):
        run(f"file://{folder / 'data'}", folder / "m", 5, None, options, runner="spark",
            **RECIPES["softmax"])


@pytest.mark.long
def test_a_python_that_dies_in_each_attempt(tmp_path, temporary, digits):
    with pytest.raises(TaskError, match="Python worker exited"):
        run(str(digits / "data"), tmp_path / "m", 2, Watched(lambda _: _kill_workers(temporary)), LOCAL,
            runner="spark", **RECIPES["mlp"])


def _kill_workers(temporary: Path) -> bool:
    found = [pid for pid, line in with_variable(f"TMPDIR={temporary}").items()
             if "pyspark.daemon" in line]
    for pid in found[1:]:
        os.kill(pid, signal.SIGKILL)
    return bool(found[1:])


@pytest.mark.parametrize("number", [signal.SIGINT,
                                    pytest.param(signal.SIGKILL, marks=pytest.mark.long)])
def test_an_interrupted_training_leaves_nothing(tmp_path, temporary, digits, number):
    """Ctrl-C, as a terminal sends it. After kill -9 of the driver its JVM ends itself, and the next
    driver removes the folder."""
    argv = ["train", "--data", str(digits / "data"), "--model", "softmax", "--learning-rate", "0.1",
            "--out", str(tmp_path / "m"), "-r", "spark", *LOCAL]
    with subprocess.Popen(
            [sys.executable, "-m", "mr_gradient", *argv, "--iterations", "5000"], text=True,
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True,
            env=environment()) as driver:
        try:
            for _ in range(2):
                assert PROGRESS.match(line := driver.stderr.readline()), line
            assert len(with_variable(f"TMPDIR={temporary}")) > 2
            os.killpg(driver.pid, number)
            err = driver.communicate(timeout=60)[1]
        finally:
            driver.kill()
    if number == signal.SIGINT:
        assert driver.returncode == 130
        assert_one_line(err, ["interrupted", "same command again"])
    else:
        assert not gone(lambda: with_variable(f"TMPDIR={temporary}"))
        done = checkpoint.iterations(str(tmp_path / "m"))[-1]
        assert command(*argv, "--iterations", done + 1, "--json") == 0


def test_prepare_and_evaluate(tmp_path, temporary, digits, capfd):
    """On this machine; the data set has the bytes that inline makes."""
    made = answer(capfd, "prepare", DIGITS, "--out", tmp_path / "data", "--test-fraction", "0.2", "-r",
                  "spark", *LOCAL)
    assert made["examples"] + made["held_out"] == 1797
    for path in (digits / "data" / "shards").iterdir():
        assert (tmp_path / "data" / "shards" / path.name).read_bytes() == path.read_bytes()
    there, here = (answer(capfd, "evaluate", "--model", digits / "mlp", "--data", tmp_path / "data",
                          *options) for options in (["-r", "spark", *LOCAL], []))
    assert {**there, "seconds": 0} == {**here, "seconds": 0}


@pytest.mark.long
def test_same_bits_on_yarn(tmp_path, temporary, digits, hadoop, monkeypatch):
    """Settings of a cluster are the user's own: here that its nodes have Spark's jars already."""
    import pyspark

    for name, value in hadoop.environment().items():
        monkeypatch.setenv(name, value)
    options = ["--spark-master", "yarn", "--python-bin", sys.executable]
    for name, value in {"yarn.jars": f"local:{Path(pyspark.__file__).parent}/jars/*",
                        "yarn.am.memory": "512m", "executor.memory": "512m",
                        "executor.instances": "1", "driver.host": "127.0.0.1",
                        "driver.bindAddress": "127.0.0.1", "ui.enabled": "false"}.items():
        options += ["-D", f"spark.{name}={value}"]
    run(f"file://{digits / 'data'}", tmp_path / "m", 5, None, options, runner="spark",
        **RECIPES["softmax"])
    assert bits(tmp_path / "m") == bits(digits / "softmax")
    assert jobs(tmp_path / "m")[0]["application"].startswith("application_")
    assert hadoop.run("fs", "-ls", "-R", ".").count("mr_gradient") == 0


@pytest.mark.long
def test_one_core_is_enough(tmp_path, temporary, digits):
    """Law 4."""
    run(str(digits / "data"), tmp_path / "m", 5, None, ["--spark-master", "local[1]"], runner="spark",
        **RECIPES["softmax"])
    assert bits(tmp_path / "m") == bits(digits / "softmax")


@pytest.mark.long
def test_the_cluster_ends_with_its_test(tmp_path, spark_ready):
    """However the test's process ends, no daemon and no file of the cluster stays."""
    code = ("import os, signal; from spark_cluster import SparkCluster; cluster = SparkCluster(1); "
            "print(cluster.folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)")
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200,
                          check=False, env={**os.environ, "PYTHONPATH": path})
    folder = done.stdout.strip()
    assert folder, done.stderr
    assert not gone(lambda: with_variable(f"HOME={folder}"))
    assert not gone(lambda: os.path.exists(folder))
