"""mrjob's inline runner, with tasks in forked children and without its costs per job.

Input is cut into one contiguous piece a process, unless the job asks for more, so that a mapper
holds splits that are neighbours in the tree of law 2. Neither the cut nor the number of processes
changes the sums.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import ClassVar

from mrjob.conf import combine_local_envs
from mrjob.inline import InlineMRJobRunner
from mrjob.parse import parse_mr_job_stderr

from mr_gradient.errors import MrGradientError, from_task
from mr_gradient.jobs import reducer_input
from mr_gradient.jobs.task import Task
from mr_gradient.jobs.worker_pool import WorkerPool, why_fork_is_unsafe

#: Below this many bytes, a reducer in this process is done before a child has heard of it.
_SMALL_REDUCE_BYTES = 1 << 20


class InlineRunner(InlineMRJobRunner):
    """Runs the tasks of a job in this process, or on ``--num-cores N`` in children of it."""

    _shared_pool: ClassVar[WorkerPool | None] = None

    @classmethod
    @contextlib.contextmanager
    def kept_workers(cls) -> Iterator[None]:
        """Keep the children alive for all jobs of the block."""
        if cls._shared_pool is not None:
            yield
            return
        with WorkerPool(0) as pool:
            cls._shared_pool = pool
            try:
                yield
            finally:
                cls._shared_pool = None

    def _num_cores(self) -> int:
        if why_fork_is_unsafe():
            return 1
        return self._opts["num_cores"] or len(os.sched_getaffinity(0))

    def _run_multiple(self, funcs, num_processes: int | None = None) -> None:
        tasks = list(funcs)
        size = min(self._num_cores(), len(tasks))
        if size < 2:
            for task in tasks:
                _run_here(task)
        elif self._shared_pool is not None:
            self._shared_pool.size = max(self._shared_pool.size, size)
            self._shared_pool.run(tasks)
        else:
            with WorkerPool(size) as pool:
                pool.run(tasks)

    def _run_task_func(self, task_type: str, step_num: int, task_num: int,
                       map_split: dict | None = None) -> Task:
        return Task(
            self._mrjob_cls.__module__, self._mrjob_cls.__qualname__,
            list(self._args_for_task(step_num, task_type)),
            stdin=self._task_input_path(task_type, step_num, task_num),
            stdout=self._task_output_path(task_type, step_num, task_num),
            stderr=self._task_stderr_path(task_type, step_num, task_num),
            folder=self._setup_working_dir(task_type, step_num, task_num),
            environment=self._environment_for_task(task_type, step_num, task_num, map_split))

    def _environment_for_task(self, task_type: str, step_num: int, task_num: int,
                              map_split: dict | None) -> dict[str, str]:
        """What mrjob's ``_env_for_task`` adds to the driver's environment, without a copy of it."""
        jobconf = {**self._jobconf_for_step(step_num), **self._simulate_jobconf_for_step(
            task_type, step_num, task_num, map_split)}
        variables = {name.replace(".", "_"): str(value) for name, value in jobconf.items()}
        ours = self._cmdenv()
        present = {name: os.environ[name] for name in (*variables, *ours) if name in os.environ}
        merged = combine_local_envs(present, variables, ours)
        return {name: str(value) for name, value in merged.items()}

    def _run_mapper_and_combiner_func(self, step_num: int, task_num: int, map_split: dict):
        if "combiner" in self._get_step(step_num):
            return super()._run_mapper_and_combiner_func(step_num, task_num, map_split)
        return self._run_task_func("mapper", step_num, task_num, map_split)

    def _split_mapper_input(self, input_paths: list[str], step_num: int) -> list[dict]:
        """Deal the lines of a manifest to the tasks, evenly and in order."""
        if step_num:
            return super()._split_mapper_input(input_paths, step_num)
        places, lines = [], []
        for path in input_paths:
            with open(path, "rb") as file:
                for line in file:
                    places.append((path, file.tell() - len(line)))
                    lines.append(line)
        cores = self._num_cores()
        count = max(1, min(cores if cores == 1 else cores * self._mrjob_cls.TASKS_PER_CORE, len(lines)))
        ends = [len(lines) * (task + 1) // count for task in range(count)]
        splits = []
        for start, stop, output in zip([0, *ends], ends, self._yield_split_fileobjs("mapper", 0)):
            with output:
                output.writelines(lines[start:stop])
            path, offset = places[start] if lines else (input_paths[0], 0)
            splits.append({"file": path, "start": offset,
                           "length": sum(map(len, lines[start:stop]))})
        return splits

    def _create_dist_cache_dir(self, step_num: int) -> None:
        """As mrjob's, with links in place of copies: nothing changes a job's files."""
        if self._working_dir_mgr.name_to_path("archive"):
            super()._create_dist_cache_dir(step_num)
            return
        os.makedirs(self._dist_cache_dir(step_num))
        for name, path in self._working_dir_mgr.name_to_path("file").items():
            path = os.path.abspath(path.removeprefix("file://"))
            os.symlink(path, self._path_in_dist_cache_dir(name, step_num))

    def _parse_task_counters(self, task_type: str, step_num: int) -> None:
        """As mrjob's, which looks for the tasks' stderr with a glob below the whole step."""
        folder = os.path.join(self._step_dir(step_num), task_type)
        with contextlib.suppress(FileNotFoundError):
            for task in sorted(os.listdir(folder)):
                with contextlib.suppress(OSError), \
                        open(os.path.join(folder, task, "stderr"), "rb") as stderr:
                    parse_mr_job_stderr(stderr, counters=self._counters[step_num])

    def _sort_reducer_input(self, step_num: int, num_map_tasks: int) -> None:
        """Left to the dealing, which sorts."""
        self._map_outputs = [self._task_output_path("mapper", step_num, task)
                             for task in range(num_map_tasks)]

    def _split_reducer_input(self, step_num: int) -> int:
        per_core = self._mrjob_cls.TASKS_PER_CORE
        return reducer_input.deal(
            self._map_outputs, lambda task: self._task_input_path("reducer", step_num, task),
            self._num_cores() * per_core, 0 if per_core > 1 else _SMALL_REDUCE_BYTES,
            self._sort_values)


def _run_here(task: Task) -> None:
    try:
        task()
    except MrGradientError:
        raise
    except Exception as error:
        import traceback

        raise from_task(type(error).__name__, str(error), traceback.format_exc()) from error
