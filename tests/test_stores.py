"""Stores of data sets in the making: here, in S3 and in HDFS; and preparations whose tasks use them.

The tasks run inline, told that they see none of the driver's files.
"""

from __future__ import annotations

import json
import tempfile
from functools import partial

import numpy as np
import pytest
import s3fs
from cli_tools import answer, command, put, refused
from PIL import Image

from mr_gradient.dataset import hadoop_site
from mr_gradient.dataset.formats import images, remote
from mr_gradient.dataset.hdfs import Hdfs
from mr_gradient.dataset.stores import Span, store_at
from mr_gradient.errors import DataError, UsageError
from mr_gradient.jobs import prepare_job
from mr_gradient.jobs.engines import Engine

ROWS = [f"{i},{'oops' if i in (7, 31) else i * i % 17},{'xyz'[i % 3]},{'ab'[i % 2]}" for i in range(90)]
TABLE = "\n".join(["n,m,word,label", *ROWS]) + "\n"
OPTIONS = ("--test-fraction", "0.3", "--shards", "3", "--kind", "m=number", "--on-bad-row", "skip",
           "--max-bad-rows", "2", "--num-cores", "1")


class Place:
    """A folder at a URI: what is in it, and how to put things there."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.prepare = ("prepare", f"{uri}/input/table.csv", "--out", f"{uri}/data", *OPTIONS)

    def files(self) -> dict[str, int]:
        return store_at(self.uri).files("")

    def put(self, name: str, data: bytes) -> None:
        store = store_at(self.uri)
        if "/" in name:
            store.make_folder(name.rpartition("/")[0])
        store.write(name, len(data), lambda: [data])


@pytest.fixture(params=["folder", "s3", "hdfs", pytest.param("hadoop", marks=pytest.mark.long)])
def place(request, tmp_path, monkeypatch):
    """An empty folder in each kind of store, as far as the machine has it."""
    kind = request.param
    if kind in ("hdfs", "hadoop"):
        hadoop = request.getfixturevalue("hadoop")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    if kind == "folder":
        (tmp_path / "place").mkdir()
        yield Place(str(tmp_path / "place"))
    elif kind == "s3":
        request.getfixturevalue("s3_server")
        request.getfixturevalue("fresh_s3")
        client = s3fs.S3FileSystem(use_listings_cache=False)
        if not client.exists("place"):
            client.mkdir("place")
        yield Place("s3://place/in")
        store_at("s3://place").remove("in")
        remote.end_threads()
    else:
        for name, value in hadoop.environment().items():
            monkeypatch.setenv(name, value)
        authority, path = hadoop.ports.address("name node"), f"/user/{hadoop.options.user}/place"
        web = Hdfs(authority)
        web.make_folder(path)
        if kind == "hadoop":
            monkeypatch.setenv(hadoop_site.WEB_HDFS, "off")
        yield Place(f"hdfs://{authority}{path}")
        web.remove(path)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_files_are_written_read_in_parts_moved_and_removed(place):
    store = store_at(place.uri)
    data = bytes(range(256)) * 5000
    for folder in ("a", "b"):
        store.make_folder(folder)
    store.write("a/one", len(data), lambda: [data[:1000], memoryview(data)[1000:]])
    store.write("a/two", 3, lambda: [b"two"])
    with store.near([Span("a/two", 1, 2), Span("a/one", 100, 1_200_000), Span("a/one", 7, 0)]) as read:
        assert b"".join(map(bytes, read(1, 5, 1_100_000))) == data[105:1_100_105]
        assert b"".join(map(bytes, read(0, 0, 2))) == b"wo"
        assert b"".join(map(bytes, read(2, 0, 0))) == b""
    store.move({"a/one": "b/first", "a/two": "b/second"})
    assert store.files("b") == {"first": len(data), "second": 3}
    assert store.files("a") == store.files("none") == {}
    store.sync(["b/first"])
    store.remove("b/second")
    store.remove("b/second")
    assert store.files("b") == {"first": len(data)}
    store.remove("b")
    with pytest.raises(DataError, match=r"b/first.*cannot be read"), store.near(
            [Span("b/first", 0, 5)]) as read:
        list(read(0, 0, 5))


def test_who_comes_too_late_writes_nothing(place):
    """The driver has removed the folder; no task makes it anew."""
    if place.uri.startswith("s3:"):
        pytest.skip("an object needs no folder")
    with pytest.raises((DataError, UsageError, FileNotFoundError)):
        store_at(f"{place.uri}/gone").write("segments/late", 4, lambda: [b"late"])
    assert place.files() == {}


@pytest.fixture
def elsewhere(place, monkeypatch):
    """Tasks that see none of the driver's files, and their input."""
    monkeypatch.setattr(Engine, "elsewhere", "put")
    place.put("input/table.csv", TABLE.encode())
    return place


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """What is made of a file on this machine, and what the command says."""
    folder = tmp_path_factory.mktemp("here")
    put(folder, {"table.csv": TABLE})
    assert command("prepare", folder / "table.csv", "--out", folder / "data", *OPTIONS) == 0
    return {str(path.relative_to(folder / "data")): path.read_bytes()
            for path in (folder / "data").rglob("*") if path.is_file()}


def made(place: Place) -> dict[str, bytes]:
    """All files but the input."""
    store = store_at(place.uri)
    sizes = {name: size for name, size in store.files("").items() if not name.startswith("input/")}
    with store.near([Span(*each) for each in zip(sizes, [0] * len(sizes), sizes.values())]) as read:
        return {name: b"".join(map(bytes, read(number, 0, size)))
                for number, (name, size) in enumerate(sizes.items())}


