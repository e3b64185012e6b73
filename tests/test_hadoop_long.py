"""``-r hadoop`` at length: more models and clusters, small and slow ones; see the README's commands."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter

import pytest
from cli_tools import DIGITS, ROOT, command
from cluster import HadoopCluster, Options
from hadoop_tools import User, left
from shared_data import shared_data
from trainings import bits, run

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]

SOFTMAX = {"model": "softmax", "learning_rate": 1.0}
MLP = {"model": "mlp", "hidden": (32,), "optimizer": "momentum", "learning_rate": 0.1}


def arguments(recipe: dict) -> list[str]:
    """Of the command line."""
    found = []
    for name, value in recipe.items():
        words = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        found += [f"--{name.replace('_', '-')}", words]
    return found


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "digits"
    assert command("prepare", DIGITS, "--out", folder, "--shards", "8", "--json") == 0
    return folder


@pytest.fixture(scope="module")
def mnist(request, tmp_path_factory):
    source = shared_data(request, tmp_path_factory) / "mnist"
    folder = tmp_path_factory.mktemp("mnist") / "mnist"
    assert command("prepare", source, "--out", folder, "--shards", "8", "--json") == 0
    return folder


@pytest.fixture(scope="module", params=[1, 2])
def sized(hadoop_jars, request, tmp_path_factory):
    """Clusters of one node and of two."""
    with HadoopCluster(Options(data_nodes=request.param, node_managers=request.param)) as cluster:
        yield cluster


@pytest.mark.parametrize("reducers", [1, 4])
@pytest.mark.parametrize("recipe", [SOFTMAX, MLP], ids=["softmax", "mlp"])
@pytest.mark.parametrize("source", ["digits", "mnist"])
def test_same_bits(sized, tmp_path, digits, mnist, source, recipe, reducers):
    here = digits if source == "digits" else mnist
    if not sized.run("fs", "-ls", source, check=False):
        sized.run("fs", "-put", here, source)
    user = User(sized, tmp_path)
    done = user.run("train", "--data", f"hdfs:///user/{sized.options.user}/{source}",
                    *arguments(recipe), "--out", tmp_path / "m", "--iterations", "5", *user.options,
                    "-D", f"mapreduce.job.reduces={reducers}", seconds=900)
    assert done.returncode == 0, done.stderr
    run(str(here), tmp_path / "inline", 5, **recipe)
    assert bits(tmp_path / "m") == bits(tmp_path / "inline")
    assert left(user) == []


def test_one_free_slot_is_enough(hadoop_jars, tmp_path, digits):
    """Room for the application master and one task: eight splits, one after another."""
    options = Options(data_nodes=1, node_managers=1, node_memory=512 + 384)
    with HadoopCluster(options) as hadoop:
        hadoop.run("fs", "-put", digits, "digits")
        user = User(hadoop, tmp_path)
        process = user.start("train", "--data", "hdfs:///user/hadoop/digits", *arguments(SOFTMAX),
                             "--out", tmp_path / "m", "--iterations", "1", *user.options)
        seen = []
        while process.poll() is None:
            metrics = hadoop.resource_manager.metrics()
            seen.append((metrics["containersAllocated"], metrics["allocatedMB"]))
            time.sleep(0.2)
        _, err = process.communicate()
        assert process.returncode == 0, err
        assert max(seen) == (2, 512 + 384)
        [line] = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").open()]
        assert line["job"]["map_tasks"] == 8
        run(str(digits), tmp_path / "inline", 1, **SOFTMAX)
        assert bits(tmp_path / "m") == bits(tmp_path / "inline")


def test_memory_is_asked_for_by_the_size_of_the_model(hadoop, tmp_path, digits):
    """100 MB of parameters: with ours the tasks live, with the cluster's usual 384 MB they do not."""
    hadoop.run("fs", "-put", digits, "digits-large")
    user = User(hadoop, tmp_path)
    argv = ["train", "--data", "hdfs:///user/hadoop/digits-large", "--model", "mlp", "--hidden",
            "5000,4950", "--optimizer", "gd", "--learning-rate", "0.01", "--iterations", "1",
            *user.options]
    try:
        done = user.run(*argv, "--out", tmp_path / "ours", seconds=900)
        assert done.returncode == 0, done.stderr
        parameters = (tmp_path / "ours" / "model.safetensors").stat().st_size
        assert 100e6 < parameters < 110e6
        done = user.run(*argv, "--out", tmp_path / "usual", "-D", "mapreduce.map.memory.mb=384", "-D",
                        "mapreduce.map.java.opts=-Xmx200m", "-D", "mapreduce.map.maxattempts=2",
                        seconds=900)
        assert done.returncode == 1
        assert "was killed since it needed more memory than YARN gave it" in done.stderr
        assert "MB of 384 MB" in done.stderr
    finally:
        hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "digits-large")
    assert left(user) == []


