"""``--ship-env``: the packages that tasks import, as one archive that a node's own Python can use.

No interpreter travels. venv-pack, whose last release is of 2018, packs a whole virtual environment,
whose Python is a link to one that must be at the same place on every node; and conda-pack packs those
of conda alone. What pip installs is a folder that works from anywhere once it is on the path, so this
packs just that: nodes with the same Python need nothing else, and nothing in it names a folder of this
machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib._bootstrap_external as external
import importlib.machinery
import importlib.util
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mr_gradient import storage
from mr_gradient.errors import UsageError
from mr_gradient.jobs.engines import distributions
from mr_gradient.jobs.engines.base import Work

#: What the folder is called where tasks run.
NAME = "mr_gradient_environment"
#: How names of compiled modules end here, which nodes compare with theirs.
ENDING = importlib.machinery.EXTENSION_SUFFIXES[0]
#: These travel with the package, or are of no use to a task.
_LEFT_OUT = {"mr-gradient", "mrjob", "pip"}
#: Of these, tests are a seventh of the archive.
_WITHOUT_TESTS = {"numpy", "scipy", "pyarrow", "sklearn"}
_NEEDED = "numpy"
#: What reads data at the URIs of a store; with what it needs, a third of the archive.
_OF_STORES = ("fsspec", "s3fs")
_AT_A_STORE = re.compile(rb'"(?!hdfs:|file:)[a-z0-9]+://')
#: The same for the same files.
_TIME = (1980, 1, 1, 0, 0, 0)
#: Changes when archives of the same files do.
_VERSION = "1"


@dataclass(frozen=True)
class Environment:
    """``members``: files by their names in the archive."""

    members: dict[str, Path]

    @classmethod
    def of(cls, work: Work) -> Environment:
        """What the tasks of a job import, as far as it is installed: the packages of its class and all
        that they need; and everything for a model of the user's own, which may import anything.

        Raises ``UsageError`` for a package that cannot be packed.
        """
        if "--model-factory" in work.options:
            everything = distributions.installed().values()
            chosen = [each for each in everything if distributions.has_files(each)]
        else:
            stores = _OF_STORES if _reads_a_store(work.manifest) else ()
            chosen = distributions.with_requirements([*work.kind.PACKAGES, *stores])
        chosen = {distributions.name_of(each): each for each in chosen}
        if _NEEDED not in chosen:
            raise UsageError(f"--ship-env: {_NEEDED} must be installed by pip; {distributions.WAY_OUT}")
        members: dict[str, Path] = {}
        for name in sorted(chosen.keys() - _LEFT_OUT):
            for member, path in distributions.files(chosen[name]):
                if not _is_test(member):
                    members.setdefault(member, path)
        return cls(dict(sorted(members.items())))

    @cached_property
    def digest(self) -> str:
        """Of the content, and of the Python that it is for."""
        whole = hashlib.sha256(f"{_VERSION} {ENDING}\n".encode())
        for name, path in self.members.items():
            whole.update(f"{storage.sha256(path)} {name}\n".encode())
        return whole.hexdigest()[:32]

    def write(self, path: str) -> None:
        """Write the archive: the files, and all modules compiled, since nodes may not keep what a task
        compiles."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name, data in self._contents():
                entry = zipfile.ZipInfo(name, _TIME)
                entry.external_attr = 0o644 << 16
                file.writestr(entry, data, zipfile.ZIP_DEFLATED)

    def _contents(self) -> Iterator[tuple[str, bytes]]:
        for name, path in self.members.items():
            data = path.read_bytes()
            yield name, data
            if name.endswith(".py"):
                # Some are templates, or for another Python.
                with warnings.catch_warnings(), contextlib.suppress(SyntaxError, ValueError):
                    warnings.simplefilter("ignore")
                    code = compile(data, os.path.join(NAME, name), "exec", dont_inherit=True)
                    yield importlib.util.cache_from_source(name), bytes(
                        external._code_to_hash_pyc(code, bytes(8), False))


def _reads_a_store(manifest: str) -> bool:
    """Whether the data is neither in HDFS nor in files."""
    with open(manifest, "rb") as file:
        return any(_AT_A_STORE.search(line) for line in file)


def _is_test(member: str) -> bool:
    top, *below = member.split("/")
    return top in _WITHOUT_TESTS and "tests" in below
