"""What mrjob 0.7.4 still imports and newer Pythons no longer have: ``pipes`` and ``distutils``.

Both are put into ``sys.modules`` on every Python, also where the real ones exist, because there
``distutils`` drags in setuptools, more than half of mrjob's import time. mrjob uses three names of
them: ``pipes.quote``, ``distutils.spawn.find_executable`` and ``distutils.version.LooseVersion``.
"""

from __future__ import annotations

import functools
import importlib
import pprint
import re
import shlex
import shutil
import sys
import types


@functools.total_ordering
class LooseVersion:
    """Versions compared as lists of numbers and words, as in the old distutils."""

    def __init__(self, text: str) -> None:
        self.version = [int(part) if part.isdigit() else part
                        for part in re.findall(r"\d+|[a-z]+", text)]

    @staticmethod
    def _parts(other: LooseVersion | str) -> list:
        return (other if isinstance(other, LooseVersion) else LooseVersion(other)).version

    def __eq__(self, other: object) -> bool:
        return self.version == self._parts(other)

    def __lt__(self, other: LooseVersion | str) -> bool:
        return self.version < self._parts(other)

    __hash__ = None


def install() -> None:
    """Import mrjob's base modules over the stand-ins.

    ``pipes`` stays, since mrjob's cloud runners import it later; ``distutils`` is taken away
    again, so that whoever needs the real one in this process gets it.
    """
    sys.modules.setdefault("pipes", _module("pipes", quote=shlex.quote))
    if "mrjob.compat" in sys.modules or "distutils" in sys.modules:
        return
    stand_ins = {
        "distutils": _module("distutils", __path__=[]),
        "distutils.spawn": _module("distutils.spawn", find_executable=shutil.which),
        "distutils.version": _module("distutils.version", LooseVersion=LooseVersion)}
    sys.modules.update(stand_ins)
    try:
        import mrjob.compat
        import mrjob.runner
    finally:
        for name in stand_ins:
            del sys.modules[name]
    mrjob.runner.pprint = _LazyPrettyPrint


def import_without_pyspark(name: str) -> types.ModuleType:
    """A module of mrjob's runners, all of which import pyspark where they can: half a second."""
    if "pyspark" in sys.modules:
        return importlib.import_module(name)
    sys.modules["pyspark"] = None
    try:
        return importlib.import_module(name)
    finally:
        del sys.modules["pyspark"]


class _LazyPrettyPrint:
    """For mrjob, which formats all its options for each job, for a log that nobody may want."""

    def __init__(self, value: object) -> None:
        self._value = value

    pformat = classmethod(lambda cls, value: cls(value))

    def __str__(self) -> str:
        return pprint.pformat(self._value)


def _module(name: str, **attributes: object) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(attributes)
    return module
