"""One line for what went wrong in Spark, whose own messages are pages of Java."""

from __future__ import annotations

import re

from mr_gradient.errors import MrGradientError, TaskError, UsageError, from_task

_PYTHON = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)): ?(.*)$", re.M)
_VERSIONS = re.compile(r"(Python in worker has different version.*?), PySpark")
_NO_PYTHON = re.compile(r'Cannot run program "([^"]+)"')
_LOST = re.compile(r"ExecutorLostFailure .*?Reason: (.*)")
_RECENT = re.compile(r"most recent failure: Lost task [^()]*\(TID \d+\) \([^()]*\): "
                     r"(?:[\w.$]+(?:Exception|Error): )?(.+)")
_NO_JAVA = re.compile(r"JAVA_HOME is not set|java: (?:not found|command not found|No such file)")
_JAVA = re.compile(r"^(?:: |Exception in thread .*?|Caused by: |Error: )?(?:[a-z]\w*\.)+"
                   r"\w*(?:Exception|Error): (.+)$", re.M)


def of_start(said: str, error: Exception) -> MrGradientError:
    """Why an application did not start. ``said``: what its JVM wrote."""
    details = f"{said}\n{error}"
    if _NO_JAVA.search(details):
        return UsageError("-r spark: needs Java 17 or later, found none; install one, or set JAVA_HOME")
    if "UnsupportedClassVersionError" in details:
        return UsageError("-r spark: this pyspark needs a newer Java, such as 17; set JAVA_HOME")
    if "All masters are unresponsive" in details:
        return TaskError("-r spark: the master does not answer; see --spark-master", details)
    what = _line(said, -1) if "JAVA_GATEWAY_EXITED" in details else _line(str(error), 0)
    return TaskError(f"-r spark: Spark did not start: {what}", details)


def of_job(error: Exception, said: str, status: int | None = None) -> MrGradientError:
    """Why a job failed. ``status``: of the driver's JVM, if it has ended."""
    if isinstance(error, MrGradientError):
        return error
    if status is not None:
        return TaskError(f"the driver's JVM ended with status {status}; if it needs more memory, add "
                         "--spark-args='--driver-memory 4g'", said)
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() if java is not None else error)
    details = f"{text}\n{said}"
    if found := _VERSIONS.search(text):
        return UsageError(f"{found[1]}; name one of the driver's release with --python-bin")
    if lines := "Traceback (most recent call last)" in text and _PYTHON.findall(text):
        kind, message = lines[-1]
        if kind == "ModuleNotFoundError":
            return UsageError(f"the executors' Python fails: {message}; install it on the nodes, or "
                              "name another Python with --python-bin")
        return from_task(kind.rpartition(".")[2], message, details)
    if found := _NO_PYTHON.search(text):
        return TaskError(f"the nodes have no {found[1]}; name their Python with --python-bin", details)
    if found := _LOST.search(text):
        return TaskError(f"a task lost its executor in each of its attempts: {found[1]}", details)
    if found := _RECENT.search(text):
        return TaskError(f"a task failed: {found[1]}", details)
    return TaskError(f"the job failed on Spark: {_line(text, 0)}", details)


def _line(text: str, which: int) -> str:
    """The line that says what went wrong: an exception of Java's, else the first or the last."""
    if found := _JAVA.search(text):
        return found[1]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[which] if lines else "it said nothing"
