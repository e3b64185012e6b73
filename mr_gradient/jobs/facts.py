"""What the summaries of the splits tell of a job, for its line of the history."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

#: A split that took so many times the median, and so many seconds more, is a straggler's.
_TIMES, _SECONDS = 2.0, 2.0


def of_summaries(summaries: Sequence[dict]) -> dict[str, int]:
    """``cache_hits``, ``cache_misses``: splits whose shard was on the node, or had to be fetched;
    ``fetched_bytes``: of the latter. Empty where no shard has a URI."""
    caches = [summary["node_cache"] for summary in summaries]
    found = {name: sum(cache[count] for cache in caches) for name, count in (
        ("cache_hits", "hits"), ("cache_misses", "misses"), ("fetched_bytes", "bytes"))}
    return found if any(found.values()) else {}


def of_nodes(summaries: Sequence[dict]) -> dict[str, Any]:
    """``slowest``: number, node and seconds of the split that took longest; ``median_seconds``: of all
    splits; ``stragglers``: nodes of the splits that took far longer."""
    if not summaries:
        return {}
    seconds = [each["read_seconds"] + each["compute_seconds"] for each in summaries]
    typical, (most, slowest) = median(seconds), max(
        zip(seconds, summaries), key=lambda pair: (pair[0], -pair[1]["split"]))
    late = {each["host"] for each, taken in zip(summaries, seconds)
            if taken > _TIMES * typical and taken > typical + _SECONDS}
    return {"slowest": {"split": slowest["split"], "node": slowest["host"], "seconds": most},
            "median_seconds": typical, "stragglers": sorted(late)}