def test_a_working_task_is_not_killed_for_its_silence(hadoop, tmp_path, digits):
    """Tasks of 12 minibatches of a second each, in a job that allows six seconds of silence."""
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import os, time\n"
        "if 'mapreduce_task_attempt_id' in os.environ:\n"
        "    from mr_gradient.models import linear\n"
        "    kept = linear.Linear.accumulate\n"
        "    def accumulate(*given, **named):\n"
        "        time.sleep(1)\n"
        "        return kept(*given, **named)\n"
        "    linear.Linear.accumulate = accumulate\n")
    hadoop.run("fs", "-put", digits, "digits-slow")
    user = User(hadoop, tmp_path)
    try:
        done = user.run("train", "--data", "hdfs:///user/hadoop/digits-slow", "--model", "softmax",
                        "--strategy", "local-sgd", "--batch-size", "16", "--local-steps", "12",
                        "--optimizer", "gd", "--learning-rate", "0.1", "--iterations", "1",
                        "--out", tmp_path / "m", *user.options, "--cmdenv", f"PYTHONPATH={slow}",
                        "-D", "mapreduce.task.timeout=6000",
                        "-D", "mapreduce.task.timeout.check-interval-ms=500", seconds=280)
        assert done.returncode == 0, done.stderr
        [line] = [json.loads(line) for line in (tmp_path / "m" / "history.jsonl").open()]
        assert line["job"]["slowest"]["seconds"] > 12
        assert line["job"]["failed_map_tasks"] == 0
    finally:
        hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "digits-slow")


def test_where_webhdfs_is_not_served(hadoop, tmp_path, digits):
    """The client does it all: three starts an iteration, some before the first and one at the end."""
    hadoop.run("fs", "-put", digits, "digits-by-client")
    user = User(hadoop, tmp_path, MR_GRADIENT_WEBHDFS="off")
    try:
        done = user.run("train", "--data", "hdfs:///user/hadoop/digits-by-client", *arguments(SOFTMAX),
                        "--out", tmp_path / "m", "--iterations", "2", *user.options)
    finally:
        hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "digits-by-client")
    assert done.returncode == 0, done.stderr
    run(str(digits), tmp_path / "inline", 2, **SOFTMAX)
    assert bits(tmp_path / "m") == bits(tmp_path / "inline")
    # A look, an empty folder in two steps, the package and two manifests, output of three jobs read
    # and removed, and the folder.
    assert Counter(user.starts()) == {"version": 1, "jar": 3, "fs": 1 + 3 + 3 + 2 * 3 + 1}
    assert left(user) == []


def test_a_resource_manager_that_does_not_answer(hadoop, tmp_path, digits):
    hadoop.run("fs", "-put", digits, "digits-alone")
    user = User(hadoop, tmp_path)
    try:
        done = user.run("train", "--data", "hdfs:///user/hadoop/digits-alone", *arguments(SOFTMAX),
                        "--out", tmp_path / "m", *user.options,
                        "-D", "yarn.resourcemanager.address=127.0.0.1:1")
    finally:
        hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", "digits-alone")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith("mr-gradient: the job failed on Hadoop: ")
    assert "127.0.0.1:1" in line
    assert "Connection refused" in line
    assert left(user) == []


def test_the_example(tmp_path):
    """One command: a cluster, the digits in HDFS, a model, and what it is worth."""
    done = subprocess.run([ROOT / "examples" / "hadoop" / "run.sh"], capture_output=True, text=True,
                          check=False, cwd=tmp_path, timeout=900)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert list(tmp_path.iterdir()) == []
