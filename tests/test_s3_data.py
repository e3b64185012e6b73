"""Data sets on S3, against moto's server: made there, replaced, refused, trained on."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import s3fs
from cli_tools import DIGITS, answer, command, refused
from trainings import bits, run

from mr_gradient.dataset import shards
from mr_gradient.dataset.remote_stores import ObjectStore
from mr_gradient.dataset.schema import is_dataset, open_dataset
from mr_gradient.errors import DataError
from mr_gradient.jobs import inline_runner

pytestmark = pytest.mark.usefixtures("fresh_s3")

PREPARE = ("prepare", DIGITS, "--test-fraction", "0.2", "--shards", "3", "--num-cores", "2")


@pytest.fixture
def bucket(s3_server, tmp_path, monkeypatch):
    """An empty bucket ``data``; temporary files and the cache go into the folder of the test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("MR_GRADIENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "_open", {})
    if not store().exists("data"):
        store().mkdir("data")
    yield names
    shards._open.clear()
    for name in names():
        store().rm_file(f"data/{name}")
    assert list((tmp_path / "temporary").iterdir()) == []


def store() -> s3fs.S3FileSystem:
    """Anew each time: one does not outlive the thread of fsspec's that it was made in."""
    return s3fs.S3FileSystem(use_listings_cache=False)


def names() -> list[str]:
    return sorted(path.removeprefix("data/") for path in store().find("data"))


FILES = ["digits/dataset.json", *(f"digits/shards/{i:05d}.safetensors" for i in range(4))]


def test_made_there_and_trained_on(bucket, tmp_path, capfd, monkeypatch):
    unsafe = []

    def why_fork_is_unsafe(ask=inline_runner.why_fork_is_unsafe) -> str:
        unsafe.append(ask())
        return unsafe[-1]

    monkeypatch.setattr(inline_runner, "why_fork_is_unsafe", why_fork_is_unsafe)
    here = answer(capfd, *PREPARE, "--out", tmp_path / "digits")
    there = answer(capfd, *PREPARE, "--out", "s3://data/digits/")
    assert there == {**here, "data": "s3://data/digits"}
    assert bucket() == FILES
    assert is_dataset("s3://data/digits")
    assert not is_dataset("s3://data/other")
    assert open_dataset("s3://data/digits").digest == open_dataset(str(tmp_path / "digits")).digest
    for name, data in (("here", str(tmp_path / "digits")), ("there", "s3://data/digits")):
        run(data, tmp_path / name, 2, options=["--num-cores", "2"], model="softmax", learning_rate=1)
    assert bits(tmp_path / "here") == bits(tmp_path / "there")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert set(unsafe) == {""}  # tasks are forked: no thread of fsspec's is left
    inspected = answer(capfd, "inspect", "s3://data/digits")
    assert inspected["train"]["examples"] == here["examples"]
    like = answer(capfd, "prepare", DIGITS, "--out", tmp_path / "again", "--like", "s3://data/digits")
    assert like["features"] == 64


def test_another_data_set_is_replaced_if_asked(bucket, tmp_path, capfd):
    answer(capfd, *PREPARE, "--out", "s3://data/digits")
    refused(capfd, tmp_path, *PREPARE, "--out", "s3://data/digits", words=(
        "--out s3://data/digits: already holds a data set; choose another place or replace it with "
        "--overwrite",))
    answer(capfd, *PREPARE, "--out", "s3://data/digits", "--overwrite", "--shards", "2")
    assert bucket() == FILES[:-1]
    assert len(open_dataset("s3://data/digits").train) == 2


@pytest.mark.parametrize(("there", "words"), [
    ("digits/notes.txt", "must be empty or absent, but it holds something else ('notes.txt')"),
    ("digits/shards/x/0.safetensors", "something else ('shards/x/0.safetensors')"),
    ("digits", "must be a folder, found a file")])
def test_what_is_no_data_set_is_left_alone(bucket, tmp_path, capfd, there, words):
    store().pipe(f"data/{there}", b"x")
    refused(capfd, tmp_path, *PREPARE, "--out", "s3://data/digits", "--overwrite", words=(words,))
    assert bucket() == [there]


def test_an_upload_that_was_killed_is_no_data_set(bucket, tmp_path, capfd):
    store().pipe(f"data/{FILES[1]}", b"x")
    refused(capfd, tmp_path, *PREPARE, "--out", "s3://data/digits", words=(
        "already holds part of a data set",))
    answer(capfd, *PREPARE, "--out", "s3://data/digits", "--overwrite")
    assert bucket() == FILES


@pytest.mark.parametrize("failing", [1, 3, 5])
def test_a_failure_leaves_nothing(bucket, tmp_path, capfd, monkeypatch, failing):
    """The description is the last of five files."""
    sent = []

    def send(self, here, there, ask=s3fs.S3FileSystem.put_file, **options):
        sent.append(Path(there).name)
        if len(sent) == failing:
            raise RuntimeError("the network\nis gone")
        return ask(self, here, there, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "put_file", send)
    refused(capfd, tmp_path, *PREPARE, "--out", "s3://data/digits", words=(
        "--out s3://data/digits: cannot be written: the network is gone",))
    assert bucket() == []
    assert ("dataset.json" in sent) == (failing == 5)


@pytest.mark.parametrize("failing", [1, 4])
def test_a_failure_keeps_what_was_to_be_replaced(bucket, tmp_path, capfd, monkeypatch, failing):
    answer(capfd, *PREPARE, "--out", "s3://data/digits")
    before, sent = open_dataset("s3://data/digits").digest, []

    def write(self, name, size, chunks, ask=ObjectStore.write):
        sent.append(name)
        if len(sent) == failing:
            raise DataError("the network is gone")
        ask(self, name, size, chunks)

    monkeypatch.setattr(ObjectStore, "write", write)
    refused(capfd, tmp_path, *PREPARE, "--out", "s3://data/digits", "--overwrite", "--shards", "2",
            words=("the network is gone",))
    assert bucket() == FILES
    assert open_dataset("s3://data/digits").digest == before


def test_no_work_is_done_for_a_place_that_cannot_be(bucket, tmp_path, capfd):
    assert command(*PREPARE, "--out", "s3://nobucket/digits") == 2
    err = capfd.readouterr().err
    assert err.startswith("mr-gradient: --out s3://nobucket/digits: cannot be written: ")
    assert err.count("\n") == 1
