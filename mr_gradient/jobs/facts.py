"""What the summaries of the splits tell of a job, for its line of the history."""

from __future__ import annotations

from collections.abc import Sequence


def of_summaries(summaries: Sequence[dict]) -> dict[str, int]:
    """``cache_hits``, ``cache_misses``: splits whose shard was on the node, or had to be fetched;
    ``fetched_bytes``: of the latter. Empty where no shard has a URI."""
    caches = [summary["node_cache"] for summary in summaries]
    found = {name: sum(cache[count] for cache in caches) for name, count in (
        ("cache_hits", "hits"), ("cache_misses", "misses"), ("fetched_bytes", "bytes"))}
    return found if any(found.values()) else {}
