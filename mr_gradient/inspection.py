"""``mr-gradient inspect``: what is in a data set, as tables, with bars on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from mr_gradient.dataset.row_sample import RowSample, open_checked, take_sample
from mr_gradient.dataset.schema import Dataset, open_dataset
from mr_gradient.dataset.sketches import histograms, plain_columns, planned_columns
from mr_gradient.dataset.transforms.plan import Plan
from mr_gradient.errors import DataError

_MOST_ROWS = 40
_MOST_LETTERS = 60
_BAR = 24
#: Of a table that goes to a file or another program.
_WIDTH = 80
#: From here on, columns stand two spaces apart.
_ROOMY = 100
#: So that no usual word is broken at 80 columns.
_MIN_WIDTH = {"transforms": len("standardize"), "range": len("-1.23457e+07")}
_BLOCKS = " ▁▂▃▄▅▆▇█"
#: Where it is worth telling how many of the features any row has.
_USED = ("buckets", "features", "nonzero values")
#: What a sketch shows, by its ``shows``.
_LEGEND = {
    "values": "numbers     how many are in each twelfth of their range, as stored",
    "nonzero values": "matrix      how many of its numbers other than 0 are in each twelfth of "
                      "their range",
    "features": "matrix      rows of each feature, the most frequent first; its numbers are alike",
    "categories": "categories  rows of each, the most frequent first",
    "buckets": "hashes      rows in each bucket, the fullest first",
}


def inspect(folder: str) -> dict[str, Any]:
    """Columns, class balance, shards and sizes of a data set, as JSON would have them.

    Each column has a ``sketch``, which ``dataset/sketches.py`` describes, of ``sketched_rows`` rows
    of the training part. Raises ``DataError`` when there is no data set, or a shard is damaged.
    """
    dataset = open_dataset(folder)
    schema = dataset.schema
    parts = {part: {"examples": dataset.rows(part), "shards": len(getattr(dataset, part)),
                    "bytes": sum(shard.bytes for shard in getattr(dataset, part))}
             for part in ("train", "held_out")}
    sample = take_sample(dataset)
    plan = dataset.options.get("plan")
    columns = planned_columns(Plan.from_json(plan), sample) if plan else plain_columns(schema, sample)
    return {"data": dataset.folder, "features": schema.width, "target": schema.target,
            "kind": schema.kind, "layout": schema.layout, "dtype": schema.dtype, **parts,
            "labels": _labels(dataset), "label_sketch": _label_sketch(schema.kind, sample),
            "columns": columns, "sketched_rows": sample.rows}


def _labels(dataset: Dataset) -> dict[str, Any]:
    """Examples of each class of the training part, or the range of its values."""
    labels = (open_checked(dataset, shard).y for shard in dataset.train)
    if dataset.schema.kind == "class":
        classes = dataset.schema.classes
        counts = np.zeros(len(classes), np.int64)
        for y in labels:
            if len(y) and not 0 <= y.min() <= y.max() < len(classes):
                raise DataError(f"{dataset.folder}: labels must be classes 0 to {len(classes) - 1}, "
                                f"found {y.min()} to {y.max()}; prepare the data set again")
            counts += np.bincount(y.astype(np.int64), minlength=len(classes))
        return dict(zip(classes, counts.tolist()))
    some = [(y.min(), y.sum(dtype=np.float64), y.max()) for y in labels if len(y)]
    if not some:
        return {}
    lows, sums, highs = zip(*some)
    return {"minimum": float(min(lows)), "mean": float(sum(sums)) / dataset.rows("train"),
            "maximum": float(max(highs))}


def _label_sketch(kind: str, sample: RowSample) -> dict[str, Any] | None:
    """Of labels that are values."""
    if kind == "class":
        return None
    return histograms(lambda: [sample.y[:, None].astype(np.float64)] if sample.rows else [], 1)[0][0]


def print_inspection(found: dict[str, Any], stream: TextIO) -> None:
    """The result of ``inspect`` for a person, with a bar for each class.

    The sketches are for terminals that can show them.
    """
    for name in ("data", "features", "target", "kind", "layout", "dtype"):
        print(f"{name:10} {_plain(found[name])}", file=stream)
    for part in ("train", "held_out"):
        sizes = found[part]
        print(f"{part.replace('_', ' '):10} {sizes['examples']:,} examples in {sizes['shards']:,} "
              f"shard{'s' * (sizes['shards'] != 1)}, {sizes['bytes']:,} bytes", file=stream)
    bars = shows_bars(stream)
    if found["kind"] == "class":
        most = max(found["labels"].values(), default=0)
        rows = [{"class": name, "examples": count, "": "#" * round(_BAR * count / max(1, most))}
                for name, count in found["labels"].items()]
        print(file=stream)
        print_table(rows, stream)
    else:
        words = [f"{name} {value:.6g}" for name, value in found["labels"].items()]
        words += [sketch_text(found["label_sketch"]["counts"])] * bars
        print("labels     " + "  ".join(words), file=stream)
    print(file=stream)
    used = any((column["sketch"] or {}).get("shows") in _USED for column in found["columns"])
    print_table([_row(row, used, bars) for row in found["columns"]], stream)
    _print_notes(found, used, bars, stream)


def _row(column: dict[str, Any], used: bool, bars: bool) -> dict[str, Any]:
    """A row of the table of columns: for why a column has its transforms here is no room."""
    row = {name: value for name, value in column.items() if name not in ("why", "sketch")}
    sketch = column["sketch"] or {}
    if used:
        row["used"] = sketch.get("filled", row["features"])
    if bars:
        row["sketch"] = sketch_text(sketch.get("counts", ()))
    return row


def _print_notes(found: dict[str, Any], used: bool, bars: bool, stream: TextIO) -> None:
    """What the sketches show, and of which rows."""
    columns, examples = found["columns"][:_MOST_ROWS], found["train"]["examples"]
    shown = {column["sketch"]["shows"] for column in columns if column["sketch"]}
    notes = [line for shows, line in _LEGEND.items() if shows in shown] if bars else []
    # What a plan has counted is of all rows.
    sampled = [] if "why" in columns[0] else ["missing", "range"]
    sampled += ["used"] * used + ["sketch"] * bars
    if sampled and found["sketched_rows"] < examples:
        notes.append(f"{', '.join(sampled)}: of {found['sketched_rows']:,} of {examples:,} rows, "
                     "evenly spread")
    if notes:
        print("", *notes, sep="\n", file=stream)


def shows_bars(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose encoding has block letters."""
    try:
        _BLOCKS.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return stream.isatty()


