"""``mr-gradient inspect``: what is in a data set, as tables."""

from __future__ import annotations

import os
from typing import Any, TextIO

import numpy as np

from mr_gradient.dataset.schema import Dataset, open_dataset
from mr_gradient.dataset.shards import open_shard

_MOST_ROWS = 40
_BAR = 24


def inspect(folder: str) -> dict[str, Any]:
    """Columns, class balance, shards and sizes of a data set, as JSON would have them.

    Raises ``DataError`` when there is no data set, or a shard is damaged.
    """
    dataset = open_dataset(folder)
    schema = dataset.schema
    parts = {part: {"examples": dataset.rows(part), "shards": len(getattr(dataset, part)),
                    "bytes": sum(shard.bytes for shard in getattr(dataset, part))}
             for part in ("train", "held_out")}
    return {"data": dataset.folder, "features": schema.width, "target": schema.target,
            "kind": schema.kind, "layout": schema.layout, "dtype": schema.dtype, **parts,
            "labels": _labels(dataset),
            "columns": dataset.options.get("plan", {}).get("table", [])}


def _labels(dataset: Dataset) -> dict[str, Any]:
    """Examples of each class of the training part, or the range of its values."""
    labels = [open_shard(os.path.join(dataset.folder, shard.path)).y for shard in dataset.train]
    y = np.concatenate(labels)
    if dataset.schema.kind == "class":
        counts = np.bincount(y.astype(np.int64), minlength=len(dataset.schema.classes))
        return dict(zip(dataset.schema.classes, counts.tolist()))
    return {"minimum": float(y.min()), "mean": float(y.mean(dtype=np.float64)),
            "maximum": float(y.max())} if len(y) else {}


def print_inspection(found: dict[str, Any], stream: TextIO) -> None:
    """The result of ``inspect`` for a person, with a bar for each class."""
    for name in ("data", "features", "target", "kind", "layout", "dtype"):
        print(f"{name:10} {found[name]}", file=stream)
    for part in ("train", "held_out"):
        sizes = found[part]
        print(f"{part.replace('_', ' '):10} {sizes['examples']:,} examples in {sizes['shards']} "
              f"shards, {sizes['bytes']:,} bytes", file=stream)
    if found["kind"] == "class":
        most = max(found["labels"].values(), default=0)
        rows = [{"class": name, "examples": count, "": "#" * round(_BAR * count / max(1, most))}
                for name, count in found["labels"].items()]
        print(file=stream)
        print_table(rows, stream)
    else:
        print("labels     " + "  ".join(f"{k} {v:.6g}" for k, v in found["labels"].items()),
              file=stream)
    if found["columns"]:
        print(file=stream)
        print_table(found["columns"], stream)


def print_table(rows: list[dict[str, Any]], stream: TextIO) -> None:
    """Rows as a table without lines; the middle of a long one is left out."""
    from rich.console import Console
    from rich.table import Table

    if not rows:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name, justify="right" if isinstance(rows[0][name], int) else "left",
                         overflow="fold")
    shown = rows if len(rows) <= _MOST_ROWS else rows[:_MOST_ROWS - 5]
    for row in shown:
        table.add_row(*(str(value) for value in row.values()))
    if len(rows) > len(shown):
        table.add_row(f"... and {len(rows) - len(shown)} more")
    Console(file=stream, width=None if stream.isatty() else 100, highlight=False).print(table)
