"""The package as one file for the tasks of a cluster, with mrjob: nodes need Python and numpy only.

Compiled for this Python besides, since a task would compile a hundred modules at each start; another
Python takes the sources that are in the file, too.
"""

from __future__ import annotations

import importlib._bootstrap_external as external
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import mrjob

import mr_gradient

#: What the file is called where tasks run.
NAME = "mr_gradient.zip"
#: The same bytes for the same files: storage and caches go by content.
_TIME = (1980, 1, 1, 0, 0, 0)


def write(path: str) -> None:
    """Write the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name, data in _members():
            file.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)


def _members() -> Iterator[tuple[str, bytes]]:
    for package in (mr_gradient, mrjob):
        folder = Path(package.__file__).parent
        for module in sorted(folder.rglob("*.py")):
            name = module.relative_to(folder.parent).as_posix()
            source = module.read_bytes()
            yield name, source
            # The importer takes what lies beside the source, whatever the time of either.
            code = compile(source, os.path.join(NAME, name), "exec", dont_inherit=True)
            yield f"{name}c", bytes(external._code_to_hash_pyc(code, bytes(8), False))
