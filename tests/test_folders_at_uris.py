"""Trainings and models on S3 (moto's server) and in a real HDFS: made, killed, gone on with, used."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from cli_tools import PROGRESS, answer, environment, refused, small

from mr_gradient.dataset import shards, webhdfs
from mr_gradient.dataset.formats import remote
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.folders import LEASES

#: Letters that URLs have to quote.
ODD = "a model+é"


class S3:
    """What is in the bucket, seen by a client of the tests' own."""

    uri = f"s3://models/{ODD}"

    def __init__(self) -> None:
        if not s3fs.S3FileSystem().exists("models"):
            s3fs.S3FileSystem().mkdir("models")

    def files(self) -> dict[str, bytes]:
        store = s3fs.S3FileSystem(use_listings_cache=False)
        start = f"models/{ODD}/"
        found = {path[len(start):]: store.cat_file(path) for path in store.find(start)}
        remote.end_threads()
        return found

    def put(self, name: str, data: bytes) -> None:
        s3fs.S3FileSystem().pipe_file(f"models/{ODD}/{name}", data)

    def clear(self) -> None:
        for name in self.files():
            s3fs.S3FileSystem().rm_file(f"models/{ODD}/{name}")
        remote.end_threads()


class Hdfs:
    """What is in the folder, without our folders' code."""

    def __init__(self, address: str, user: str, name: str = ODD) -> None:
        self._path = f"/user/{user}/{name}"
        self.uri = f"hdfs://{address}{self._path}"
        self._web = webhdfs.WebHdfs(address)

    def files(self) -> dict[str, bytes]:
        return dict(self._below(self._path))

    def _below(self, folder: str) -> Iterator[tuple[str, bytes]]:
        with contextlib.suppress(FileNotFoundError):
            for each in self._web.children(folder):
                path = f"{folder}/{each['pathSuffix']}"
                if each["type"] == "DIRECTORY":
                    yield from self._below(path)
                else:
                    with self._web.open(path) as file:
                        yield path[len(self._path) + 1:], file.read()

    def put(self, name: str, data: bytes) -> None:
        self._web.make_folder(self._path)
        self._web.create(f"{self._path}/{name}", len(data), [data])

    def clear(self) -> None:
        self._web.delete(self._path, recursive=True)


@pytest.fixture
def surroundings(tmp_path, monkeypatch):
    """Temporary files and the cache go into the folder of the test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("MR_GRADIENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "_open", {})
    yield
    shards._open.clear()
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.fixture
def s3(s3_server, fresh_s3, surroundings):
    place = S3()
    yield place
    place.clear()


@pytest.fixture
def hdfs(hadoop, surroundings, monkeypatch):
    for name, value in hadoop.environment().items():
        monkeypatch.setenv(name, value)
    place = Hdfs(hadoop.ports.address("name node"), hadoop.options.user)
    yield place
    place.clear()


@pytest.fixture(params=["s3", "hdfs"])
def place(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return small(tmp_path_factory.mktemp("data"), "three")


TRAIN = ("--model", "mlp", "--hidden", "5", "--optimizer", "adam", "--num-cores", "2")


def local_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def objectives(history: bytes) -> list[tuple]:
    lines = [json.loads(line) for line in history.splitlines()]
    return [(line["iteration"], line["objective"], line["train"], line["held_out"]) for line in lines]


def assert_same_training(found: dict[str, bytes], expected: dict[str, bytes]) -> None:
    assert found.keys() == expected.keys()
    assert found["model.safetensors"] == expected["model.safetensors"]
    assert objectives(found["history.jsonl"]) == objectives(expected["history.jsonl"])


def told(result: dict) -> dict:
    """Of a result, what does not depend on time and place."""
    return {name: value for name, value in result.items() if name not in ("seconds", "model", "jobs")}


def test_prepared_trained_gone_on_with_and_used_there(place, data, tmp_path, capfd):
    there, here = f"{place.uri}/model", tmp_path / "model"
    prepare = ("prepare", data.parent / "three.csv", "--test-fraction", "0.25", "--shards", "3")
    answer(capfd, *prepare, "--out", f"{place.uri}/data")
    first = answer(capfd, "train", "--data", f"{place.uri}/data", *TRAIN, "--out", f"{there}/",
                   "--iterations", "2")
    assert first["model"] == there
    again = answer(capfd, "train", "--data", data, *TRAIN, "--out", there, "--iterations", "4")
    whole = answer(capfd, "train", "--data", data, *TRAIN, "--out", here, "--iterations", "4")
    assert told(again) == told(whole)
    found = {name.removeprefix("model/"): content for name, content in place.files().items()
             if name.startswith("model/")}
    assert_same_training(found, local_files(here))

    measured = [answer(capfd, "evaluate", "--data", data, "--model", each) for each in (there, here)]
    assert told(measured[0]) == told(measured[1])
    for name, start in (("there", there), ("here", here)):
        answer(capfd, "train", "--data", data, *TRAIN, "--out", tmp_path / name, "--iterations", "1",
               "--warm-start", start)
    assert_same_training(local_files(tmp_path / "there"), local_files(tmp_path / "here"))
    digests = set()
    for like in (here, there, f"{place.uri}/data"):
        answer(capfd, "prepare", data.parent / "three.csv", "--out", tmp_path / "like", "--overwrite",
               "--shards", "2", "--like", like)
        digests.add(open_dataset(str(tmp_path / "like")).digest)
    assert len(digests) == 1

    other = ("train", "--data", data, *TRAIN, "--out", there, "--iterations", "2", "--l2", "0.1")
    refused(capfd, tmp_path, *other, words=(
        f"--out {there}: holds a training with another configuration: --l2 was 0.0 and is 0.1",))
    assert {name: content for name, content in place.files().items() if name.startswith("model/")} == {
        f"model/{name}": content for name, content in found.items()}
    answer(capfd, *other, "--restart")
    answer(capfd, *other[:5], *other[5:-6], "--out", tmp_path / "other", *other[-4:])
    now = {name.removeprefix("model/"): content for name, content in place.files().items()
           if name.startswith("model/")}
    assert_same_training(now, local_files(tmp_path / "other"))


@contextlib.contextmanager
def started(*argv: object, until: int) -> Iterator[subprocess.Popen]:
    """A training in a process of its own, which has told of so many iterations in all."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mr_gradient", *map(str, argv)], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment())
    try:
        for line in process.stderr:
            assert PROGRESS.match(line), line + process.stderr.read()
            if line.startswith(f"iteration {until}/"):
                break
        yield process
    finally:
        process.kill()
        process.stderr.close()
        process.wait()