def at_out(here: dict[str, bytes], place: Place) -> dict[str, bytes]:
    """What must be there: the same bytes, but for where the input's rows were."""
    path = json.loads(here["rejects.jsonl"].splitlines()[0])["file"]
    rejects = here["rejects.jsonl"].replace(path.encode(), f"{place.uri}/input/table.csv".encode())
    return {f"data/{name}": data for name, data in {**here, "rejects.jsonl": rejects}.items()}


#: Every start of ``hadoop`` takes a second.
AT_URIS = pytest.mark.parametrize("place", ["s3", "hdfs"], indirect=True)


@AT_URIS
def test_tasks_make_the_data_set_where_it_shall_be(elsewhere, here, tmp_path, capfd):
    """Another one is replaced if that is asked for; leftovers of drivers that were killed go."""
    argv = elsewhere.prepare
    elsewhere.put(".data.partial-0123456789ab/segments/x", b"x")
    answered = answer(capfd, *argv)
    assert (answered["bad_rows"], answered["data"]) == (2, f"{elsewhere.uri}/data")
    assert made(elsewhere) == at_out(here, elsewhere)
    refused(capfd, tmp_path, *argv, words=("already holds a data set", "--overwrite"))
    answer(capfd, *argv, "--overwrite", "--shards", "2")
    assert set(made(elsewhere)) == {name for name in at_out(here, elsewhere) if "00003" not in name}
    elsewhere.put("data/notes.txt", b"mine")
    refused(capfd, tmp_path, *argv, "--overwrite", words=("something else ('notes.txt')",))


@AT_URIS
def test_a_task_that_is_tried_again_does_no_harm(elsewhere, here, capfd, monkeypatch):
    """All segments and shards are written twice, by attempts of which one has no record."""
    def twice(store, name, *rest, ask):
        ask(store, f"{name}-lost", *rest)
        return ask(store, name, *rest)

    for name in ("write_segment", "assemble"):
        monkeypatch.setattr(prepare_job, name, partial(twice, ask=getattr(prepare_job, name)))
    answer(capfd, *elsewhere.prepare)
    assert made(elsewhere) == at_out(here, elsewhere)


@AT_URIS
@pytest.mark.parametrize("name", ["write_segment", "assemble"])
def test_a_failure_leaves_nothing(elsewhere, tmp_path, capfd, monkeypatch, name):
    ask = getattr(prepare_job, name)

    def fail(store, *rest):
        ask(store, *rest)
        raise DataError("the disk is on fire")

    monkeypatch.setattr(prepare_job, name, fail)
    refused(capfd, tmp_path, *elsewhere.prepare, "--out", f"{elsewhere.uri}/new/deep/data",
            words=("the disk is on fire",))
    assert made(elsewhere) == {}
    if elsewhere.uri.startswith("hdfs:"):
        assert not Hdfs(elsewhere.uri.split("/")[2]).exists(f"/{elsewhere.uri.split('/', 3)[3]}/new")


@AT_URIS
def test_a_long_list_of_files_goes_where_tasks_see_it(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LISTED", 3)
    for number in range(8):
        name = f"{'ab'[number % 2]}/{number}.png"
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 3), number, np.uint8)).save(tmp_path / "images" / name)
        elsewhere.put(f"input/images/{name}", (tmp_path / "images" / name).read_bytes())
    assert command("prepare", f"{elsewhere.uri}/input/images", "--out", f"{elsewhere.uri}/data",
                   "--shards", "2", "--num-cores", "1") == 0
    monkeypatch.setattr(Engine, "elsewhere", "")
    assert command("prepare", tmp_path / "images", "--out", tmp_path / "data", "--shards", "2") == 0
    assert made(elsewhere) == {f"data/{path.relative_to(tmp_path / 'data')}": path.read_bytes()
                               for path in (tmp_path / "data").rglob("*") if path.is_file()}


def test_tasks_say_that_they_work(tmp_path, monkeypatch):
    """Or a cluster would kill those that take long."""
    said = []
    monkeypatch.setattr(prepare_job, "_REPORT_SECONDS", -1)
    monkeypatch.setattr(prepare_job.PrepareJob, "set_status", lambda job, text: said.append(text))
    put(tmp_path, {"table.csv": TABLE})
    assert command("prepare", tmp_path / "table.csv", "--out", tmp_path / "data", *OPTIONS) == 0
    # Of each pass one batch, and what the shards are read from.
    assert said[:4] == ["piece 0", "working", "piece 0", "working"]
    assert set(said[4:]) == {"working"}
    assert len(said) >= 4 + 4


def test_files_of_this_machine_are_refused(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(Engine, "elsewhere", "hadoop fs -put")
    table = tmp_path / "table.csv"
    table.write_text(TABLE)
    refused(capfd, tmp_path, "prepare", table, "--out", "hdfs:///x", words=(
        f"{table}: is on this machine", f"(hadoop fs -put {table} ...)", "file:///..."))
    refused(capfd, tmp_path, "prepare", "hdfs:///in", "--labels", "l.npy", "--out", "hdfs:///x",
            words=("/l.npy: is on this machine",))
    refused(capfd, tmp_path, "prepare", f"file://{table}", "--out", tmp_path / "data",
            words=(f"--out {tmp_path / 'data'}: the tasks run on other machines",))
    answer(capfd, "prepare", f"file://{table}", "--out", f"file://{tmp_path / 'data'}", *OPTIONS)
    assert (tmp_path / "data" / "dataset.json").exists()
