"""Input on S3, against moto's server: found, read, prepared; and what goes wrong there, in one line."""

from __future__ import annotations

import bz2
import gzip
import re
import socket
import urllib.request
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import s3fs
from cli_tools import command
from pyarrow import parquet

from mr_gradient.dataset.formats import opening, remote
from mr_gradient.dataset.formats.discovery import find_inputs
from mr_gradient.dataset.schema import Dataset
from mr_gradient.errors import DataError
from mr_gradient.jobs import inline_runner
from mr_gradient.jobs.launch import job_arguments
from mr_gradient.preparation import PreparationConfig, prepare

pytestmark = pytest.mark.usefixtures("fresh_s3")

ROWS = 300


@pytest.fixture(scope="module")
def tables(s3_server, tmp_path_factory) -> Path:
    """The same tables here, in the folder, and there, in the bucket ``data``."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(8)
    x, label = random.normal(size=(ROWS, 3)), random.integers(0, 2, ROWS)
    rows = [",".join([*map(repr, row), str(y)]) for row, y in zip(x.tolist(), label.tolist())]

    def csv(part: slice) -> bytes:
        return ("\n".join(["a,b,c,label", *rows[part]]) + "\n").encode()

    svm = [f"{y} " + " ".join(f"{i + 1}:{value!r}" for i, value in enumerate(row))
           for row, y in zip(x.tolist(), label.tolist())]
    table = pa.table({**{name: x[:, i] for i, name in enumerate("abc")}, "label": label})
    for name in ("csv", "svm/deep", "job"):
        (folder / name).mkdir(parents=True)
    files = {"csv/one.csv": csv(slice(200)), "csv/two.csv.gz": gzip.compress(csv(slice(200, ROWS))),
             "csv/_SUCCESS": b"", "svm/x.svm": "\n".join(svm[:150]).encode(),
             "svm/deep/y.svm.bz2": bz2.compress("\n".join(svm[150:]).encode()),
             "job/part-00000": csv(slice(ROWS)), "job/part-00001": b"", "[1].csv": csv(slice(9))}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    parquet.write_table(table, folder / "table.parquet", row_group_size=50)
    bucket = s3fs.S3FileSystem()
    bucket.mkdir("data")
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.pipe(f"data/{path.relative_to(folder)}", path.read_bytes())
    bucket.pipe("data/csv/", b"")  # as consoles make a folder
    return folder


def make(path: object, out: Path, **fields) -> Dataset:
    arguments = job_arguments("inline", ["--num-cores", "2"], False)
    return prepare(PreparationConfig([str(path)], str(out), arguments=arguments, piece_bytes=4000,
                                     **fields))[0]


ALL = ["[1].csv", "csv/one.csv", "csv/two.csv.gz", "job/part-00000", "svm/deep/y.svm.bz2", "svm/x.svm",
       "table.parquet"]


@pytest.mark.parametrize(("path", "expected"), [
    ("data", ALL), ("data/", ALL), ("data/**", ALL), ("data/csv", ALL[1:3]), ("data/csv/", ALL[1:3]),
    ("data/csv/*.csv", ALL[1:2]), ("data/**/*.csv", ALL[:2]), ("data/s*", ALL[4:6]),
    ("data/job/part-*", ALL[3:4]), ("data/table.parquet", ALL[6:]), ("data/[1].csv", ALL[:1])])
def test_files_are_found_as_in_a_folder(tables, path, expected):
    assert find_inputs([f"s3://{path}"]) == [f"s3://data/{name}" for name in expected]


def test_a_file_that_came_later_is_found(tables):
    assert len(find_inputs(["s3://data/new", "s3://data/csv"][1:])) == 2
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe("data/csv/three.csv", b"a,b,c,label\n")
    try:
        assert "s3://data/csv/three.csv" in find_inputs(["s3://data/csv"])
    finally:
        other.rm("data/csv/three.csv")


@pytest.mark.parametrize("path", ["csv", "svm/**", "job", "table.parquet", "csv/two.csv.gz"])
def test_the_shards_are_those_of_local_files(tables, tmp_path, monkeypatch, path):
    """And tasks are served by children: the driver has no thread left when it forks."""
    unsafe = []

    def why_fork_is_unsafe(ask=inline_runner.why_fork_is_unsafe) -> str:
        unsafe.append(ask())
        return unsafe[-1]

    monkeypatch.setattr(inline_runner, "why_fork_is_unsafe", why_fork_is_unsafe)
    there = make(f"s3://data/{path}", tmp_path / "there", test_fraction=0.2)
    here = make(tables / path, tmp_path / "here", test_fraction=0.2)
    assert there.digest == here.digest
    assert there.rows("train") + there.rows("held_out") == (100 if "two" in path else ROWS)
    if "two" not in path:  # what is one task runs in the driver
        assert set(unsafe) == {""}


def test_little_is_fetched_for_a_look(tables, monkeypatch):
    """The head of each of many files, and the cuts between pieces."""
    fetched = []

    def fetch(self, start, end, ask=s3fs.core.S3File._fetch_range):
        fetched.append(end - start)
        return ask(self, start, end)

    monkeypatch.setattr(s3fs.core.S3File, "_fetch_range", fetch)
    assert opening.read_head("s3://data/csv/one.csv", 10) == b"a,b,c,labe"
    assert 0 < sum(fetched) < opening.file_bytes("s3://data/csv/one.csv")
    before = len(fetched)
    pieces = opening.line_aligned_pieces(["s3://data/csv/one.csv"], 4000)
    assert len(pieces) == len(range(0, opening.file_bytes("s3://data/csv/one.csv"), 4000)) > 2
    assert len(fetched) - before <= len(pieces)


def one_line(function, uri: str) -> str:
    with pytest.raises(DataError) as error:
        function(uri)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{uri}: ")
    return message[len(uri) + 2:]


def find(uri: str) -> list[str]:
    return find_inputs([uri])


READ = (find, opening.read_head, opening.file_bytes, opening.is_file)


@pytest.mark.parametrize(("path", "message"), [
    ("nobucket", r"no such file or folder"),
    ("nobucket/x.csv", r"no such file or folder \(The specified bucket does not exist\)"),
    ("nobucket/*", r"matches no file .*"), ("data/none", r"no such file or folder"),
    ("data/none/", r"no such file or folder"), ("data/*.npy", r"matches no file .*"),
    ("", r"cannot be read: .*")])
def test_what_is_not_there(tables, path, message):
    assert re.fullmatch(message, one_line(find, f"s3://{path}"))


def test_a_file_that_is_gone_when_it_is_read(tables, tmp_path):
    for uri in ("s3://data/none", "s3://nobucket/x"):
        assert one_line(opening.read_head, uri) == one_line(opening.file_bytes, uri) == "no such file"
        assert opening.is_file(uri) is False
    assert opening.is_file("s3://data/csv/one.csv")
    assert not opening.is_file("s3://data/csv")


@pytest.mark.parametrize("function", READ)
def test_without_credentials(tables, monkeypatch, function):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert one_line(function, "s3://data/csv/one.csv") == (
        "cannot be read: Unable to locate credentials; set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    remote.end_threads()
    assert "The config profile (nobody) could not be found" in one_line(function, "s3://data/x")


def test_credentials_that_are_refused(tables, s3_server):
    def allow(requests: int) -> None:
        """How many requests pass before the server asks for credentials that it knows."""
        request = urllib.request.Request(
            f"{s3_server}/moto-api/reset-auth", data=str(requests).encode(),
            headers={"Content-Type": "text/plain"}, method="POST")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30).close()

    allow(0)
    try:
        for function in READ:
            assert one_line(function, "s3://data/csv/one.csv") == (
                "cannot be read: Forbidden; may these credentials read it?")
        assert "cannot be read: " in one_line(find, "s3://data/csv/*")
    finally:
        allow(10**12)


@pytest.mark.parametrize("ending", ["", ".gz", ".bz2"])
def test_a_server_that_goes_away_while_a_file_is_read(s3_environment, monkeypatch, ending):
    """It is the network that is to blame, not the file: not even a compressed one."""
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "open", lambda *_, **__: Going())
    with pytest.raises(DataError) as error, opening.open_input(f"memory://x{ending}") as file:
        file.read()
    assert str(error.value) == f"memory://x{ending}: cannot be read: the peer is gone"


class Going:
    """A file whose server goes away."""

    def read(self, _: int) -> bytes:
        raise RuntimeError("the peer\n is gone.")

    def close(self) -> None:
        pass


def test_nothing_waits_for_ever(s3_environment, monkeypatch):
    """A server that takes connections and never answers; and one that is not there."""
    assert 5 * remote.TRIES * remote.READ_SECONDS <= 600  # s3fs tries five times
    config = remote.filesystem("s3://data/x")[0].config_kwargs
    assert (config["connect_timeout"], config["read_timeout"]) == (10, 30)
    remote.end_threads()
    monkeypatch.setattr(remote, "READ_SECONDS", 0.1)
    monkeypatch.setattr(remote, "TRIES", 1)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert re.fullmatch(r"cannot be read: Read timeout .*; is the network up, and AWS_ENDPOINT_URL "
                            r"right\?", one_line(find, "s3://data/x"))
    remote.end_threads()
    assert "Could not connect" in one_line(find, "s3://data/x")


def test_settings_of_fsspec_come_first(s3_environment, monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 5}})
    config = remote.filesystem("s3://data/x")[0].config_kwargs
    assert (config["connect_timeout"], config["read_timeout"]) == (10, 5)


def test_the_command_says_it_in_one_line(tables, tmp_path, capfd):
    assert command("prepare", "s3://nobucket/x.csv", "--out", tmp_path / "out") == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("mr-gradient: s3://nobucket/x.csv: no such file or folder")
    assert not (tmp_path / "out").exists()