def store_process_of(pid: int) -> int:
    """The child that works on the store."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if b"store_process" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no process works on the store")


def iterations_in(files: dict[str, bytes]) -> list[int]:
    return sorted(int(name.split("/")[1][:8]) for name in files if name.startswith("checkpoints/"))


def test_killed_at_any_moment_it_goes_on_with_the_same_bits(place, data, tmp_path, capfd):
    """The driver, it and the process that works on the store, or that alone; a resume follows at
    once."""
    train = ("train", "--data", data, *TRAIN)
    until, last = 0, 0
    for killed in ("driver", "both", "store"):
        until = last + 3
        with started(*train, "--out", place.uri, "--iterations", "100000", until=until) as process:
            store = store_process_of(process.pid)
            if killed != "store":
                process.kill()
            if killed != "driver":
                os.kill(store, signal.SIGKILL)
            process.wait(60)
            if killed == "store":
                assert process.returncode == 2
                assert process.stderr.read().splitlines()[-1] == (
                    f"mr-gradient: {place.uri}: the process that talks to the store was killed; run "
                    "the same command again to go on")
        last = iterations_in(place.files())[-1]
        assert last >= until
    answer(capfd, *train, "--out", place.uri, "--iterations", last + 2)
    answer(capfd, *train, "--out", tmp_path / "whole", "--iterations", last + 2)
    found = place.files()
    assert not any(name.startswith(LEASES) for name in found)
    assert_same_training(found, local_files(tmp_path / "whole"))


def test_a_second_driver_is_refused_and_a_killed_one_is_not_waited_for(place, data, tmp_path, capfd):
    train = ("train", "--data", data, *TRAIN, "--out", place.uri)
    with started(*train, "--iterations", "100000", until=2) as process:
        os.kill(process.pid, signal.SIGSTOP)  # it still lives
        before = place.files()
        refused(capfd, tmp_path / "temporary", *train, "--iterations", "100000", words=(
            f"--out {place.uri}: another process is training in this folder (number {process.pid} on "
            f"{socket.gethostname()}); wait for it, or choose another folder",))
        assert place.files().keys() == before.keys()
        process.kill()
        process.wait()
        done = iterations_in(place.files())[-1]
        assert answer(capfd, *train, "--iterations", done + 1)["iterations"] == done + 1
    with started(*train, "--iterations", "100000", until=done + 2) as process:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        assert process.returncode == 130
        assert process.stderr.read().splitlines()[-1].startswith("mr-gradient: interrupted")
    assert not any(name.startswith(LEASES) for name in place.files())


def test_what_is_not_ours_is_left_alone(place, data, tmp_path, capfd):
    place.put("notes.txt", b"x")
    train = ("train", "--data", data, *TRAIN, "--iterations", "1", "--out")
    refused(capfd, tmp_path, *train, place.uri, words=(
        f"--out {place.uri}: must be empty, absent or a training of mr_gradient, but it holds "
        "something else ('notes.txt')",))
    refused(capfd, tmp_path, *train, f"{place.uri}/notes.txt", words=(
        "must be a folder, found a file",))
    assert place.files() == {"notes.txt": b"x"}
    refused(capfd, tmp_path, "evaluate", "--data", data, "--model", place.uri, words=(
        f"{place.uri}/model.json: no such file; the description of a trained model was expected",))
    refused(capfd, tmp_path, *train, tmp_path / "model", "--warm-start", place.uri, words=(
        f"{place.uri}/model.json: no such file",))
    refused(capfd, tmp_path, "prepare", data.parent / "three.csv", "--out", tmp_path / "like",
            "--like", place.uri, words=(
                f"--like {place.uri}: must be the folder of a data set or of a trained model",))


def test_a_bucket_that_cannot_be_written(s3, data, tmp_path, capfd, monkeypatch):
    train = ("train", "--data", data, *TRAIN, "--iterations", "1", "--out")
    refused(capfd, tmp_path, *train, "s3://nobucket/model", words=(
        "--out s3://nobucket/model: cannot be written: The specified bucket does not exist",))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        refused(capfd, tmp_path, *train, s3.uri, words=(
            f"--out {s3.uri}: cannot be used: ", "is the network up, and AWS_ENDPOINT_URL right?"))
        for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
            patch.delenv(f"AWS_{name}")
        refused(capfd, tmp_path, *train, s3.uri, words=(
            f"--out {s3.uri}: cannot be used: Unable to locate credentials; set AWS_ACCESS_KEY_ID",))
    refused(capfd, tmp_path, *train, "http://127.0.0.1:1/model", words=(
        "--out http://127.0.0.1:1/model: cannot be used: a web server can be read only",))


def test_a_folder_of_hdfs_that_cannot_be_written(hdfs, data, tmp_path, capfd, monkeypatch):
    root = hdfs.uri.partition("/user")[0]
    train = ("train", "--data", data, *TRAIN, "--iterations", "1", "--out")
    refused(capfd, tmp_path, *train, f"{root}/model", words=(
        f"--out {root}/model: cannot be written: Permission denied: user=hadoop",))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("HADOOP_HOME")
    monkeypatch.setenv("MR_GRADIENT_WEBHDFS", "127.0.0.1:1")
    refused(capfd, tmp_path, *train, hdfs.uri, words=(
        f"--out {hdfs.uri}: cannot be used: WebHDFS at http://127.0.0.1:1 does not serve us",))


@pytest.mark.long
def test_by_the_program_hadoop_where_webhdfs_is_not_served(hdfs, data, tmp_path, capfd, monkeypatch):
    """As on clusters with Kerberos; each operation starts a JVM."""
    there = f"{hdfs.uri.rpartition('/')[0]}/by-hadoop"
    hdfs_there = Hdfs(hdfs.uri.split("/")[2], there.split("/")[-2], "by-hadoop")
    monkeypatch.setenv("MR_GRADIENT_WEBHDFS", "off")
    train = ("train", "--data", data, *TRAIN, "--out")
    try:
        with started(*train, there, "--iterations", "100000", until=2) as process:
            refused(capfd, data, *train, there, words=(
                "another process is training in this folder",))
            process.kill()
            process.wait()
            last = iterations_in(hdfs_there.files())[-1]
        answer(capfd, *train, there, "--iterations", last + 2)
        answer(capfd, *train, tmp_path / "whole", "--iterations", last + 2)
        assert_same_training(hdfs_there.files(), local_files(tmp_path / "whole"))
        assert told(answer(capfd, "evaluate", "--data", data, "--model", there)) == told(
            answer(capfd, "evaluate", "--data", data, "--model", tmp_path / "whole"))
    finally:
        hdfs_there.clear()


class Cut:
    """Passes connections on to a server, and ends some in the middle of a PUT of a checkpoint."""

    def __init__(self, address: str, cuts: int) -> None:
        host, _, port = address.rpartition("//")[2].partition(":")
        self._to, self.cuts, self.done = (host, int(port)), cuts, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                for one, other in ((ours, server), (server, ours)):
                    self._threads.append(threading.Thread(target=self._pass_on, args=(one, other)))
                    self._threads[-1].start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                head = data.partition(b"\r\n")[0]
                if head.startswith(b"PUT") and b"/checkpoints/" in head and self.done < self.cuts:
                    self.done += 1
                    target.sendall(data[:-100])
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()  # it begins no other one
        for thread in self._threads[1:]:
            thread.join()


def test_a_put_that_breaks_off_is_made_again(s3, s3_server, data, tmp_path, capfd, monkeypatch):
    """Its first half is no object."""
    cut = Cut(s3_server, 3)
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", cut.url)
        train = ("train", "--data", data, *TRAIN, "--iterations", "3", "--out")
        answer(capfd, *train, s3.uri)
    finally:
        cut.close()
    assert cut.done == 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    answer(capfd, *train, tmp_path / "model")
    assert_same_training(s3.files(), local_files(tmp_path / "model"))
