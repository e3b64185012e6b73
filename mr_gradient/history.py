"""``history.jsonl``: one line of JSON for each iteration, cut back to the checkpoint on resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

FILE = "history.jsonl"


class History:
    """Appends lines to the history of a model folder."""

    def __init__(self, out: str, keep_bytes: int) -> None:
        """Go on after the first ``keep_bytes`` bytes; later lines were not checkpointed."""
        self._file = open(os.path.join(out, FILE), "ab")  # noqa: SIM115  closed by close()
        if self._file.tell() > keep_bytes:
            self._file.truncate(keep_bytes)

    def append(self, line: dict) -> int:
        """Write a line; returns the length of the history in bytes."""
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


def read(out: str) -> Iterator[dict]:
    with open(os.path.join(out, FILE), encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
