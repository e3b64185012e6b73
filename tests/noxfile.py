"""The fast tests on every other Python from 3.10 to 3.14 that is on the machine.

They run against an installed package, not against the checkout, and on the oldest Python against the
oldest releases that setup.cfg allows.
"""

import glob
import os
import shutil
import subprocess
import sys

import nox

VERSIONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True


def find(version: str) -> str | None:
    """An interpreter of that version that runs: on the path, or among pyenv's."""
    pyenv = os.path.join(os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv")), "versions")
    for candidate in [f"python{version}", *sorted(glob.glob(f"{pyenv}/{version}.*/bin/python"))]:
        try:
            answer = subprocess.run(
                [candidate, "-c", "import sys, venv, ssl; print('%d.%d' % sys.version_info[:2])"],
                capture_output=True, text=True, check=False)
        except OSError:
            continue
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return candidate
    return None


#: The lower bounds of install_requires.
LOWEST = ["numpy==1.26.0", "rich==13.0.0", "threadpoolctl==3.1.0"]


def files_with_fast_tests() -> list[str]:
    """Other files import libraries that are not installed for these."""
    found = []
    for path in sorted(glob.glob(os.path.join(ROOT, "tests", "test_*.py"))):
        with open(path, encoding="utf-8") as file:
            if "mark.fast" in file.read():
                found.append(path)
    return found


OWN = "{}.{}".format(*sys.version_info[:2])
FOUND = {version: find(version) for version in VERSIONS if version != OWN}
ABSENT = [version for version, python in FOUND.items() if not python]
print(f"The whole suite ran on Python {OWN}; the fast tests run on "
      f"{', '.join(v for v, python in FOUND.items() if python) or 'no other'}; "
      f"absent from this machine: {', '.join(ABSENT) or 'none'}")


@nox.session(python=[python for python in FOUND.values() if python] or False)
def fast(session: nox.Session) -> None:
    if session.python:
        oldest = LOWEST if session.python == next(filter(None, FOUND.values())) else []
        session.install("--quiet", f"{ROOT}[fast]", *oldest)
        shutil.rmtree(os.path.join(ROOT, "build"), ignore_errors=True)  # pip's, from setuptools
        session.chdir(ROOT)
        # Not "python -m pytest", which would put the checkout before the installed package.
        session.run("pytest", "-m", "fast and not long", "-q", "-p", "no:cacheprovider",
                    *files_with_fast_tests(), env={"PYTHONPATH": ""})