def sketch_text(counts: Sequence[int]) -> str:
    """A block letter for each count; one that is not 0 shows."""
    most = max(counts, default=0) or 1
    return "".join(_BLOCKS[-(-8 * count // most)] for count in counts)


def print_table(rows: list[dict[str, Any]], stream: TextIO) -> None:
    """Rows as a table without lines; the end of a long one is left out, a long word is cut."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    # Not as markup: a name in brackets is a name.
    console = Console(file=stream, width=None if stream.isatty() else _WIDTH, highlight=False,
                      markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1 + (console.width >= _ROOMY), 0, 0),
                  header_style="bold")
    for name in rows[0]:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int) else "left",
                         overflow="fold", no_wrap=name in ("", "sketch"),
                         min_width=_MIN_WIDTH.get(name) if console.width >= _WIDTH else None)
    shown = rows if len(rows) <= _MOST_ROWS else rows[:_MOST_ROWS - 5]
    for row in shown:
        table.add_row(*(_plain(value) for value in row.values()))
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()), file=stream)
    if len(rows) > len(shown):
        print(f"... and {len(rows) - len(shown):,} more; --json has them all", file=stream)


def _plain(value: object) -> str:
    """A value as text that leaves a terminal as it is, the end of a long one cut off."""
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(value))
    return text if len(text) <= _MOST_LETTERS else text[:_MOST_LETTERS - 3] + "..."
