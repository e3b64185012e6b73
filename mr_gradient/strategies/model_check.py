"""A user's own model is tried on a few examples before its first job."""

from __future__ import annotations

import os

import numpy as np

from mr_gradient.errors import DataError
from mr_gradient.jobs import broadcast, model_code
from mr_gradient.jobs.broadcast import Settings
from mr_gradient.jobs.check_job import CheckJob
from mr_gradient.jobs.launch import Launcher
from mr_gradient.jobs.manifest import Split, to_lines
from mr_gradient.jobs.task import Task
from mr_gradient.jobs.worker_pool import WorkerPool, why_fork_is_unsafe


def check(jobs: Launcher, splits: list[Split], settings: Settings,
          start: dict[str, np.ndarray]) -> None:
    """Raises ``ModelError`` with the first mistake, see ``models.check``.

    ``splits``: of which the first with rows is looked at; ``start``: parameters of the model.
    """
    split = next((each for each in splits if each.gradient and each.stop > each.start), None)
    if split is None:
        raise DataError("there are no examples to train on")
    names = {name: os.path.join(jobs.scratch, f"check-{name}")
             for name in ("params", "manifest", "stdout", "stderr")}
    broadcast.write(names["params"], settings, [start])
    with open(names["manifest"], "wb") as file:
        file.write(to_lines([split]))
    code = model_code.arguments(jobs.code, jobs.scratch)
    task = Task(
        CheckJob.__module__, CheckJob.__qualname__,
        ["--step-num=0", "--mapper", "--params", names["params"], *code],
        stdin=names["manifest"], stdout=names["stdout"], stderr=names["stderr"],
        folder=jobs.scratch, environment={})
    if why_fork_is_unsafe():
        task()
    else:
        with WorkerPool(1) as pool:
            pool.run([task])
    for name in names.values():
        os.unlink(name)
