"""Tasks on a real Hadoop and the shards of their node: fetched once, checked, near.

The nodes are two, each with a cache of its own: the folder that YARN keeps for the user on a node.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from cli_tools import answer
from trainings import After, bits, class_data, run

from mr_gradient.dataset import shards, uris
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.dataset.webhdfs import WebHdfs
from mr_gradient.jobs.engines import locality
from mr_gradient.jobs.launch import Launcher
from mr_gradient.jobs.manifest import make_splits, to_lines

SOFTMAX = {"model": "softmax", "learning_rate": 0.1}
#: The held-out one included.
SHARDS = 4
#: A cached shard of another data set, larger than the bound of the caches in bytes.
OLD, BOUND = "0" * 64, 100_000
#: Of the driver's environment: nothing that a cluster writes down may hold it.
SECRET = "secret-of-the-driver-4711"


@pytest.fixture(scope="module")
def data(hadoop, tmp_path_factory):
    """The same data set here and in HDFS, and the checksum of each shard by its path."""
    here = tmp_path_factory.mktemp("cache") / "cached"
    dataset = class_data(here, shards=SHARDS - 1)
    hadoop.run("fs", "-put", here, "cached")
    there = f"hdfs://{hadoop.ports.address('name node')}/user/{hadoop.options.user}/cached"
    return str(here), there, [info.sha256 for info in dataset.train + dataset.held_out]


@pytest.fixture
def client(hadoop, tmp_path, monkeypatch):
    """Options of a job whose tasks could start ``hadoop``, and a file in which each start is a line."""
    for name, value in hadoop.environment(AWS_SECRET_ACCESS_KEY=SECRET).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shards, "_open", {})
    starts, command = tmp_path / "starts", tmp_path / "home" / "bin" / "hadoop"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(starts))}\n'
                       f'exec {shlex.quote(str(hadoop.folder / "bin" / "hadoop"))} "$@"\n')
    command.chmod(0o755)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    # A second attempt on the other node would fetch a shard once more.
    yield ["--python-bin", str(python), "--hadoop-streaming-jar", str(hadoop.streaming_jar),
           "-D", "mapreduce.map.speculative=false",
           "--cmdenv", f"HADOOP_HOME={tmp_path / 'home'}"], starts
    shards._open.clear()


def caches(hadoop) -> list[Path]:
    return sorted(hadoop.folder.glob(f"node*/local/usercache/{hadoop.options.user}/mr_gradient-cache"))


def spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def jobs(monkeypatch) -> list[list[dict]]:
    """The summaries of the splits of each job that is run."""
    found = []

    def launch(self, *arguments, ask=Launcher.run):
        output = ask(self, *arguments)
        found.append(output.summaries)
        return output

    monkeypatch.setattr(Launcher, "run", launch)
    return found


def test_nodes_keep_the_shards_of_a_training(hadoop, data, client, jobs, tmp_path):
    """One of which is damaged on every node after the first iteration."""
    here, there, checksums = data
    options, starts = client
    options = [*options, "--cmdenv", f"MR_GRADIENT_CACHE_GB={BOUND / 1e9}"]
    spoilt: list[Path] = []

    def damage_one() -> None:
        spoilt.extend(path for folder in caches(hadoop) for path in folder.glob(checksums[1]))
        for path in spoilt:
            spoil(path)

    run(here, tmp_path / "here", 2, **SOFTMAX)
    jobs.clear()
    for node in hadoop.folder.glob("node*/local/usercache/*"):
        cache = node / "mr_gradient-cache"
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(0o700)
        (cache / OLD).write_bytes(bytes(BOUND + 1))
    run(there, tmp_path / "there", 2, After(1, damage_one), options, runner="hadoop", **SOFTMAX)
    assert bits(tmp_path / "there") == bits(tmp_path / "here")
    assert len(spoilt) == 1
    first, second, last = jobs
    told = [json.loads(line)["job"] for line in
            (tmp_path / "there/history.jsonl").read_text().splitlines()]
    assert [told[0][name] for name in ("cache_hits", "cache_misses")] == [0, SHARDS]
    assert told[0]["fetched_bytes"] == sum(info.bytes for part in ("train", "held_out")
                                           for info in getattr(open_dataset(here), part))
    assert told[1]["cache_hits"] + told[1]["cache_misses"] == SHARDS
    assert [each["node_cache"]["misses"] for each in second if each["split"] == 1] == [1]
    # A shard misses once on each of two nodes at most, and there are three jobs.
    hits = [each for job in jobs for each in job if each["node_cache"]["hits"]]
    assert len(hits) >= SHARDS - 1
    hosts = {node["nodeHostName"] for node in hadoop.resource_manager.nodes()}
    assert {each["host"] for each in first + second + last} <= hosts
    kept = [{path.name for path in folder.iterdir()} for folder in caches(hadoop)]
    kept = [names for names in kept if names != {OLD}]  # no task came to the node
    assert set.union(*kept) == set(checksums)
    misses = sum(each["node_cache"]["misses"] for job in jobs for each in job)
    assert misses - 2 <= sum(map(len, kept)) <= misses
    for folder in caches(hadoop):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} <= {0o600}
    assert not starts.exists()  # WebHDFS is served: no task started a JVM
    assert_no_secret(hadoop, tmp_path)


def test_nothing_is_kept_and_hadoop_fetches_if_asked(hadoop, data, client, tmp_path, capfd):
    here, there, _ = data
    options, starts = client
    run(here, tmp_path / "model", 1, **SOFTMAX)
    before = [(path, path.stat().st_ctime_ns) for folder in caches(hadoop) for path in folder.iterdir()]
    asked = ("evaluate", "--model", tmp_path / "model", "--part", "train", "--data")
    expected = answer(capfd, *asked, here)
    found = answer(capfd, *asked, there, "-r", "hadoop", "--no-node-cache", *options,
                   "--cmdenv", "MR_GRADIENT_WEBHDFS=off")
    assert {**found, "seconds": 0} == {**expected, "seconds": 0}
    assert sorted(starts.read_text().splitlines()) == [
        f"fs -cat {there}/shards/{number:05d}.safetensors" for number in range(SHARDS - 1)]
    assert before == [
        (path, path.stat().st_ctime_ns) for folder in caches(hadoop) for path in folder.iterdir()]
    assert_no_secret(hadoop, tmp_path)


def assert_no_secret(hadoop, folder: Path) -> None:
    """In any file of the cluster or of the driver: logs, scripts of containers, manifests, history."""
    for root in (hadoop.folder, folder):
        for path in root.rglob("*"):
            if path.is_file() and path.stat().st_size < 1 << 24:
                assert SECRET.encode() not in path.read_bytes(), path


def test_descriptors_are_where_their_shards_are(hadoop, data, client, tmp_path):
    """Of two nodes that hold all shards each gets half of the splits."""
    lines = to_lines(make_splits(open_dataset(data[1]))).splitlines(keepends=True)
    folder = data[1].replace("cached", "descriptors")
    assert locality.place(lines, folder)
    web, path = WebHdfs(""), f"/user/{hadoop.options.user}/descriptors"
    names = [each["pathSuffix"] for each in web.children(path)]
    homes = []
    for name, line in zip(sorted(names), lines, strict=True):
        with web.open(f"{path}/{name}") as file:
            assert file.read() == line
        [home] = web.replicas(f"{path}/{name}")
        assert home in web.replicas(uris.split(json.loads(line)["shard"])[2])
        homes.append(home.host)
    assert sorted(homes.count(host) for host in set(homes)) == [SHARDS // 2] * 2
    web.delete(path, recursive=True)
    for kind in (data[0], "s3://bucket/data", "hdfs://other.invalid:9000/data"):
        moved = [line.replace(data[1].encode(), kind.encode()) for line in lines]
        assert not locality.place(moved, folder)


@pytest.mark.long
def test_descriptors_that_are_lost_cost_one_job(hadoop, data, client, jobs, tmp_path):
    """As when their node is gone for good: their blocks are removed from its disk."""
    lost: list[str] = []

    def lose() -> None:
        [folder] = WebHdfs("").children(f"/user/{hadoop.options.user}/tmp/mrjob")
        run_folder = f"/user/{hadoop.options.user}/tmp/mrjob/{folder['pathSuffix']}"
        [name] = [each["pathSuffix"] for each in WebHdfs("").children(run_folder)
                  if each["pathSuffix"].endswith("-splits")]
        found = WebHdfs("")._ask("GET", f"{run_folder}/{name}/split-00002", "GET_BLOCK_LOCATIONS")
        block = f"blk_{found['LocatedBlocks']['locatedBlocks'][0]['block']['blockId']}"
        for path in hadoop.folder.glob(f"node*/blocks/current/*/current/finalized/**/{block}*"):
            path.unlink()
            lost.append(path.name)

    run(data[0], tmp_path / "here", 2, **SOFTMAX)
    run(data[1], tmp_path / "there", 2, After(1, lose), client[0], runner="hadoop", **SOFTMAX)
    assert bits(tmp_path / "there") == bits(tmp_path / "here")
    assert len(lost) == 2  # the block and its checksums
    names = [each["name"] for each in hadoop.resource_manager.applications("FAILED,FINISHED")
             if each["finalStatus"] == "FAILED"]
    assert [name.partition(" ")[2] for name in names][-1:] == ["iteration 2"]
