"""Input and data sets in HDFS, on the real one: WebHDFS, and ``hadoop fs`` where that is not served."""

from __future__ import annotations

import contextlib
import re
import tempfile

import pytest
from cli_tools import DIGITS, answer, command, refused
from trainings import bits, run

from mr_gradient.dataset import fetching, hadoop_site, shards, webhdfs
from mr_gradient.dataset.formats import opening
from mr_gradient.dataset.formats.discovery import find_inputs
from mr_gradient.dataset.schema import is_dataset, open_dataset
from mr_gradient.errors import DataError

pytest.importorskip("fsspec")

OPTIONS = ("--test-fraction", "0.2", "--shards", "3", "--num-cores", "2")
FILES = ["digits/dataset.json", *(f"digits/shards/{i:05d}.safetensors" for i in range(4))]
SOFTMAX = {"model": "softmax", "learning_rate": 1}
#: A name with what means something in URLs and in patterns.
ODD = "a [1]#%20é?.csv"


@pytest.fixture(scope="module")
def home(hadoop, tmp_path_factory):
    """URI of a folder in HDFS with the digits in it."""
    folder = tmp_path_factory.mktemp("input")
    digits = DIGITS.read_bytes()
    for name, data in (("in/digits.csv", digits), ("in/_SUCCESS", b""), ("part/part-00000", digits),
                       ("part/part-00001", b""), (f"odd/{ODD}", b"a,label\n1,0\n2,1\n")):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    hadoop.run("fs", "-mkdir", "data")
    hadoop.run("fs", "-put", *sorted(folder.iterdir()), "data")
    return f"hdfs://{hadoop.ports.address('name node')}/user/{hadoop.options.user}/data"


@pytest.fixture(autouse=True)
def client(home, hadoop, tmp_path, monkeypatch):
    """The environment of a user of the cluster; temporary files go into the folder of the test."""
    for name, value in hadoop.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MR_GRADIENT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(shards, "_open", {})
    yield
    shards._open.clear()
    hadoop.run("fs", "-rm", "-r", "-f", "-skipTrash", f"{home}/out")
    assert list((tmp_path / "temporary").iterdir()) == []


def listed(hadoop, uri: str) -> list[str]:
    lines = hadoop.run("fs", "-ls", "-R", uri, check=False).splitlines()
    return sorted(line[line.index(uri) + len(uri) + 1:] for line in lines if line.startswith("-"))


