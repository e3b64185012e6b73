"""Signs of life of a long task: Hadoop kills one that has said nothing for ten minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_Item = TypeVar("_Item")
_MOST_SECONDS = 30.0
#: Milliseconds after which this job's silent tasks are killed, as Hadoop streaming tells them.
_TIMEOUT = "mapreduce_task_timeout"


class Heartbeat:
    """``say`` gets a status every 30 s at most, or four times in the job's own timeout."""

    def __init__(self, say: Callable[[str], None]) -> None:
        given = os.environ.get(_TIMEOUT, "")
        timeout = int(given) / 1000 if given.isdigit() else 0.0
        self._say = say
        self._every = min(_MOST_SECONDS, timeout / 4) if timeout else _MOST_SECONDS
        self._last = time.monotonic()

    def during(self, items: Iterable[_Item], text: str) -> Iterator[_Item]:
        """The items, and a status whenever it is time for one."""
        for item in items:
            yield item
            now = time.monotonic()
            if now - self._last >= self._every:
                self._say(text)
                self._last = now
