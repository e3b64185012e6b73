"""Jobs of YARN from outside: why one failed, which are left of a run, how to end one."""

from __future__ import annotations

import contextlib
import re
import subprocess
from typing import Any

from mr_gradient.errors import TaskError


def kill(hadoop: list[str], job: str) -> None:
    """End a job, such as ``job_1_0001``; no error if it has ended."""
    with contextlib.suppress(OSError):
        subprocess.run([*hadoop, "job", "-kill", job], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def kill_all(hadoop: list[str], name: str) -> None:
    """End the jobs whose name begins with a word, which a driver that was lost has left."""
    done = subprocess.run([*hadoop, "job", "-list"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    for line in done.stdout.splitlines():
        words = line.split()
        if words and words[0].startswith("job_") and name in words:
            kill(hadoop, words[0])


_CAUSES = (
    re.compile(r".*running beyond the '?(?:physical|virtual)'? memory limit.*", re.I),
    re.compile(r".*(Permission denied.*)"),
    re.compile(r".*subprocess failed with code (\d+)"),
    re.compile(r"^(?:Exception in thread .*?|Error: |ERROR .*?: )(.*)"),
    re.compile(r"^\s*(?:Caused by: )?(?:[a-z]\w*\.)+\w*(?:Exception|Error): (.*)"))


def failure(told: dict[str, Any]) -> TaskError:
    """One line for a job that failed, from what the client said of it."""
    lines = [line.rstrip() for line in told["lines"]]
    name = told.get("application", "")
    where = f"; its logs: yarn logs -applicationId {name}" if name else ""
    for cause in _CAUSES:
        for line in lines:
            if found := cause.match(line):
                if "subprocess" in line:
                    what = _of_code(int(found[1]))
                elif "memory limit" in line:
                    what = ("a task needs more memory than YARN gave it; ask for more with -D "
                            "mapreduce.map.memory.mb=N, or cut splits with --rows-per-split")
                else:
                    what = found[1]
                return TaskError(f"the job failed on Hadoop: {what}{where}", "\n".join(lines) + "\n")
    last = next((line for line in reversed(lines) if line), "it said nothing")
    return TaskError(f"the job failed on Hadoop: {last}{where}", "\n".join(lines) + "\n")


def _of_code(code: int) -> str:
    """What a task's exit status tells."""
    if code > 128:
        return f"a task was killed by signal {code - 128}"
    if code == 127:
        return "the nodes have no such Python; name one with --python-bin, or use --ship-env"
    return (f"a task ended with status {code} before it could report an error; do the nodes have "
            "Python 3.10 or later with numpy?")
