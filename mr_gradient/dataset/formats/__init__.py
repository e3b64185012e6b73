"""The file formats, by name. Whoever adds one adds a module here, and a line to the registry."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from mr_gradient.errors import UsageError

if TYPE_CHECKING:
    from mr_gradient.dataset.formats.base import Format

#: Name -> module and what it calls its format. In the order in which content is tried: those that
#: a signature tells come first, then text, from the strictest to the one that any text could be.
_REGISTRY = {
    "images": ("images", "FORMAT"),
    "numpy": ("numpy_files", "FORMAT"),
    "idx": ("idx", "FORMAT"),
    "libsvm": ("libsvm", "FORMAT"),
    "parquet": ("parquet", "FORMAT"),
    "jsonl": ("json_lines", "FORMAT"),
    "tsv": ("delimited", "TSV"),
    "csv": ("delimited", "CSV"),
}

_TEXT = ("delimiter", "header", "names", "missing", "multiline", "columns")
#: Name -> what a reader of that format can be told.
_OPTIONS = {"csv": _TEXT, "tsv": _TEXT, "jsonl": ("columns",), "parquet": ("columns",),
            "libsvm": ("width", "first_index"), "numpy": ("labels",), "idx": ("labels",),
            "images": ("labels", "listing", "image_size", "mode")}

#: Names of ``--format``.
NAMES = tuple(_REGISTRY)


@cache
def get(name: str) -> Format:
    """The format of a name; its module is imported then, so that a task imports no other."""
    if name not in _REGISTRY:
        raise UsageError(f"--format {name}: must be one of {', '.join(NAMES)}")
    module, attribute = _REGISTRY[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def check_options(name: str, options: Iterable[str]) -> None:
    """Raise ``UsageError`` for an option that a format does not have."""
    for option in options:
        if option not in _OPTIONS[name]:
            having = ", ".join(each for each in NAMES if option in _OPTIONS[each])
            called = {"columns": "kind"}.get(option, option.replace("_", "-"))
            raise UsageError(f"--{called}: is an option of {having or 'no format'}, and the input is "
                             f"{name}")
