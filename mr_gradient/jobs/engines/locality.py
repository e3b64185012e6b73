"""Tasks run where their shards are: one descriptor file a split, each on one node that holds the shard.

``NLineInputFormat`` names no host for any of its splits, so YARN takes the first that is free. For a
file of one block it prefers the hosts of the block, and HDFS keeps the only replica of a new file on
the data node that writes it. So each line of the manifest becomes a file that is written by a data node
with a replica of the line's shard; the splits are dealt evenly. The files stay where they are, so in
later iterations the preferred node is the one whose cache (``dataset.node_cache``) has the shard.
With one replica a descriptor is lost with its node: then the job is run again, over the manifest.

As HaLoop's scheduler (Bu et al. 2010) sends a task of a later iteration to the node of the first.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from mr_gradient.dataset import hadoop_site
from mr_gradient.dataset.uris import split
from mr_gradient.dataset.webhdfs import DataNode, WebHdfs
from mr_gradient.errors import TaskError

#: More files than this cost more than they gain: the manifest is one file.
MOST_SPLITS = 2000
_THREADS = 8
#: Where several data nodes have one address, as on a machine that plays a cluster, HDFS takes any.
_TRIES = 20
#: What Hadoop says of a file whose replicas are all lost.
_LOST = "BlockMissingException"
_BY_LINES = "org.apache.hadoop.mapred.lib.NLineInputFormat"


@dataclass(frozen=True)
class Input:
    """Of a job: its URI, Hadoop's class that cuts it into splits (None: the usual one), properties."""

    uri: str
    format: str | None = _BY_LINES
    properties: dict[str, str] = field(default_factory=dict)


class Inputs:
    """The input of the jobs over each manifest, for the life of a driver, below a folder of HDFS.

    ``stage`` copies a local file there and returns its URI.
    """

    def __init__(self, folder: str, stage: Callable[[str], str]) -> None:
        self._folder, self._stage = folder, stage
        self._found: dict[str, Input] = {}

    def of(self, manifest: str) -> Input:
        """Descriptors near the shards where they can be had, else the manifest."""
        if manifest not in self._found:
            self._found[manifest] = self._near(manifest) or Input(self._stage(manifest))
        return self._found[manifest]

    def lost(self, manifest: str, error: TaskError) -> bool:
        """Whether a job failed since a node with descriptors is gone; from then on it is the manifest,
        whose replicas are as many as HDFS makes."""
        near = self._found.get(manifest)
        found = near is not None and near.format is None and _LOST in error.details
        if found:
            self._found[manifest] = Input(self._stage(manifest))
        return found

    def _near(self, manifest: str) -> Input | None:
        folder = f"{self._folder}/{os.path.basename(manifest)}-splits"
        with contextlib.suppress(OSError), open(manifest, "rb") as file:
            if place(file.readlines(), folder):
                return Input(folder, None, {
                    # A file is a split, however small the others are.
                    "mapreduce.input.fileinputformat.split.minsize": str(1 << 30),
                    # Who waits long for a file with one replica waits in vain.
                    "dfs.client.retry.window.base": "100"})
        return None


def place(lines: Sequence[bytes], folder: str) -> bool:
    """Write a descriptor for each line of a manifest into a folder, a URI of HDFS.

    False where that would be of no use: WebHDFS is not served, shards are not in this HDFS, there are
    too many. Raises ``OSError`` if a file cannot be written.
    """
    authority, path = split(folder)[1:]
    shards = [_shard(line) for line in lines]
    if not 0 < len(lines) <= MOST_SPLITS or not _all_in(authority, set(shards)):
        return False
    web = WebHdfs(authority)
    with ThreadPoolExecutor(_THREADS) as threads:
        names = sorted(set(shards))
        nodes = dict(zip(names, threads.map(web.replicas, (split(name)[2] for name in names))))
        homes = deal([nodes[shard] for shard in shards])
        list(threads.map(lambda number: _write(
            web, f"{path}/split-{number:05d}", lines[number], homes[number]), range(len(lines))))
    return True


def deal(choices: Iterable[Sequence[DataNode]]) -> list[DataNode | None]:
    """For each split one of the nodes that hold its shard: the one with the fewest splits so far."""
    taken: Counter = Counter()
    homes: list[DataNode | None] = []
    for nodes in choices:
        homes.append(min(nodes, key=lambda node: (taken[node], node.host), default=None))
        taken[homes[-1]] += 1
    return homes


def _shard(line: bytes) -> str:
    """URI of a split's shard; empty where a job has lines of another kind."""
    with contextlib.suppress(ValueError, TypeError, LookupError):
        return str(json.loads(line)["shard"])
    return ""


def _all_in(authority: str, shards: set[str]) -> bool:
    """Whether all shards are in the HDFS of an authority."""
    here = hadoop_site.web_addresses(authority)
    places = {split(shard)[:2] for shard in shards if "://" in shard}
    return bool(here) and len(places) > 0 and all("://" in shard for shard in shards) and all(
        scheme == "hdfs" and hadoop_site.web_addresses(where) == here for scheme, where in places)


def _write(web: WebHdfs, path: str, line: bytes, home: DataNode | None) -> None:
    for _ in range(_TRIES):
        web.write_at(path, line, home)
        if home is None or home in web.replicas(path):
            return
