"""What a job asks YARN for, by its model and its splits, and what its line of the history shows."""

from __future__ import annotations

import pytest

from mr_gradient.jobs.engines import sizes
from mr_gradient.jobs.engines.base import Work
from mr_gradient.jobs.facts import of_nodes
from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.progress import describe_job

pytestmark = pytest.mark.fast

MIB = 1 << 20


@pytest.fixture(autouse=True)
def site(monkeypatch, tmp_path):
    """Write what the cluster says; at first the memory of a mapper."""
    def write(**properties: str) -> None:
        lines = [f"<property><name>{name.replace('__', '.')}</name><value>{value}</value></property>"
                 for name, value in properties.items()]
        (tmp_path / "mapred-site.xml").write_text(
            "\n".join(["<configuration>", *lines, "</configuration>"]))

    monkeypatch.setenv("HADOOP_CONF_DIR", str(tmp_path))
    write(mapreduce__map__memory__mb="2048")
    return write


def asked(blocks: int = 1, map_bytes: int = 0, reduce_bytes: int = 0) -> dict[str, str]:
    return sizes.of_job(Work(GradientJob, "manifest", blocks=blocks, map_bytes=map_bytes,
                             reduce_bytes=reduce_bytes))


@pytest.mark.parametrize(("blocks", "reducers"), [(0, 1), (1, 1), (16, 1), (17, 2), (200, 13),
                                                  (100_000, 64)])
def test_reducers_by_the_number_of_blocks(blocks, reducers):
    assert asked(blocks)["mapreduce.job.reduces"] == str(reducers)


@pytest.mark.parametrize(("splits", "part"), [(1, "0.500"), (4, "0.500"), (8, "0.500"), (40, "0.900"),
                                              (1000, "0.996")])
def test_reducers_start_when_few_mappers_are_left(splits, part, tmp_path):
    (tmp_path / "manifest").write_text("{}\n" * splits)
    assert sizes.slow_start(Work(GradientJob, str(tmp_path / "manifest"))) == part


def test_small_models_leave_the_memory_to_the_cluster():
    assert asked() == {"mapreduce.job.reduces": "1", "mapreduce.map.cpu.vcores": "1",
                       "mapreduce.reduce.cpu.vcores": "1"}
    assert asked(map_bytes=1500 * MIB) == asked()


def test_large_models_ask_for_more():
    found = asked(map_bytes=3000 * MIB, reduce_bytes=1000 * MIB)
    assert 3000 + 200 < int(found["mapreduce.map.memory.mb"]) < 3000 + 600
    assert 1000 + 200 < int(found["mapreduce.reduce.memory.mb"]) < 1000 + 600
    assert found["mapreduce.map.java.opts"] == found["mapreduce.reduce.java.opts"] == "-Xmx200m"


def test_the_jvm_keeps_the_options_of_the_cluster(site):
    site(mapred__child__java__opts="-Xmx900m -XX:+UseSerialGC", mapreduce__reduce__java__opts="-Da=b")
    found = asked(map_bytes=3000 * MIB, reduce_bytes=3000 * MIB)
    assert found["mapreduce.map.java.opts"] == "-Xmx900m -XX:+UseSerialGC -Xmx200m"
    assert found["mapreduce.reduce.java.opts"] == "-Da=b -Xmx200m"


def summary(split: int, host: str, seconds: float) -> dict:
    return {"split": split, "host": host, "read_seconds": seconds / 2, "compute_seconds": seconds / 2}


def test_stragglers_are_named():
    even = [summary(i, f"node-{i % 2}", 1 + i / 10) for i in range(4)]
    assert of_nodes(even) == {"slowest": {"split": 3, "node": "node-1", "seconds": 1.3},
                              "median_seconds": pytest.approx(1.15), "stragglers": []}
    late = of_nodes([*even, summary(4, "node-2", 9)])
    assert late["stragglers"] == ["node-2"]
    counts = {"map_tasks": 6, "reduce_tasks": 2, "failed_map_tasks": 1, "failed_reduce_tasks": 0,
              "shuffled_bytes": 1_234_567, "cache_hits": 3, "cache_misses": 2}
    assert describe_job({**counts, **late}) == (
        "6+2 tasks  1 failed  1.23 MB shuffled  cache 3 hits 2 misses  "
        "slowest split 4 on node-2 9.00 s  straggling node-2")
    assert describe_job({"cache_hits": 1, "cache_misses": 0}) == "cache 1 hits 0 misses"
