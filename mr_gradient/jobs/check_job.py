"""A look at a user's own model in a process that is not the driver's, over the first rows of a split.

The driver itself never computes with such a model: what it imports may start threads, after which
nothing can be forked safely, and it may crash.
"""

from __future__ import annotations

from collections.abc import Iterator

import mr_gradient.jobs  # noqa: F401  before mrjob and numpy: compatibility, one BLAS thread

# isort: split
import numpy as np

from mr_gradient.jobs.gradient_job import GradientJob
from mr_gradient.jobs.manifest import Split
from mr_gradient.models.check import ROWS, check_model


class CheckJob(GradientJob):
    """Its mapper, run as a task by itself, yields nothing and fails with what is wrong."""

    def mapper(self, _: None, line: bytes | str) -> Iterator[tuple]:
        split = Split.parse(line.decode() if isinstance(line, bytes) else line)
        shard, settings = self._open(split), self._broadcast.settings
        stop = min(split.stop, split.start + ROWS)

        def rows(dtype: np.dtype) -> tuple:
            x, y, _ = next(iter(shard.chunks(split.start, stop, ROWS, dtype)))
            # The next call may write over a buffer.
            return (x.copy(), y.copy())

        check_model(self._broadcast.model, settings.features, "class" if settings.classes else "value",
                    settings.classes, rows, settings.seed)
        yield from ()

    def mapper_final(self) -> Iterator[tuple]:
        yield from ()


if __name__ == "__main__":
    CheckJob.run()
