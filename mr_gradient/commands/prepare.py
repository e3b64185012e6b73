"""``mr-gradient prepare``."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from mr_gradient.commands.parser import (
    add_runner,
    check_runner_options,
    command,
    fields_of,
    job_options,
)
from mr_gradient.dataset.uris import local_path

if TYPE_CHECKING:
    from mr_gradient.preparation import Prepared

#: Classes that are named to a person.
_SHOWN = 20

_EXAMPLES = """\
  mr-gradient prepare data/digits.csv --out digits --test-fraction 0.2
  mr-gradient prepare 'logs/part-*' --out clicks --transforms transforms.yaml
  mr-gradient prepare day_0.gz --preset criteo --out clicks --num-cores 4
  mr-gradient prepare new.csv --out new --like model

transforms.yaml, every line of which may be left out:
  target: bought
  columns:
    age: [{impute: median}, standardize]  (or min_max, log1p, clip, pass, drop)
    city: {one_hot: {cap: 50}}
    url: {hash: {bits: 18}}
    comment: {ngrams: {n: 2}}
  crosses:
    - {columns: [city, url], bits: 20}
  numbers: standardize                    (of columns that are not named)
  words: one_hot
"""


def add(commands) -> None:
    parser = command(commands, "prepare", "Turn files into a data set.", run, _EXAMPLES)
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT",
        help="files, folders, globs, hdfs:// or s3:// URIs; .gz and .bz2 as they are")
    add("--out", required=True, metavar="DIR", help="folder of the data set to make, or a URI")
    add("--overwrite", action="store_true", help="replace a data set that is at DIR")
    _add_reading(parser.add_argument_group("reading").add_argument)
    _add_features(parser.add_argument_group("columns and features").add_argument)
    _add_dealing(parser.add_argument_group("examples and shards").add_argument)
    add_runner(parser)


def _add_reading(add) -> None:
    add("--format", metavar="NAME", help="csv, tsv, jsonl, parquet, libsvm, numpy, idx or images "
        "(default: found from name and content)")
    add("--preset", default="", metavar="NAME",
        help="criteo: 13 counts and 26 categories, tab-separated")
    add("--delimiter", metavar="C", help="of CSV (default: found out)")
    add("--header", choices=("yes", "no"), help="of CSV (default: found out)")
    add("--missing", action="append", metavar="TEXT",
        help="text that stands for no value, again for each (default: the usual ones)")
    add("--multiline", action="store_true", help="quoted values of CSV may hold line breaks")
    add("--width", type=int, metavar="N", help="number of features of libsvm (default: found out)")
    add("--first-index", type=int, choices=(0, 1),
        help="index of the first feature of libsvm (default: found out)")
    add("--kind", action="append", type=_kind, metavar="COLUMN=KIND",
        help="number or word, of a column of a table, again for each (default: found out)")
    add("--image-size", type=_size, metavar="H,W", help="resize images to H x W pixels")
    add("--labels", metavar="FILE", help="labels of numpy and idx files (default: found by name)")
    add("--on-bad-row", default="fail", choices=("fail", "skip"),
        help="fail at the first (default), or leave them out and list them in DIR/rejects.jsonl")
    add("--max-bad-rows", type=int, default=0, metavar="N", help="fail past so many that were left out")
    add("--on-missing", default="impute", choices=("impute", "fail"),
        help="impute (default): as the transforms say; fail: such a row is a bad row")


def _add_features(add) -> None:
    add("--target", metavar="COLUMN",
        help="column to predict (default: the one called label, target, class or y)")
    add("--target-type", choices=("auto", "class", "value"),
        help="auto (default): text, or at most 100 different whole numbers, are classes")
    add("--weight", metavar="COLUMN", help="sample weights")
    add("--class-weight", default="", choices=("balanced",), help="make all classes weigh alike")
    add("--group", metavar="COLUMN", help="rows with the same value stay on one side of the split")
    add("--transforms", default="", metavar="FILE", help="YAML, as below (default: inferred)")
    add("--numbers", choices=("standardize", "min_max", "pass"),
        help="of number columns that FILE does not name (default: standardize)")
    add("--like", default="", metavar="DIR",
        help="read and transform as for this data set or model; nothing is fitted")


def _add_dealing(add) -> None:
    add("--test-fraction", type=float, default=0.0, metavar="F",
        help="part of the rows that is held out (default: 0)")
    add("--stratify", action="store_true", help="hold out the same part of every class")
    add("--shards", type=int, default=0, metavar="N",
        help="training shards (default: one for each 64 MiB, at least 8)")
    add("--seed", type=int, default=0, metavar="S", help="of the deal of rows (default: 0)")
    add("--dtype", default="auto", choices=("auto", "uint8", "float16", "float32", "float64"),
        help="auto: uint8 for images, else float32")
    add("--layout", default="auto", choices=("auto", "dense", "csr"), help="auto: by density")


def run(options: argparse.Namespace, rest: list[str]) -> dict:
    from mr_gradient.jobs.launch import job_arguments
    from mr_gradient.preparation import prepare
    from mr_gradient.preparation_config import PreparationConfig
    from mr_gradient.progress import Words

    check_runner_options(options, rest)
    config = PreparationConfig(
        **fields_of(PreparationConfig, options), format_options=_format_options(options),
        arguments=job_arguments(options.runner, job_options(options, rest), options.verbose))
    with contextlib.closing(Words()) as shown:
        prepared = prepare(config, shown)
    dataset, schema = prepared.dataset, prepared.dataset.schema
    result = {"data": dataset.folder, "examples": dataset.rows("train"),
              "held_out": dataset.rows("held_out"), "bad_rows": prepared.bad_rows,
              "features": schema.width, "target": schema.target, "kind": schema.kind,
              "classes": list(schema.classes), "layout": schema.layout, "dtype": schema.dtype,
              "shards": len(dataset.train) + len(dataset.held_out)}
    return result if options.json else _for_a_person(result, prepared, options.like)


def _for_a_person(result: dict, prepared: Prepared, like: str) -> dict:
    """The result in short, and on stderr what was decided of the columns, and where bad rows are."""
    from mr_gradient.dataset.writer import REJECTS
    from mr_gradient.inspection import print_table

    if not like:  # the table is of the input that the transforms were fitted to
        print_table(prepared.plan.describe(), sys.stderr)
    if prepared.bad_rows:
        print(f"bad rows are listed in {os.path.join(result['data'], REJECTS)}", file=sys.stderr)
    names = result["classes"]
    more = [f"... {len(names)} in all"] if len(names) > _SHOWN else []
    return {**result, "classes": [*names[:_SHOWN], *more] or None}


def _kind(text: str) -> tuple[str, str]:
    column, _, kind = text.rpartition("=")
    if not column or kind not in ("number", "word"):
        raise argparse.ArgumentTypeError(f"must be COLUMN=number or COLUMN=word, found {text!r}")
    return column, kind


def _size(text: str) -> list[int]:
    try:
        height, width = map(int, text.split(","))
        if min(height, width) > 0:
            return [height, width]
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be HEIGHT,WIDTH in pixels, found {text!r}")


def _format_options(options: argparse.Namespace) -> dict:
    """What was said about the files; nothing for what is to be found out."""
    header = None if options.header is None else options.header == "yes"
    asked = {"delimiter": options.delimiter, "header": header, "missing": options.missing,
             "multiline": options.multiline or None, "width": options.width,
             "first_index": options.first_index, "columns": dict(options.kind or ()) or None,
             "image_size": options.image_size,
             "labels": options.labels and local_path(options.labels)}
    return {name: value for name, value in asked.items() if value is not None}
