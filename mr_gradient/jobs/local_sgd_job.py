"""One iteration of ``local-sgd`` as a job: every split trains, the reducers add weighted parameters.

A mapper begins at the broadcast parameters and state, makes updates from minibatches of its split,
and emits them times its share of the examples; so their sum over splits is the average.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import mr_gradient.jobs  # noqa: F401  before mrjob and numpy: compatibility, one BLAS thread

# isort: split
import numpy as np

from mr_gradient import optimizers
from mr_gradient.dataset.shards import Shard
from mr_gradient.jobs.broadcast import Local
from mr_gradient.jobs.gradient_job import DROPOUT, SHUFFLE, GradientJob
from mr_gradient.jobs.manifest import Split
from mr_gradient.jobs.outputs import Sums
from mr_gradient.models.penalty import Penalty
from mr_gradient.optimizers.base import Optimizer, pack, unpack, vectors


class LocalSgdJob(GradientJob):
    """See the module. The points of its broadcast are the parameters and the optimizer's vectors."""

    def _train(self, split: Split, shard: Shard) -> tuple[list[dict], Sums]:
        job, local = self._broadcast, self._broadcast.settings.local
        outputs = self._outputs.zeros()
        start = [job.layout.flatten(point, job.dtype) for point in job.points]
        parameters = start[0]
        state = self._optimizer.init(parameters)
        names = vectors(state)
        state = unpack(state, pack(state) | dict(zip(names, start[1:]))
                       | {"step": np.asarray(local.step, pack(state)["step"].dtype)})
        penalty = Penalty(local.l2, tuple(map(tuple, local.ranges)))
        generator = self._generator(split, DROPOUT)
        gradient = np.empty(job.layout.size, job.dtype)
        of_tensors = job.layout.views(gradient)
        sums: dict[str, float] = {"loss": 0.0, "weight": 0.0, "examples": 0, "updates": 0}
        for x, y, weight in self.heartbeat.during(self._batches(split, shard), self.place):
            gradient[:] = 0
            found = job.model.accumulate(job.layout.views(parameters), x, y, weight, of_tensors,
                                         generator=generator)
            total = len(y) if weight is None else float(np.sum(weight, dtype=np.float64))
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
            sums["weight"] += total
            sums["examples"] += len(y)
            sums["updates"] += 1
            if total:
                gradient /= gradient.dtype.type(total)
            penalty.add_gradient(gradient, parameters)
            parameters, state = self._optimizer.update(gradient, state, parameters)
        share = job.dtype.type((split.stop - split.start) / local.rows)
        arrays = pack(state)
        size = job.layout.size
        for at, array in enumerate([parameters, *(arrays[name] for name in names)]):
            np.multiply(array, share, out=outputs.flat[at * size:(at + 1) * size])
        return [sums], outputs

    def _measured(self) -> list[dict[str, np.ndarray]]:
        """The state's vectors are no parameters."""
        return self._broadcast.points[:1]

    @cached_property
    def _optimizer(self) -> Optimizer:
        return optimizers.from_json(self._broadcast.settings.local.optimizer)

    def _batches(self, split: Split, shard: Shard) -> Iterator[tuple]:
        """Minibatches in an order of their own for each epoch; the last of an epoch may be short."""
        local: Local = self._broadcast.settings.local
        generator, made, rows = self._generator(split, SHUFFLE), 0, split.stop - split.start
        while rows and (made < local.steps if local.steps else made < local.epochs * -(
                -rows // local.batch_size)):
            order = split.start + generator.permutation(rows)
            for batch in shard.chunks_of(order, local.batch_size, self._broadcast.dtype):
                yield self._weighted(*batch)
                made += 1
                if local.steps and made == local.steps:
                    return


if __name__ == "__main__":
    LocalSgdJob.run()
