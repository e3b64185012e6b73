"""What the client of a job says on stderr while it runs: number, web page, percentages, and why it
failed, in one line.

Read line by line, since a Ctrl-C may come right after the line that has the job's number.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from mr_gradient.errors import TaskError

_LINES_KEPT = 400
_PROGRESS = re.compile(r"map (\d+)% reduce (\d+)%\s*$")
_SUBMITTED = re.compile(r"Submitted application (application_\w+)")
_TRACKING = re.compile(r"The url to track the job: (\S+)")
_STAGING = re.compile(r"Disabling Erasure Coding for path: (\S+)")
_ENDED = re.compile(r"Job job_\w+ (?:completed successfully|failed with state)")
_RETRIES = re.compile(r"Retrying connect to server: (\S+?)\. Already tried")


class ClientLog:
    """``watch`` is called with words of progress, ``found`` with the URL of the job's web page.

    ``application``, ``staging``: the job's number and its folder in HDFS, once they are known;
    ``ended``: whether the job has.
    """

    def __init__(self, watch: Callable[[str], None] = lambda text: None,
                 found: Callable[[str], None] = lambda url: None) -> None:
        self._watch, self._found = watch, found
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self.application = self.url = self.staging = ""
        self.ended = False

    @property
    def job(self) -> str:
        """The number as MapReduce has it."""
        return self.application.replace("application_", "job_")

    def hear(self, line: str) -> None:
        self.lines.append(line.rstrip())
        if found := _PROGRESS.search(line):
            self._watch(f"map {found[1]}% reduce {found[2]}%")
        elif found := _SUBMITTED.search(line):
            self.application = found[1]
            self._watch("waiting for the job to start")
        elif found := _TRACKING.search(line):
            self.url = found[1]
            self._found(self.url)
        elif found := _STAGING.search(line):
            self.staging = found[1]
        elif _ENDED.search(line):
            self.ended = True
        elif found := _RETRIES.search(line):
            self._watch(f"waiting for {found[1]}")

    def failure(self) -> TaskError:
        """One line for a job that failed; all that was said for ``-v``."""
        where = f"; its logs: yarn logs -applicationId {self.application}" if self.application else ""
        return TaskError(f"the job failed on Hadoop: {self._cause()}{where}",
                         "\n".join(self.lines) + "\n")

    def _cause(self) -> str:
        """The first that is known, the most telling ones first."""
        for pattern, words in _CAUSES:
            for number, line in enumerate(self.lines):
                if found := pattern.search(line):
                    return words(found, self._attempt(number))
        said = [line for line in self.lines if line and line != "Streaming Command Failed!"]
        return said[-1] if said else "it said nothing"

    def _attempt(self, number: int) -> str:
        """The task attempt that a line is about: such lines follow one that names it."""
        for line in reversed([*self.lines][:number + 1]):
            if found := _ATTEMPT.search(line):
                return found[0]
        return ""


_ATTEMPT = re.compile(r"attempt_\d+_\d+_[mr]_\d+_\d+")


def _task(attempt: str) -> str:
    """``map task 3``."""
    if not attempt:
        return "a task"
    step, number = attempt.split("_")[3:5]
    return f"{_step(attempt)} task {int(number)}" if step in "mr" else "a task"


def _step(attempt: str) -> str:
    return "reduce" if "_r_" in attempt else "map"


def _of_memory(found: re.Match, attempt: str) -> str:
    step = _step(attempt)
    smaller = ("use more reducers with -D mapreduce.job.reduces=N" if step == "reduce" else
               "cut smaller splits with --rows-per-split")
    used = re.search(r"usage: ([\d.]+ \wB) of ([\d.]+ \wB) physical", found[0])
    sizes = f" ({used[1]} of {used[2]})" if used else ""
    return (f"{_task(attempt)} was killed since it needed more memory than YARN gave it{sizes}; ask "
            f"for more with -D mapreduce.{step}.memory.mb=N, or {smaller}")


def _of_heap(found: re.Match, attempt: str) -> str:
    return (f"the JVM of {_task(attempt)} had no memory left; give it more with -D mapreduce."
            f"{_step(attempt)}.java.opts=-Xmx512m and -D mapreduce.{_step(attempt)}.memory.mb=N")


def _of_time(found: re.Match, attempt: str) -> str:
    return (f"{_task(attempt)} was killed since it said nothing for {found[1]} s; allow more with "
            "-D mapreduce.task.timeout=MILLISECONDS, or cut smaller splits with --rows-per-split")


def _of_program(found: re.Match, attempt: str) -> str:
    return f"the nodes cannot run {found[1]!r}; name a Python that they have with --python-bin"


def _of_code(found: re.Match, attempt: str) -> str:
    code = int(found[1])
    if code == 127:
        return f"{_task(attempt)} found no Python; name one that the nodes have with --python-bin"
    if code > 128:
        return f"{_task(attempt)} was killed by signal {code - 128}"
    return (f"{_task(attempt)} ended with status {code} before it could report an error; the nodes "
            "need Python 3.10 or later with numpy, which --python-bin names")


def _as_said(found: re.Match, attempt: str) -> str:
    return found[1].partition("; For more details see")[0]


_CAUSES = (
    (re.compile(r".*running .*beyond the '?(?:physical|virtual)'? memory limit.*", re.I), _of_memory),
    (re.compile(r"OutOfMemoryError|Java heap space"), _of_heap),
    (re.compile(r"imed out after (\d+)"), _of_time),
    (re.compile(r'Cannot run program "([^"]+)"'), _of_program),
    (re.compile(r"subprocess failed with code (\d+)"), _of_code),
    (re.compile(r"Error Launching job : (.*)"), _as_said),
    (re.compile(r'^Exception in thread "[^"]*" (?:[\w.$]+: )?(.*)'), _as_said),
    (re.compile(r"^(?:Error|Caused by): (?:[\w.$]+: )?(.*)"), _as_said),
    (re.compile(r"^\s*(?:[a-z]\w*\.)+\w*(?:Exception|Error): (.*)"), _as_said),
    (re.compile(r"failed with state \w+ due to: (.*)"), _as_said))
