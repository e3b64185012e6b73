"""What the input of a preparation is: its files, their format, and what the reader must be told."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mr_gradient import model_folder
from mr_gradient.dataset.columns import Source
from mr_gradient.dataset.formats import check_options
from mr_gradient.dataset.formats.base import Format
from mr_gradient.dataset.formats.discovery import choose_format
from mr_gradient.dataset.schema import Schema, is_dataset, open_dataset
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.dataset.uris import is_uri
from mr_gradient.errors import DataError, UsageError
from mr_gradient.preparation_config import PreparationConfig

#: Formats whose columns have names and kinds: input of one can be prepared like that of another.
_TABLES = ("csv", "tsv", "jsonl", "parquet")
_DELIMITED = ("csv", "tsv")
#: Reader's options that input of ``--like`` takes over; all others tell of the files.
_FORM = ("packed", "first_index", "missing", "shape", "mode", "resize")
#: What tells of the files alone, and is not kept with a data set.
_FILES = ("files", "root", "names", "listing", "count")


@dataclass(frozen=True)
class Before:
    """How other input was prepared, of which ``--like`` names the data set or the model."""

    source: Source
    plan: Plan
    schema: Schema

    @classmethod
    def load(cls, folder: str) -> Before:
        """Raises ``UsageError`` for a folder that is neither."""
        if is_dataset(folder):
            dataset = open_dataset(folder)
            preparation, schema = dataset.options, dataset.schema
        elif model_folder.is_model(folder):
            saved = model_folder.read(folder)
            preparation, schema = saved.preparation, saved.schema
        else:
            raise UsageError(f"--like {folder}: must be the folder of a data set or of a trained model")
        if "plan" not in preparation:
            raise UsageError(f"--like {folder}: was not made by 'mr-gradient prepare'")
        return cls(Source(**preparation["source"]), Plan.from_json(preparation["plan"]), schema)


def look(config: PreparationConfig, paths: Sequence[str], scratch: str,
         before: Before | None) -> tuple[Format, Source]:
    """The format of the input, and what its files' heads tell; ``scratch``: a folder for a list.

    Columns that must hold numbers, by what is asked of them, are read as numbers even if the files'
    heads hold words, so that the rows with words are told.
    """
    name, options = config.reader()
    chosen = choose_format(paths, name)
    check_options(chosen.name, options)
    if chosen.name == "images":
        options = {"listing": os.path.join(scratch, "images"), **options}
    if before is not None:
        return chosen, _as_before(config, chosen, paths, options, before)
    source = chosen.inspect(paths, options)
    if source.options.get("header") is False and "header" not in options:
        source = _under_a_header(config, chosen, paths, options, source)
    if chosen.name in _TABLES and (numbers := config.needs_numbers(source)):
        kinds = {**source.columns, **dict.fromkeys(numbers, "number"), **options.get("columns", {})}
        source = chosen.inspect(paths, {**options, **_heading(source), "columns": kinds})
    return chosen, source


def check_visible(config: PreparationConfig, command: str) -> None:
    """Refuse files of this machine where tasks run on others; ``file://`` says that all have them.

    ``command``: what puts files where tasks see them. Raises ``UsageError``.
    """
    way_out = "or write file:///... for a folder that all nodes have"
    labels = config.format_options.get("labels")
    named = [labels] if isinstance(labels, str) else labels or []
    for path in (*config.inputs, *map(os.fspath, named)):
        if not is_uri(path):
            raise UsageError(f"{path}: is on this machine, and the tasks run on others; put it where "
                             f"they see it ({command} {path} ...) and name its URI, {way_out}")
    if not is_uri(config.out):
        raise UsageError(f"--out {config.out}: the tasks run on other machines, which do not see this "
                         f"folder; name a URI such as hdfs:///user/NAME/data, {way_out}")


def kept(source: Source) -> Source:
    """What of a source is kept with the data set: the form of the input, not which files it was."""
    return replace(source, options={name: value for name, value in source.options.items()
                                    if name not in _FILES})


def _heading(source: Source) -> dict[str, Any]:
    """That delimited files have a header, or what their columns are called without one."""
    if "header" not in source.options:
        return {}
    header = source.options["header"]
    return {"header": header} if header else {"header": header, "names": list(source.columns)}


def _under_a_header(config: PreparationConfig, chosen: Format, paths: Sequence[str],
                    options: dict[str, Any], source: Source) -> Source:
    """The source with the first row for a header, if that names the target: where all columns hold
    words nothing else tells a header."""
    if config.target_in(source.columns):
        return source
    try:
        named = chosen.inspect(paths, {**options, "header": True})
    except DataError:
        return source
    return named if config.target_in(named.columns) else source


def _as_before(config: PreparationConfig, chosen: Format, paths: Sequence[str],
               options: dict[str, Any], before: Before) -> Source:
    """How to read input as that of ``--like`` was read. Raises ``UsageError`` if it cannot be."""
    like, plan, where = before.source, before.plan, f"--like {config.like}"
    if chosen.name != like.format and not {chosen.name, like.format} <= set(_TABLES):
        raise UsageError(f"{where}: was made of {like.format}, found {chosen.name}")
    if chosen.name in _DELIMITED and like.format in _DELIMITED:
        options = {**_heading(like), **options}
    found = chosen.inspect(paths, options)
    roles = (plan.labels and plan.labels.column, plan.weight_column, plan.group_column)
    needed = {*plan.columns, *filter(None, roles), *like.options.get("packed", ())}
    if missing := sorted(needed - set(found.columns)):
        raise UsageError(f"{where}: needs the columns {missing[:5]}, which {paths[0]} lacks")
    if chosen.name in _TABLES:
        kinds = {name: kind for name, kind in like.columns.items() if name in found.columns}
        found = chosen.inspect(paths, {**options, **_heading(found),
                                       "columns": {**kinds, **options.get("columns", {})}})
    form = {name: like.options[name] for name in _FORM
            if name in like.options and name not in options}
    shape = found.options.get("shape")
    if like.width and found.width not in (0, like.width) and "resize" not in form:
        raise UsageError(f"{where}: has {like.width} features, found {found.width}"
                         f"{f' of shape {shape}' * bool(shape)} in {paths[0]}")
    return replace(found, width=like.width, options={**found.options, **form})