def test_input_is_found_and_read(home):
    assert find_inputs([home]) == [f"{home}/in/digits.csv", f"{home}/odd/{ODD}",
                                   f"{home}/part/part-00000"]
    assert find_inputs([f"{home}/part/part-*"]) == [f"{home}/part/part-00000"]
    assert find_inputs([f"{home}/**/*.csv"]) == [f"{home}/in/digits.csv", f"{home}/odd/{ODD}"]
    path = f"{home}/in/digits.csv"
    assert opening.is_file(path)
    assert not opening.is_file(f"{home}/in")
    assert opening.file_bytes(path) == DIGITS.stat().st_size
    assert opening.read_head(path, 500) == DIGITS.read_bytes()[:500]
    assert b"".join(opening.line_chunks(path)) == DIGITS.read_bytes()
    assert opening.read_head(f"{home}/odd/{ODD}") == b"a,label\n1,0\n2,1\n"
    pieces = opening.line_aligned_pieces([path], 100_000)
    assert len(pieces) == -(-DIGITS.stat().st_size // 100_000)
    chunks = [chunk for piece in pieces
              for chunk in opening.line_chunks(path, piece.start, piece.stop)]
    assert b"".join(chunks) == DIGITS.read_bytes()


@pytest.mark.parametrize(("path", "message"), [
    ("none", r"no such file or folder .*"), ("none/*", r"matches no file .*"),
    ("in/*.npy", r"matches no file .*")])
def test_what_is_not_there(home, path, message):
    with pytest.raises(DataError) as error:
        find_inputs([f"{home}/{path}"])
    assert re.fullmatch(re.escape(f"{home}/{path}: ") + message, str(error.value))


def test_prepared_there_and_trained_on(hadoop, home, tmp_path, capfd):
    here = answer(capfd, "prepare", DIGITS, "--out", tmp_path / "digits", *OPTIONS)
    data = f"{home}/out/digits"
    there = answer(capfd, "prepare", f"{home}/in", "--out", data, *OPTIONS)
    assert there == {**here, "data": data}
    assert listed(hadoop, f"{home}/out") == FILES
    assert open_dataset(data).digest == open_dataset(str(tmp_path / "digits")).digest
    for name, each in (("here", str(tmp_path / "digits")), ("there", data)):
        run(each, tmp_path / name, 2, options=["--num-cores", "2"], **SOFTMAX)
    assert bits(tmp_path / "here") == bits(tmp_path / "there")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    measured = [answer(capfd, "evaluate", "--data", each, "--model", tmp_path / "there")
                for each in (data, tmp_path / "digits")]
    assert {**measured[0], "seconds": 0} == {**measured[1], "seconds": 0}
    assert answer(capfd, "inspect", data)["train"]["examples"] == here["examples"]


def test_another_data_set_is_replaced_if_asked(hadoop, home, tmp_path, capfd):
    data = f"{home}/out/digits"
    answer(capfd, "prepare", DIGITS, "--out", data, *OPTIONS)
    refused(capfd, tmp_path, "prepare", DIGITS, "--out", data, *OPTIONS, words=(
        "already holds a data set", "--overwrite"))
    answer(capfd, "prepare", DIGITS, "--out", data, *OPTIONS, "--shards", "2", "--overwrite")
    assert listed(hadoop, f"{home}/out") == FILES[:-1]
    refused(capfd, tmp_path, "prepare", DIGITS, "--out", f"{home}/in", *OPTIONS, "--overwrite",
            words=("must be empty or absent, but it holds something else ('_SUCCESS')",))


def test_a_failure_leaves_nothing(hadoop, home, tmp_path, capfd, monkeypatch):
    def create(self, path, size, chunks, ask=webhdfs.WebHdfs.create):
        if path.endswith("00002.safetensors"):
            raise ConnectionError("the data node is gone")
        ask(self, path, size, chunks)

    monkeypatch.setattr(webhdfs.WebHdfs, "create", create)
    refused(capfd, tmp_path, "prepare", DIGITS, "--out", f"{home}/out/digits", *OPTIONS, words=(
        "cannot be written: the data node is gone",))
    assert f"{home}/out" not in hadoop.run("fs", "-ls", home)  # nor the folder that it had made above
    root = home.partition("/user")[0]
    refused(capfd, tmp_path, "prepare", DIGITS, "--out", f"{root}/digits", *OPTIONS, words=(
        "cannot be written: Permission denied: user=hadoop",))


@pytest.mark.parametrize("web", ["off", "127.0.0.1:1"])
def test_hadoop_itself_where_webhdfs_is_not_served(hadoop, home, tmp_path, monkeypatch, web):
    data = f"{home}/out/digits"
    assert command("prepare", DIGITS, "--out", data, *OPTIONS) == 0
    run(data, tmp_path / "web", 1, **SOFTMAX)
    shards._open.clear()
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
    monkeypatch.setenv(hadoop_site.WEB_HDFS, web)
    run(data, tmp_path / "hadoop", 1, **SOFTMAX)
    assert bits(tmp_path / "hadoop") == bits(tmp_path / "web")
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert not is_dataset(f"{home}/none")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("HADOOP_HOME")
    with pytest.raises(DataError, match=r"/dataset.json: cannot be read: .*; set HADOOP_CONF_DIR"):
        open_dataset(data)


def test_a_data_node_that_does_not_answer_is_left_out(home, monkeypatch):
    """The other one has a copy; the name node would send us to either."""
    connected, asked = webhdfs._connected, []

    @contextlib.contextmanager
    def never_the_first(url):
        node = webhdfs.urlsplit(url).netloc
        if "/webhdfs/" in url:  # of a data node; the name node's own has no path
            asked.append(node)
            if node == asked[0]:
                raise ConnectionRefusedError(111, "Connection refused")
        with connected(url) as connection:
            yield connection

    monkeypatch.setattr(webhdfs, "_connected", never_the_first)
    for _ in range(5):
        asked.clear()
        assert fetching.read_bytes(f"{home}/in/digits.csv") == DIGITS.read_bytes()
        assert len(asked) == len(set(asked)) == 2
