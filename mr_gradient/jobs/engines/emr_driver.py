"""``--driver-on-cluster``: the whole driver as one step on the master node, with ``-r hadoop``.

No iteration waits for the user's machine then, which only looks on: it may be lost, and the training
goes on; the cluster ends when it is idle.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable

from mr_gradient import fingerprint
from mr_gradient.errors import DivergenceError, MrGradientError, TaskError, UsageError
from mr_gradient.jobs.engines import package
from mr_gradient.jobs.engines.emr import EmrEngine
from mr_gradient.jobs.engines.emr_cluster import command
from mr_gradient.jobs.engines.emr_master import STATUS
from mr_gradient.jobs.gradient_job import GradientJob

_FOLDER = "driver"
#: mrjob's configuration of the driver there.
CONF = "mrjob.conf"
#: Options of mrjob that mean there what they mean here.
_SAME = ("cmdenv", "jobconf", "libjars", "python_bin", "setup", "task_python_bin")
_MINE = "mr-gradient: "


def run_driver(engine: EmrEngine, files: dict[str, bytes], words: list[str],
               show: Callable[[str], None]) -> dict:
    """Run ``mr-gradient WORDS --json`` there, with the files beside it; returns its result.

    ``show`` is called with each line that the driver says. Raises its error, or ``TaskError``.
    """
    python = _python(engine)
    engine.begin()
    for name, data in {**files, CONF: _conf(engine)}.items():
        engine.storage.put_bytes(data, f"{_FOLDER}/{name}")
    uri = f"{engine.storage.uri}/{_FOLDER}"
    fetch = "aws s3 cp --only-show-errors"
    # As for tasks: the bits depend on what these say to BLAS and numpy (law 2).
    same = [f"{name}={os.environ[name]}" for name in fingerprint.KERNELS if name in os.environ]
    call = shlex.join(["env", *same, *python, "-m", "mr_gradient.jobs.engines.emr_master", uri, *words])
    script = (f"set -e; cd $(mktemp -d); {fetch} --recursive {uri}/ .; "
              f"{fetch} {engine.package} {package.NAME}; "
              f"{shlex.join(python)} -m zipfile -e {package.NAME} package; "
              f"export PYTHONPATH=$PWD/package; exec {call}")
    seen, said = 0, {}

    def look() -> None:
        nonlocal seen, said
        said = engine.storage.read_json(f"{_FOLDER}/{STATUS}") or said
        new = said.get("count", 0) - seen
        for line in said.get("lines", [])[-new:] if new > 0 else []:
            if not line.startswith(_MINE):
                show(line)
        seen += max(0, new)

    try:
        engine.cluster.run(command(f"{engine.name} driver", ["bash", "-c", script]), engine.watch, look)
    except TaskError as error:
        raise _error(said, engine.cluster.last) or error from None
    return said["result"]


def _python(engine: EmrEngine) -> list[str]:
    with GradientJob(engine.arguments).make_runner() as runner:
        return runner._opts["python_bin"]


def _conf(engine: EmrEngine) -> bytes:
    """A file, since step arguments are seen by all who may see the cluster."""
    with GradientJob(engine.arguments).make_runner() as runner:
        found = {name: value for name in _SAME if (value := runner._opts[name])}
        if jar := runner._opts["hadoop_streaming_jar"]:
            found["hadoop_streaming_jar"] = jar.removeprefix("file://")
    # Ends with the step on the user's cluster, by this word.
    found["jobconf"] = {"mapreduce.job.tags": engine.name, **found.get("jobconf", {})}
    return json.dumps({"runners": {"hadoop": found}}).encode()


def _error(said: dict, step: str) -> MrGradientError | None:
    """The driver's own, which is its last line, if it came to say one."""
    last = next((line for line in reversed(said.get("lines", [])) if line.startswith(_MINE)), "")
    if not last:
        return None
    kind = {UsageError.exit_status: UsageError, DivergenceError.exit_status: DivergenceError}.get(
        said.get("status"), TaskError)
    return kind(f"step {step}, on the master node: {last.removeprefix(_MINE)}")
