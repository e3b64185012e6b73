"""What a task on a cluster runs first: a look at the Python that it got, and then its job.

    python3 -m mr_gradient.probe FORMAT MODULE ARGUMENT ...

So every task is a probe, and none is run for that alone. A node whose Python cannot do the work says
so in a record, as in ``jobs/task_errors.py``: in a driver's first job at once, later in the last
attempt of a task, since another node may do better. FORMAT: of the records, ``json`` or ``base64``.

Python 3.6 can read this file, so that an old Python is told about as well; it imports nothing of this
package until the Python has been found new enough.
"""

import binascii
import importlib.machinery
import json
import os
import runpy
import socket
import sys

#: Key of the record of an error, and the kind of error that a node reports here.
ERROR, NODE_ERROR = "error", "NodeError"
#: Variables of the environment. FIRST is set in the first job of a driver; SHIPPED where packages come
#: with the task: how names of compiled modules must end, which tells implementation, version and
#: platform; ALONE where none can come.
FIRST, SHIPPED, ALONE = "MR_GRADIENT_FIRST", "MR_GRADIENT_SHIPPED", "MR_GRADIENT_ALONE"
_ATTEMPT = "mapreduce_task_attempt_id"
#: A second application master counts its tasks' attempts from here.
_MASTERS = 1000
_PYTHON, _NUMPY = (3, 10), (1, 26)


def wrong() -> "tuple[str, str] | None":
    """What is wrong with this Python, and what to do; None if nothing is."""
    shipped = os.environ.get(SHIPPED, "")
    here = f"Python {sys.version.split()[0]} ({sys.executable})"
    another = "name another with --python-bin"
    if sys.version_info < _PYTHON:
        return f"{here} is too old", f"install Python {_named(_PYTHON)} or later there, or {another}"
    endings = importlib.machinery.EXTENSION_SUFFIXES
    if shipped and shipped not in endings:
        return (f"{here} cannot load what --ship-env has packed: that ends in {shipped}, its own in "
                f"{endings[0]}", f"install the driver's Python there, or {another}")
    from mr_gradient import threads

    threads.set_environment()
    remedy = remedy_for("numpy")
    try:
        import numpy
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "numpy":
            return f"{here} has no numpy", remedy
        reason = next(filter(None, reversed(str(error).splitlines())), "")
        return f"{here} cannot load its numpy: {reason.strip()}", remedy
    if tuple(map(int, numpy.__version__.split(".")[:2])) < _NUMPY:
        return f"{here} has numpy {numpy.__version__}, at least {_named(_NUMPY)} is needed", remedy
    return None


def remedy_for(package: str) -> str:
    """What to do about a package that is missing here."""
    if os.environ.get(SHIPPED):
        return f"install {package} where you started this, since --ship-env takes it from there"
    if os.environ.get(ALONE):
        return f"install {package} there, or name another Python with --python-bin"
    return f"install {package} there, name another Python with --python-bin, or add --ship-env"


def _named(version: tuple) -> str:
    return ".".join(map(str, version))


def node() -> str:
    """Name of the machine, as its cluster calls it."""
    return os.environ.get("NM_HOST") or socket.gethostname()


def attempt() -> str:
    """Name of this attempt of a task, or an empty string."""
    return os.environ.get(_ATTEMPT, "")


def is_last_attempt(step: str) -> bool:
    """What Hadoop says of a ``map`` or ``reduce`` step; elsewhere every attempt counts as the last."""
    number = attempt().rpartition("_")[2]
    most = os.environ.get(f"mapreduce_{step}_maxattempts", "")
    return not (number.isdigit() and most.isdigit()) or int(number) % _MASTERS + 1 >= int(most)


def tells(step: str) -> bool:
    """Whether this attempt reports what may be its node's fault."""
    return bool(os.environ.get(FIRST)) or is_last_attempt(step)


def _report(form: str, what: str, remedy: str) -> None:
    """Write the record; a reducer passes on those of the mappers. All input is read: whoever writes
    it would take an end before that for a failure. ``others``: there were records of other nodes."""
    key, others = b'"error"\t' if form == "json" else b"error\t", False
    for line in sys.stdin.buffer:
        if line.startswith(key):
            sys.stdout.buffer.write(line)
        elif "--reducer" in sys.argv:
            others = True
    value = json.dumps({"split": 0, "kind": NODE_ERROR, "message": what, "remedy": remedy,
                        "others": others, "node": node(), "place": "", "task": attempt(),
                        "details": ""}).encode()
    if form != "json":
        value = b"00000000\t" + binascii.b2a_base64(value, newline=False)
    sys.stdout.buffer.write(key + value + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Run the job, unless something is wrong."""
    form, module = sys.argv[1:3]
    found = wrong()
    if found is None:
        del sys.argv[1:3]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return
    if not tells("map" if "--mapper" in sys.argv else "reduce"):
        sys.exit(f"mr_gradient: {found[0]} on {node()}; {found[1]}")
    _report(form, *found)


if __name__ == "__main__":
    main()
