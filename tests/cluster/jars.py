"""Hadoop's jars: copied by Maven into the user's cache, once, and shared by all clusters."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_POM = Path(__file__).with_name("pom.xml")
#: Hadoop 3.5 supports 17; what is older cannot load its classes.
_OLDEST_JAVA = 17


class Missing(Exception):  # noqa: N818  nothing went wrong, something is not installed
    """Why no cluster can be had on this machine, in one line."""


def version() -> str:
    """Of Hadoop, as pom.xml names it."""
    return re.search(r"<hadoop.version>(.+)</hadoop.version>", _POM.read_text("utf-8"))[1]


def cache_folder() -> Path:
    """Where the jars of this very pom.xml are, or will be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]
    return Path(cache) / "mr_gradient" / f"hadoop-{version()}-{digest}"


def java_home() -> Path:
    """The Java to use: ``JAVA_HOME``, else that of the path."""
    found = os.environ.get("JAVA_HOME")
    java = Path(found) / "bin" / "java" if found else shutil.which("java")
    if not java or not os.access(java, os.X_OK):
        raise Missing(f"Java {_OLDEST_JAVA} is needed: no java on the path or in JAVA_HOME")
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    number = re.search(r'version "(\d+)', output)
    if not number or int(number[1]) < _OLDEST_JAVA:
        raise Missing(f"Java {_OLDEST_JAVA} is needed, {java} is {' '.join(output.split())[:40]!r}")
    return Path(java).resolve().parent.parent


def why_not() -> str:
    """What is missing for a cluster on this machine, or nothing. Looks only; fetches nothing."""
    if not sys.platform.startswith("linux"):
        return "Linux is needed: the cluster uses loopback addresses and process numbers of its own"
    try:
        java_home()
    except Missing as missing:
        return str(missing)
    if not cache_folder().is_dir() and not shutil.which("mvn"):
        return f"Maven is needed to fetch Hadoop {version()}: no mvn on the path"
    return ""


def find_jars() -> Path:
    """The folder of jars; the first call on a machine fetches about 100 MB.

    Under a lock, so that of several processes one fetches and the others wait; under a temporary
    name, so that the folder is whole once it is there.
    """
    folder = cache_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w", encoding="utf-8") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    if not shutil.which("mvn"):
        raise Missing(f"Maven is needed to fetch Hadoop {version()}: no mvn on the path")
    for abandoned in folder.parent.glob(f"{folder.name}.new-*"):
        shutil.rmtree(abandoned)  # the lock is ours, so its maker was killed
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.new-", dir=folder.parent) as scratch:
        # In a copy, since Maven may write beside the file.
        shutil.copy(_POM, scratch)
        jars = Path(scratch) / "jars"
        result = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime",
             f"-DoutputDirectory={jars}"], cwd=scratch, text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if result.returncode:
            raise Missing(f"Maven could not fetch Hadoop {version()}: "
                          f"{' '.join(result.stdout.split())[:400]}")
        os.rename(jars, folder)
