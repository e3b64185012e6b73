"""Share of local reads on a cluster of four nodes, for three ways to tell YARN of the splits.

    python benchmarks/locality.py [--splits N] [--replication N] [--iterations N] [WAY ...]

Takes gradients of softmax on the digits with ``-r hadoop``, an iteration of each way in turn:
``manifest`` (one file, cut by NLineInputFormat), ``unplaced`` (a file a split, wherever HDFS puts it),
``placed`` (on a node that has the shard: what the engine does). A read is local on a node that has a
replica of the shard, or has it in its cache. Each way has a data set of its own, since the caches are
shared. Prints a line a way: shares of local reads and of cache hits over all iterations, Hadoop's own
share of data-local map tasks, and seconds an iteration (the first, median and shortest of the others).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster import HadoopCluster, Options

from mr_gradient.cli import main as mr_gradient
from mr_gradient.config import TrainConfig
from mr_gradient.dataset.schema import open_dataset
from mr_gradient.dataset.uris import split
from mr_gradient.dataset.webhdfs import WebHdfs
from mr_gradient.jobs.engines import locality
from mr_gradient.jobs.launch import job_arguments, launcher
from mr_gradient.jobs.manifest import make_splits
from mr_gradient.strategies.passes import Passes
from mr_gradient.training_parts import Parts

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("manifest", "unplaced", "placed")
#: One round of map tasks, as where a cluster is as large as the work.
MEGABYTES = 1536


def write_anywhere(web: WebHdfs, path: str, line: bytes, home: object) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(line)
        file.seek(0)
        web.write(path, file)


def changes(way: str) -> contextlib.AbstractContextManager:
    if way == "manifest":
        return mock.patch.object(locality, "place", return_value=False)
    if way == "unplaced":
        return mock.patch.object(locality, "_write", write_anywhere)
    return contextlib.nullcontext()


class Way:
    """A data set, an engine, and what was measured so far."""

    def __init__(self, name: str, data: str, options: list[str], stack: contextlib.ExitStack) -> None:
        self.name, dataset = name, open_dataset(data)
        self._parts = Parts(TrainConfig(data, "", model="softmax"), dataset)
        jobs = stack.enter_context(launcher(job_arguments("hadoop", options, False)))
        splits, web = make_splits(dataset), WebHdfs("")
        self._passes = Passes(jobs, splits, self._parts.layout)
        self._hosts = {each.split: {node.host for node in web.replicas(split(each.shard)[2])}
                       for each in splits}
        self.seconds: list[float] = []
        self.local: list[bool] = []
        self.hits: list[bool] = []
        self.data_local = 0

    def iterate(self, iteration: int) -> None:
        started = time.perf_counter()
        with changes(self.name):
            found = self._passes.run(self._parts.settings(iteration=iteration), [self._parts.start[0]])
        self.seconds.append(time.perf_counter() - started)
        hits = [each["node_cache"]["hits"] > 0 for each in found.summaries]
        self.hits += hits
        self.local += [hit or each["host"] in self._hosts[each["split"]]
                       for hit, each in zip(hits, found.summaries)]
        self.data_local += found.facts["data_local_map_tasks"]

    def report(self) -> dict:
        first, *others = self.seconds
        return {"way": self.name, "reads": len(self.local),
                "local reads": round(sum(self.local) / len(self.local), 3),
                "cache hits": round(sum(self.hits) / len(self.hits), 3),
                "data-local maps": round(self.data_local / len(self.local), 3),
                "first": round(first, 1), "median": round(statistics.median(others), 1),
                "least": round(min(others), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("ways", nargs="*", default=WAYS, metavar="WAY")
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--replication", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=5)
    options = parser.parse_args()
    cluster = Options(data_nodes=4, node_managers=4, node_memory=MEGABYTES, history=False,
                      properties={"dfs.replication": str(options.replication)})
    with HadoopCluster(cluster) as hadoop, contextlib.ExitStack() as stack:
        os.environ.update(hadoop.environment())
        runner = ["--python-bin", sys.executable, "--hadoop-streaming-jar", str(hadoop.streaming_jar)]
        ways = []
        for seed, name in enumerate(options.ways):
            data = f"hdfs://{hadoop.ports.address('name node')}/user/hadoop/{name}"
            assert mr_gradient(["prepare", str(ROOT / "data/digits.csv"), "--out", data, "--shards",
                                str(options.splits), "--seed", str(seed), "--json"]) == 0
            ways.append(Way(name, data, runner, stack))
        for iteration in range(1, options.iterations + 1):
            for way in ways:
                way.iterate(iteration)
                print(json.dumps(way.report()) if iteration > 1 else way.name, flush=True)


if __name__ == "__main__":
    main()
