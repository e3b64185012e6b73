"""Prepared data sets at URIs: opened, trained on and looked at as if they were here."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_tools import answer, command, refused
from http_store import HttpStore
from trainings import bits, class_data, in_a_process, run

from mr_gradient.dataset import shards
from mr_gradient.dataset.schema import is_dataset, open_dataset
from mr_gradient.errors import DataError
from mr_gradient.jobs.launch import Launcher
from mr_gradient.model_folder import read as read_model

SOFTMAX = {"model": "softmax", "learning_rate": 0.1}
#: The held-out one included.
SHARDS = 4


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A data set at ``data``; the cache is in the folder of the test."""
    monkeypatch.setenv("MR_GRADIENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(shards, "_open", {})
    (tmp_path / "store").mkdir()
    class_data(tmp_path / "store/data", shards=SHARDS - 1)
    store = HttpStore(tmp_path / "store")
    yield store
    store.close()
    shards._open.clear()


def shards_asked(store: HttpStore) -> list[str]:
    return sorted(path for path in store.asked if path.endswith(".safetensors"))


@pytest.mark.parametrize("runner", ["inline", "local"])
@pytest.mark.parametrize("options", [[], ["--no-node-cache"]])
def test_a_training_has_the_bits_of_a_local_one(store, tmp_path, monkeypatch, runner, options):
    found = []

    def launch(self, *arguments, ask=Launcher.run):
        output = ask(self, *arguments)
        found.append([summary["node_cache"] for summary in output.summaries])
        return output

    monkeypatch.setattr(Launcher, "run", launch)
    run(str(store.folder / "data"), tmp_path / "here", 2, **SOFTMAX)
    assert all(set(each.values()) == {0} for job in found for each in job)
    found.clear()
    run(store.uri("data"), tmp_path / "there", 2, runner=runner,
        options=["--num-cores", "2", *options], **SOFTMAX)
    assert bits(tmp_path / "there") == bits(tmp_path / "here")
    first, *later = found
    told = [json.loads(line).get("job", {}) for name in ("here", "there")
            for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
    assert told[:2] == [{}, {}]
    assert [each["cache_hits"] + each["cache_misses"] for each in told[2:]] == [SHARDS] * 2
    assert told[2] == {"cache_hits": 0, "cache_misses": SHARDS,
                       "fetched_bytes": sum(each["bytes"] for each in first)}
    data = open_dataset(str(store.folder / "data"))
    assert sum(each["misses"] for each in first) == SHARDS
    assert sum(each["bytes"] for each in first) == sum(s.bytes for s in data.train + data.held_out)
    assert len(shards_asked(store)) == sum(each["misses"] for job in found for each in job)
    if not options:  # whichever processes the later tasks run in
        assert {(each["hits"], each["misses"]) for job in later for each in job} == {(1, 0)}
        assert len(os.listdir(tmp_path / "cache")) == SHARDS
    else:
        assert not (tmp_path / "cache").exists()
        assert {each["misses"] for job in later for each in job} <= {0, 1}
    if options and runner == "local":  # each task is a process of its own
        assert {each["misses"] for job in later for each in job} == {1}


FORKED = """
import sys
from pathlib import Path
from trainings import run
from mr_gradient.jobs import worker_pool
forked = []
fork = worker_pool.WorkerPool._fork
worker_pool.WorkerPool._fork = lambda self: forked.append(1) or fork(self)
run(sys.argv[1], Path(sys.argv[2]), 2, options=["--num-cores", "2"], model="softmax", learning_rate=0.1)
assert len(forked) == 2
"""


def test_forked_tasks_share_the_cache(store, tmp_path):
    """In a process without the threads of the store, which may fork."""
    run(str(store.folder / "data"), tmp_path / "here", 2, **SOFTMAX)
    ended = in_a_process(FORKED, store.uri("data"), tmp_path / "there")
    assert ended.returncode == 0, ended.stderr
    assert bits(tmp_path / "there") == bits(tmp_path / "here")
    assert len(shards_asked(store)) == SHARDS


def test_the_commands_take_a_uri(store, tmp_path, capfd, monkeypatch):
    here = answer(capfd, "inspect", store.folder / "data")
    there = answer(capfd, "inspect", store.uri("data") + "/")
    assert there == {**here, "data": store.uri("data")}
    result = answer(capfd, "train", "--data", store.uri("data"), "--model", "softmax", "--out",
                    tmp_path / "model", "--iterations", "2")
    assert result["iterations"] == 2
    assert read_model(str(tmp_path / "model")).summary["configuration"]["data"] == store.uri("data")
    measured = {}
    for data, options in ((store.folder / "data", ()), (store.uri("data"), ("--no-node-cache",))):
        measured[data] = answer(capfd, "evaluate", "--data", data, "--model", tmp_path / "model",
                                *options)
        measured[data].pop("seconds")
    assert len({json.dumps(each) for each in measured.values()}) == 1
    assert len(shards_asked(store)) == SHARDS  # they are mapped by now


def test_a_file_uri_is_a_folder(store, tmp_path):
    dataset = open_dataset(f"file://{store.folder}/data")
    assert dataset.folder == str(store.folder / "data")
    assert is_dataset(f"file://{store.folder}/data")


def test_what_is_no_data_set(store, tmp_path):
    assert is_dataset(store.uri("data"))
    assert not is_dataset(store.uri("none"))
    with pytest.raises(DataError, match=r"^http://.*/none: no data set there; make one with"):
        open_dataset(store.uri("none"))
    (store.folder / "data/dataset.json").write_text("[]")
    with pytest.raises(DataError, match=r"/data/dataset.json: the description of a data set must be a "
                                        "JSON object, found list"):
        open_dataset(store.uri("data"))


def test_damaged_shards_are_told(store, tmp_path, capfd):
    path = store.folder / "data/shards/00001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    arguments = ("train", "--data", store.uri("data"), "--model", "softmax", "--out",
                 tmp_path / "model", "--iterations", "1", "--num-cores", "1")
    assert command(*arguments) == 2
    assert "/shards/00001.safetensors: cannot be read: its SHA-256 must be" in capfd.readouterr().err
    path.unlink()
    assert command(*arguments) == 2
    assert "/shards/00001.safetensors: no such file" in capfd.readouterr().err


def test_a_corrupt_cached_shard_is_healed(store, tmp_path, monkeypatch):
    run(store.uri("data"), tmp_path / "model", 1, runner="local", **SOFTMAX)
    asked = len(shards_asked(store))
    for path in Path(tmp_path / "cache").iterdir():
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    run(store.uri("data"), tmp_path / "again", 1, runner="local", **SOFTMAX)
    assert bits(tmp_path / "again") == bits(tmp_path / "model")
    assert len(shards_asked(store)) == 2 * asked


def test_a_sparse_data_set(store, tmp_path, capfd):
    scipy = pytest.importorskip("scipy.sparse")
    from mr_gradient.dataset.writer import write_arrays

    shutil.rmtree(store.folder / "data")
    x = scipy.random(60, 30, 0.1, "csr", np.float32, random_state=np.random.RandomState(3))
    write_arrays(str(store.folder / "data"), x, np.arange(60) % 2, classes=("a", "b"), shards=3)
    for name, data in (("here", str(store.folder / "data")), ("there", store.uri("data"))):
        run(data, tmp_path / name, 2, model="logistic", learning_rate=0.1)
    assert bits(tmp_path / "here") == bits(tmp_path / "there")


def test_a_private_folder_is_asked_for_in_one_line(store, tmp_path, capfd):
    (tmp_path / "cache").mkdir(0o755)
    refused(capfd, tmp_path / "cache", "inspect", store.uri("data"),
            words=("must be a folder of this user alone (mode 0700), found mode 0755",))
