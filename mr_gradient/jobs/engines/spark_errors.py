"""One line for what went wrong in Spark, whose own messages are pages of Java."""

from __future__ import annotations

import re

from mr_gradient.errors import MrGradientError, TaskError, UsageError, from_task

_PYTHON = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)): ?(.*)$", re.M)
_NO_PYTHON = re.compile(r'Cannot run program "([^"]+)"')
_LOST = re.compile(r"ExecutorLostFailure \((?:executor (\S+)[^)]*\))?.*?Reason: (.*)", re.S)
_VERSIONS = re.compile(r"Python in worker has different version:? \(?([\d.]+|\(.*?\)).*?"
                       r"driver:? \(?([\d.]+)", re.S)
_CAUSES = (re.compile(r"All masters are unresponsive"), re.compile(r"JAVA_HOME is not set"),
           re.compile(r"UnsupportedClassVersionError"))
_JAVA = re.compile(r"^(?:Exception in thread .*?|Caused by: |Error: )?(?:[a-z]\w*\.)+"
                   r"\w*(?:Exception|Error): (.+)$", re.M)


def of_start(said: str, error: Exception) -> MrGradientError:
    """Why an application did not start. ``said``: what its JVM wrote."""
    details = f"{said}\n{error}"
    if re.search(r"JAVA_HOME is not set|java: (?:command )?not found", details):
        return UsageError("-r spark: needs Java 17 or later, found none; install one, or set JAVA_HOME")
    if "UnsupportedClassVersionError" in details:
        return UsageError("-r spark: this pyspark needs a newer Java, such as 17; set JAVA_HOME")
    if "All masters are unresponsive" in details:
        return TaskError("-r spark: the master does not answer; see --spark-master", details)
    return TaskError(f"-r spark: Spark did not start: {_java_line(details)}", details)


def of_job(error: Exception, said: str) -> MrGradientError:
    """Why a job failed."""
    if isinstance(error, MrGradientError):
        return error
    java = getattr(error, "java_exception", None)
    text = str(java.getMessage() if java is not None else error)
    details = f"{text}\n{said}"
    if "Traceback (most recent call last)" in text:
        kind, message = _PYTHON.findall(text)[-1]
        return from_task(kind.rpartition(".")[2], message, details)
    if found := _NO_PYTHON.search(text):
        return TaskError(f"the nodes have no {found[1]}; name their Python with --python-bin", details)
    if found := _LOST.search(text):
        return TaskError(f"a task lost its executor in each of its attempts: "
                         f"{found[2].splitlines()[0]}", details)
    return TaskError(f"the job failed on Spark: {_java_line(text)}", details)


def _java_line(text: str) -> str:
    """The line that says most."""
    if found := _JAVA.search(text):
        return found[1]
    return next((line for line in text.splitlines() if line.strip()), "it said nothing")
