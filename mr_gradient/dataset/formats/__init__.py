"""The file formats, by name. Whoever adds one adds a module here, and a line to the registry."""

from __future__ import annotations

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

#: Names of ``--format``.
NAMES = tuple(_REGISTRY)


@cache
def get(name: str) -> Format:
    """The format of a name; its module is imported then, so that a task imports no other."""
    if name not in _REGISTRY:
        raise UsageError(f"--format {name}: must be one of {', '.join(NAMES)}")
    module, attribute = _REGISTRY[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)
