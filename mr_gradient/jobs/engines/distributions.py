"""Which files belong to a package that is installed in the Python that runs here.

By the lists that pip writes (RECORD). A package installed with ``pip install -e`` has its files in the
user's own folder; they are found as setuptools finds them, and anything else is refused.
"""

from __future__ import annotations

import ast
import csv
import importlib.metadata
import json
import os
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path, PurePosixPath

from mr_gradient.errors import UsageError

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)([^;]*)(?:;(.*))?", re.S)
#: Of what is written down about a package, this is read when it runs; the rest names folders here.
_KEPT = ("METADATA", "entry_points.txt", "top_level.txt")
WAY_OUT = "make an environment with 'python -m venv' and pip, and start mr-gradient there"


def name_of(each: Distribution) -> str:
    """The name as pip compares it."""
    return _plain(each.metadata["Name"] or "")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, Distribution]:
    """All packages by name; of those that are there twice the one that is imported."""
    found: dict[str, Distribution] = {}
    for each in importlib.metadata.distributions():
        if each.read_text("METADATA"):  # pip may leave a folder without it behind
            found.setdefault(name_of(each), each)
    return found


def with_requirements(names: Iterable[str]) -> list[Distribution]:
    """Those of the packages that are installed, and all that they need, by name."""
    everything, found, waiting = installed(), {}, list(names)
    while waiting:
        name = waiting.pop()
        if name in everything and name not in found:
            found[name] = everything[name]
            waiting += _requirements(everything[name])
    return [found[name] for name in sorted(found)]


def _requirements(each: Distribution) -> Iterator[str]:
    """Without those of extras. One that is for another platform is hardly installed here."""
    for text in each.requires or ():
        found = _REQUIREMENT.match(text)
        if found and "extra" not in (found[3] or ""):
            yield _plain(found[1])


def has_files(each: Distribution) -> bool:
    """Whether it is known which files are its own: they are not of what apt or conda installs."""
    installer = (each.read_text("INSTALLER") or "").strip()
    return each.read_text("RECORD") is not None and installer != "conda"


def _listed(each: Distribution) -> list[PurePosixPath]:
    """The files as pip has listed them, whether they are there or not."""
    rows = csv.reader((each.read_text("RECORD") or "").splitlines())
    return [PurePosixPath(row[0]) for row in rows if row]


def files(each: Distribution) -> Iterator[tuple[str, Path]]:
    """Name below a folder of packages, and path, of all that a running program needs.

    Programs for the command line are left out, since they name the Python of this machine, and so are
    compiled modules, which name this machine's folders. Raises ``UsageError``.
    """
    name = name_of(each)
    if not has_files(each):
        raise UsageError(f"--ship-env: {name} was not installed by pip, so its files are not known; "
                         f"{WAY_OUT}")
    if _is_editable(each):
        yield from _editable(each)
    for file in _listed(each):
        parts = file.parts
        if parts[0] == ".." or file.suffix in (".pyc", ".pth") or file.is_absolute():
            continue
        if parts[0].endswith(".dist-info") and parts[-1] not in _KEPT:
            continue
        if parts[0].startswith("__editable__"):
            continue
        path = Path(each.locate_file(file))
        if not path.is_file():
            raise UsageError(f"--ship-env: {path} of {name} is missing; install it again with "
                             f"'python -m pip install --force-reinstall {name}'")
        yield file.as_posix(), path


def _is_editable(each: Distribution) -> bool:
    direct = json.loads(each.read_text("direct_url.json") or "{}")
    return bool(direct.get("dir_info", {}).get("editable"))


def _editable(each: Distribution) -> Iterator[tuple[str, Path]]:
    """The files of a package that is used from the folder where it is written."""
    places = dict(_places(each))
    if not places:
        raise UsageError(f"--ship-env: {name_of(each)} was installed with 'pip install -e' in a way "
                         "that does not tell where its modules are; install it without -e")
    for module, path in sorted(places.items()):
        if path.is_dir():
            for folder, below, names in os.walk(path):
                below[:] = sorted(each for each in below if each != "__pycache__" and each[0] != ".")
                for name in sorted(names):
                    file = Path(folder, name)
                    if file.suffix != ".pyc":
                        yield f"{module}/{file.relative_to(path).as_posix()}", file
        else:
            yield path.name, path


def _places(each: Distribution) -> Iterator[tuple[str, Path]]:
    """Modules at the top, and where they are: setuptools names them in a module or their folder in a
    .pth file."""
    top = (each.read_text("top_level.txt") or "").split()
    for file in _listed(each):
        text = Path(each.locate_file(file)).read_text("utf-8") if file.suffix in (".pth", ".py") else ""
        if file.name.startswith("__editable__") and file.suffix == ".py":
            for module, path in _mapping(text).items():
                yield module, Path(path) if os.path.isdir(path) else Path(f"{path}.py")
        elif file.suffix == ".pth":
            for line in filter(os.path.isdir, text.splitlines()):
                for module in top or _importable(line):
                    path = Path(line, module)
                    yield module, path if path.is_dir() else Path(f"{path}.py")


def _importable(folder: str) -> list[str]:
    return sorted(path.name.removesuffix(".py") for path in Path(folder).iterdir()
                  if path.suffix == ".py" or (path / "__init__.py").is_file())


def _mapping(source: str) -> dict[str, str]:
    """What setuptools writes into its module: ``MAPPING = {module: path}``."""
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if getattr(targets[0], "id", "") == "MAPPING":
            return ast.literal_eval(node.value)
    return {}
