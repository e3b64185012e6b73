"""mrjob 0.7.4 on Pythons without ``pipes`` and ``distutils``, and LooseVersion as it was."""

import itertools
import os
import subprocess
import sys
import textwrap

import pytest

import mr_gradient
from mr_gradient.jobs.mrjob_compat import LooseVersion

pytestmark = pytest.mark.fast

ASCENDING = ["", "0.1", "0.7.4", "0.7.4b1", "0.10", "1", "1.0", "1.0.0", "1.2a1", "1.2a2", "1.10",
             "2.4.10", "2.7.3", "2.7.3-amzn-1", "3.0.0", "3.11.7", "20.2", "161"]
# As distutils/version.py of Python 3.11 has it in its comments and tests.
PAIRS = [("1.5.1", "1.5.2b2", -1), ("161", "3.10a", 1), ("8.02", "8.02", 0), ("3.4j", "1996.07.12", -1),
         ("3.2.pl0", "3.1.1.6", 1), ("2g6", "11g", -1), ("0.960923", "2.2beta29", -1),
         ("1.13++", "5.5.kg", -1)]
BLOCKED = """
    import sys

    class Blocker:
        names = {"distutils", "pipes", "setuptools", "_distutils_hack", "pkg_resources"}

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in self.names:
                raise ModuleNotFoundError(f"{name} is blocked", name=name)

    sys.meta_path.insert(0, Blocker())
    for name in Blocker.names:
        sys.modules.pop(name, None)
"""


def run_python(*parts):
    """Run code in a fresh interpreter; its output."""
    root = os.path.dirname(os.path.dirname(mr_gradient.__file__))
    code = "\n".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": root})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("low", "high"), list(itertools.combinations(ASCENDING, 2)))
def test_versions_are_ordered(low, high):
    assert LooseVersion(low) < LooseVersion(high)
    assert LooseVersion(high) > LooseVersion(low)
    assert LooseVersion(low) <= high
    assert LooseVersion(high) >= low
    assert LooseVersion(low) != LooseVersion(high)


@pytest.mark.parametrize(("one", "other", "sign"), PAIRS)
def test_the_examples_of_distutils(one, other, sign):
    left, right = LooseVersion(one), LooseVersion(other)
    assert (left > right) - (left < right) == sign
    assert (left == right) == (sign == 0)


def test_mrjob_is_imported_where_the_old_modules_are_absent():
    """mrjob's cloud runners import ``pipes`` later, so that stand-in stays."""
    printed = run_python(BLOCKED, """
        import mr_gradient.jobs
        import mrjob.job, mrjob.hadoop, mrjob.emr, mrjob.dataproc, mrjob.spark.runner
        import mrjob.compat, mrjob.util
        print(mrjob.compat.version_gte("2.10.1", "2.9"), mrjob.util.which("sh") is not None)
        print(sorted(name for name in sys.modules if name.partition(".")[0] in Blocker.names))
    """)
    assert printed.splitlines() == ["True True", "['pipes']"]


def test_without_the_stand_ins_that_import_would_fail():
    printed = run_python(BLOCKED, """
        try:
            import mrjob.job
        except ModuleNotFoundError as error:
            print(error.name)
    """)
    assert printed.strip() in ("pipes", "distutils", "distutils.version", "distutils.spawn")


def test_a_distutils_that_is_there_already_is_left_alone():
    printed = run_python("""
        import sys, types
        before = {name: types.ModuleType(name) for name in
                  ("distutils", "distutils.spawn", "distutils.version", "pipes")}
        before["distutils"].__path__ = []
        before["distutils.spawn"].find_executable = before["distutils.version"].LooseVersion = None
        before["distutils.version"].LooseVersion = before["pipes"].quote = None
        sys.modules.update(before)
        import mr_gradient.jobs
        from mr_gradient.jobs import mrjob_compat
        mrjob_compat.install()
        import mrjob.job
        print(all(sys.modules[name] is module for name, module in before.items()))
    """)
    assert printed.strip() == "True"


def test_installing_twice_changes_nothing():
    printed = run_python(BLOCKED, """
        from mr_gradient.jobs import mrjob_compat
        before = dict(sys.modules)
        mrjob_compat.install()
        print(sys.modules == before)
    """)
    assert printed.strip() == "True"
