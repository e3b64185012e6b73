"""What a task on a cluster does first: it looks at the Python that it got."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mr_gradient import probe
from mr_gradient.errors import DataError, MissingPackageError, UsageError
from mr_gradient.jobs.protocol import RecordProtocol
from mr_gradient.jobs.task_errors import ERROR, bad_nodes, rebuild, reported

# isort: split
from mrjob.protocol import JSONProtocol

pytestmark = pytest.mark.fast
ROOT = Path(__file__).resolve().parent.parent
ATTEMPT = "attempt_1_0001_m_000000_{}"


@pytest.fixture
def bare(tmp_path):
    """A command that is this Python without any packages."""
    python = tmp_path / "bare python"
    python.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S \"$@\"\n")
    python.chmod(0o755)
    return python


def run(python, *arguments: str, attempt: int = 3, stdin: bytes = b"", **env: str):
    return subprocess.run(
        [python, "-m", "mr_gradient.probe", *arguments], cwd=ROOT, input=stdin, capture_output=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT), "NM_HOST": "node7",
                          "mapreduce_task_attempt_id": ATTEMPT.format(attempt),
                          "mapreduce_map_maxattempts": "4", "mapreduce_reduce_maxattempts": "4", **env})


def test_the_job_runs_where_nothing_is_wrong(tmp_path):
    (tmp_path / "some_job.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    done = run(sys.executable, "json", "some_job", "--mapper",
               PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert done.stdout.decode() == "__main__ ['--mapper']\n", done.stderr.decode()


def test_the_first_job_reports_at_once_and_others_in_the_last_attempt(bare):
    done = run(bare, "base64", "some_job", "--mapper", attempt=2)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"has no numpy on node7; install numpy there" in done.stderr
    done = run(bare, "base64", "some_job", "--mapper", attempt=0, MR_GRADIENT_FIRST="1")
    assert (done.returncode, done.stdout[:15]) == (0, b"error\t00000000\t")


@pytest.mark.parametrize(("form", "protocol"), [("base64", RecordProtocol), ("json", JSONProtocol)])
def test_a_node_without_numpy_is_named(bare, form, protocol):
    done = run(bare, form, "some_job", "--mapper", stdin=b"a split\n")
    assert done.returncode == 0, done.stderr.decode()
    [line] = done.stdout.splitlines()
    key, value = protocol().read(line)
    assert (key, value["task"]) == (ERROR, ATTEMPT.format(3))
    error = rebuild([value, {**value, "node": "node2"}, value])
    assert isinstance(error, UsageError)
    assert str(error) == (
        f"the tasks cannot run: node2, node7: Python {sys.version.split()[0]} ({sys.executable}) has "
        "no numpy; install numpy there, name another Python with --python-bin, or add --ship-env")


@pytest.mark.parametrize("form", ["base64", "json"])
def test_a_reducer_passes_on_what_mappers_said(bare, form):
    said = run(bare, form, "some_job", "--mapper", NM_HOST="node1").stdout
    done = run(bare, form, "some_job", "--reducer", stdin=b"00000001\t00000000\tAAAA\n" + said)
    passed, own = done.stdout.splitlines(keepends=True)
    assert passed == said
    protocol = JSONProtocol() if form == "json" else RecordProtocol()
    of_mapper, of_reducer = (protocol.read(line.rstrip()) for line in (passed, own))
    # Nodes that could do their part are not named, but they count.
    assert bad_nodes([of_mapper]) == ""
    words = bad_nodes([of_mapper, of_reducer])
    assert words.startswith("node1, node7: Python ")
    assert bad_nodes([of_mapper, ("summary", {})]).startswith("node1: Python ")
    assert bad_nodes([("summary", {})]) == ""


def test_what_was_packed_for_another_python():
    done = run(sys.executable, "json", "some_job", "--mapper",
               MR_GRADIENT_SHIPPED=".cpython-39-s390x-linux-gnu.so")
    _, value = JSONProtocol().read(done.stdout.rstrip())
    assert "cannot load what --ship-env has packed: that ends in .cpython-39-" in value["message"]
    assert value["remedy"] == "install the driver's Python there, or name another with --python-bin"


@pytest.mark.parametrize(("source", "message"), [
    ("__version__ = '1.21.6'", "has numpy 1.21.6, at least 1.26 is needed"),
    ("raise ImportError('a long\\nstory\\n\\nlibm.so.6: version GLIBC_2.28 not found\\n')",
     "cannot load its numpy: libm.so.6: version GLIBC_2.28 not found")])
def test_a_numpy_that_will_not_do(tmp_path, source, message):
    (tmp_path / "numpy.py").write_text(source)
    done = run(sys.executable, "json", "some_job", "--mapper",
               PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert message in json.loads(done.stdout.partition(b"\t")[2])["message"]


def test_an_old_python_can_read_it_and_is_told(monkeypatch):
    for name in ("probe.py", "__init__.py"):
        ast.parse((ROOT / "mr_gradient" / name).read_text(), feature_version=(3, 6))
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setattr(sys, "version", "3.9.18 (main)")
    assert probe.wrong() == (
        f"Python 3.9.18 ({sys.executable}) is too old",
        "install Python 3.10 or later there, or name another with --python-bin")


def test_a_missing_package_is_a_nodes_fault(monkeypatch):
    """Another node may have it, so only the last attempt tells, or the first job."""
    def fail(error):
        raise error
        yield

    def outcome(error):
        return [value for _, value in reported(fail(error), "map", lambda: "split 3")]

    monkeypatch.setenv("mapreduce_map_maxattempts", "4")
    monkeypatch.setenv("NM_HOST", "node3")
    monkeypatch.setenv("mapreduce_task_attempt_id", ATTEMPT.format(0))
    missing = MissingPackageError("sparse data needs scipy")
    assert isinstance(missing, (UsageError, DataError))
    with pytest.raises(MissingPackageError):
        outcome(missing)
    assert isinstance(rebuild(outcome(UsageError("wrong"))), UsageError)
    said = ("the tasks cannot run: node3: sparse data needs scipy; install it there, name another "
            "Python with --python-bin, or add --ship-env")
    for name, value in (("MR_GRADIENT_FIRST", "1"), ("mapreduce_task_attempt_id", ATTEMPT.format(3))):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            error = rebuild(outcome(missing))
            assert (type(error), str(error)) == (UsageError, said)
    monkeypatch.setenv("MR_GRADIENT_FIRST", "1")
    with pytest.raises(ValueError, match=r"^x$"):
        outcome(ValueError("x"))
