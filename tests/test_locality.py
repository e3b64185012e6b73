"""Which node each split prefers. On a real HDFS: test_hadoop_cache.py."""

from __future__ import annotations

import json

import pytest

from mr_gradient.dataset.webhdfs import DataNode, WebHdfs
from mr_gradient.errors import TaskError
from mr_gradient.jobs.engines import locality

pytestmark = pytest.mark.fast

A, B, C = (DataNode(host, f"{host}:9864", f"{host}:9866") for host in "abc")


def hosts(choices) -> str:
    return "".join(node.host if node else "-" for node in locality.deal(choices))


def test_splits_are_dealt_evenly():
    assert hosts([[A, B], [B, A], [A, B], [A, B]]) == "abab"
    assert hosts([[A, B, C]] * 7) == "abcabca"
    assert hosts([[A], [A], [A, B], [B, A], [A, C]]) == "aabbc"
    assert hosts([[], [A], []]) == "-a-"


@pytest.fixture
def here(monkeypatch):
    """A cluster whose name node nobody may ask."""
    monkeypatch.setenv("HADOOP_USER_NAME", "hadoop")
    monkeypatch.setenv("MR_GRADIENT_WEBHDFS", "127.0.0.1:1")
    monkeypatch.setattr(WebHdfs, "_ask", lambda *_: pytest.fail("it was asked"))


@pytest.mark.parametrize("uri", [
    "s3://bucket/shard", "/local/shard", "http://host/shard", "hdfs-like://host/shard"])
def test_shards_that_are_elsewhere_have_no_place(here, uri):
    lines = [json.dumps({"shard": each}).encode() for each in ("hdfs:///data/shard", uri)]
    assert not locality.place(lines, "hdfs:///tmp/folder")


def test_too_many_splits_or_none_have_no_place(here):
    line = b'{"shard": "hdfs:///data/shard"}'
    assert not locality.place([line] * (locality.MOST_SPLITS + 1), "hdfs:///tmp/folder")
    assert not locality.place([], "hdfs:///tmp/folder")


@pytest.mark.parametrize("line", [b'{"piece": 1}\n', b"[1]\n", b"1\n", b"numpy 2.0\n", b"\n"])
def test_other_jobs_have_no_place(here, line):
    assert not locality.place([line], "hdfs:///tmp/folder")


def test_there_is_no_place_without_webhdfs(here, monkeypatch):
    monkeypatch.setenv("MR_GRADIENT_WEBHDFS", "off")
    assert not locality.place([b'{"shard": "hdfs:///data/shard"}'], "hdfs:///tmp/folder")


def test_the_manifest_is_the_input_once_descriptors_are_lost(tmp_path, monkeypatch):
    """And from the start where no descriptor can be written."""
    staged: list[str] = []
    inputs = locality.Inputs("hdfs:///tmp/run", lambda path: staged.append(path) or f"hdfs:///{path}")
    first, second = (tmp_path / name for name in ("first", "second"))
    for path in (first, second):
        path.write_bytes(b"line\n")
    monkeypatch.setattr(locality, "place", lambda lines, folder: lines == [b"line\n"])
    near = inputs.of(str(first))
    assert (near.uri, near.format) == ("hdfs:///tmp/run/first-splits", None)
    assert staged == []
    assert not inputs.lost(str(first), TaskError("a task failed", "Traceback ..."))
    assert inputs.of(str(first)) is near
    lost = TaskError("the job failed", "Error: org.apache.hadoop.hdfs.BlockMissingException: Could not")
    assert inputs.lost(str(first), lost)
    assert inputs.of(str(first)) == locality.Input(f"hdfs:///{first}")
    assert not inputs.lost(str(first), lost)

    def refuse(lines: list[bytes], folder: str) -> bool:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(locality, "place", refuse)
    assert inputs.of(str(second)) == locality.Input(f"hdfs:///{second}")
    assert staged == [str(first), str(second)]
