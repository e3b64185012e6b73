"""What every engine does: run one job after another and yield its records. Here: on this machine."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mrjob.step import StepFailedException

from mr_gradient.errors import TaskError
from mr_gradient.jobs.base_job import BaseJob
from mr_gradient.jobs.task_errors import ERROR, rebuild


@dataclass(frozen=True)
class Work:
    """One job, in words that every engine understands.

    ``manifest``: local path of its input, a line a split; the same path has the same content in all
    jobs. ``broadcast``: options that name small local files, which are new in each job. ``title``: for
    people, such as ``iteration 7``. ``blocks``: how many keys the reducers can share; ``reducers``: how
    many there should be, if not as many as that takes. ``map_bytes``, ``reduce_bytes``: what a task
    holds beside the interpreter and its libraries.
    """

    kind: type[BaseJob]
    manifest: str
    broadcast: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    title: str = ""
    blocks: int = 1
    reducers: int = 0
    map_bytes: int = 0
    reduce_bytes: int = 0


class Engine:
    """Runs jobs with mrjob's inline and local runners.

    ``arguments``: of every job; ``scratch``: the driver's own folder; ``run``: a name that only drivers
    of the same training share. ``facts``: what the engine tells of the last job, for the history.
    ``watch`` is called with a few words while a job runs, ``note`` with what is worth a line.
    ``elsewhere``: where tasks run on machines that see none of the driver's files, the command that
    puts files where they see them. ``ships``: whether it can send packages there.
    """

    elsewhere: ClassVar[str] = ""
    ships: ClassVar[bool] = False

    def __init__(self, arguments: list[str], scratch: str, run: str) -> None:
        self.arguments, self.scratch, self.run_name = arguments, scratch, run
        self.facts: dict[str, Any] = {}
        self.watch: Callable[[str], None] = lambda text: None
        self.note: Callable[[str], None] = functools.partial(print, file=sys.stderr, flush=True)

    @classmethod
    def elsewhere_for(cls, arguments: list[str]) -> str:
        """``elsewhere``, of jobs with these arguments."""
        return cls.elsewhere

    def run(self, work: Work) -> Iterator[tuple]:
        """The records of a job. Raises the error of a task, or ``TaskError``."""
        files = [each for pair in work.broadcast.items() for each in pair]
        job = work.kind([*self.arguments, *work.options, *files, work.manifest])
        try:
            with job.make_runner() as runner:
                runner.run()
                yield from job.parse_output(runner.cat_output())
        except StepFailedException as error:
            raise TaskError(str(error)) from error

    def close(self) -> None:
        """Remove what the engine keeps for its jobs."""


def without_errors(records: Iterable[tuple]) -> list[tuple]:
    """All records of a job whose tasks report errors as records. Raises what those say."""
    found = list(records)
    if errors := [value for key, value in found if key == ERROR]:
        raise rebuild(errors)
    return found
