"""A table with a declared schema prepares to the same shards from CSV, Parquet and JSON lines.

A file here is one piece: rows are dealt by piece and row, and larger files are cut by their bytes.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.delimited import MISSING
from mr_gradient.errors import MrGradientError
from mr_gradient.jobs.launch import job_arguments
from mr_gradient.preparation import PreparationConfig, prepare

ENDINGS = ("csv", "parquet", "jsonl")
TYPES = {"float": pa.float64(), "whole": pa.int64(), "word": pa.string()}
FLOATS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.floats(allow_nan=False, allow_infinity=False),
                   st.sampled_from([-0.0, 0.1, 5e-324]))
WHOLES = st.one_of(st.none(), st.integers(0, 3), st.integers(0, 255), st.integers(-2**63, 2**63 - 1))
# What CSV cannot say: an empty word, spaces around words, and words that stand for missing values.
TEXTS = st.one_of(
    st.sampled_from(["x", "y", 'say "x"', "a,b", "a\nb", "\t", "'", "é", "0", "1e3", "{}", "true"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8),
).map(lambda word: word.strip(" \t")).filter(lambda word: word not in MISSING)
WORDS = st.none() | TEXTS
VALUES = {"float": FLOATS, "whole": WHOLES, "word": WORDS}
CLASSES = st.sampled_from(["yes", "no", "é,\n"])
STEPS = {
    "number": [None, "pass", "min_max", [{"clip": {"low": 0}}, "log1p"], "one_hot",
               {"hash": {"bits": 6}}, [{"impute": "median"}, "standardize"],
               [{"clip": {"low": -5, "high": 5}}, "standardize"]],
    "word": [None, {"one_hot": {"cap": 2}}, {"hash": {"bits": 6}},
             {"ngrams": {"n": 2, "bits": 8}}, {"ngrams": {"n": 3, "of": "characters", "bits": 8}}]}


@st.composite
def tables(draw):
    """Kinds of the columns, the files' rows, options of the preparation, and bytes of a batch."""
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    labels = draw(st.sampled_from([("word", CLASSES), ("whole", st.integers(-1, 1)),
                                   ("float", st.floats(-100, 100, width=32))]))
    weighted = draw(st.booleans())
    values = [VALUES[kind] for kind in kinds] + [labels[1]] + [st.floats(0, 10)] * weighted
    rows = draw(st.lists(st.tuples(*values), min_size=2, max_size=30))
    # One class alone would be refused.
    for at, label in enumerate({"word": ["yes", "no"], "whole": [0, 1]}.get(labels[0], [])):
        rows[at] = (*rows[at][:len(kinds)], label, *rows[at][len(kinds) + 1:])
    cuts = sorted(draw(st.sets(st.integers(1, len(rows) - 1), max_size=2)))
    files = [rows[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(rows)])]
    names = [f"column {at}" for at in range(len(kinds))]
    columns = {}
    for name, kind in zip(names, kinds):
        steps = draw(st.sampled_from(STEPS["word" if kind == "word" else "number"]))
        if steps is not None:
            columns[name] = steps
    spec = {"target": "label", "columns": columns}
    if draw(st.booleans()) and len(names) > 1:
        spec["crosses"] = [{"columns": names[:2], "bits": 7}]
    if weighted:
        spec["weight"] = "weight"
    options = {"spec": spec, "shards": draw(st.integers(1, 3)), "seed": draw(st.integers(0, 3)),
               "test_fraction": draw(st.sampled_from([0.0, 0.3])),
               "dtype": draw(st.sampled_from(["auto", "float64"])),
               "layout": draw(st.sampled_from(["auto", "dense", "csr"])),
               "class_weight": draw(st.sampled_from(["", "balanced"])) if labels[0] == "word" else ""}
    declared = dict(zip([*names, "label", "weight"], [*kinds, labels[0], *["float"] * weighted]))
    return declared, files, options, draw(st.integers(1, 400))


def write(path: Path, kinds: dict[str, str], rows: list[tuple], group: int) -> None:
    """One file, in the format that its name says."""
    if path.suffix == ".csv":
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(kinds)
            writer.writerows([["" if value is None else repr(value) if isinstance(value, float)
                               else value for value in row] for row in rows])
    elif path.suffix == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            # A missing value is null, or a key that is not there.
            file.writelines(json.dumps({name: value for name, value in zip(kinds, row)
                                        if value is not None or at % 2 == 0}) + "\n"
                            for at, row in enumerate(rows))
    else:
        arrays = [pa.array(values, TYPES[kind]) for values, kind in zip(zip(*rows), kinds.values())]
        parquet.write_table(pa.table(arrays, names=list(kinds)), path, row_group_size=group)


def prepared(folder: Path, ending: str, kinds: dict[str, str], files: list[list[tuple]],
             options: dict, block: int) -> dict[str, object]:
    """Everything that came of the table in one format: content of the files, or what was wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    paths = [folder / f"{at}.{ending}" for at in range(len(files))]
    for path, rows in zip(paths, files):
        write(path, kinds, rows, max(1, block // 20))
    reader = {"columns": {name: "word" if kind == "word" else "number" for name, kind in kinds.items()}}
    if ending == "csv":
        reader |= {"header": True, "multiline": True, "delimiter": ","}
    arguments = job_arguments("inline", ["--num-cores", "1"], False)
    try:
        found = prepare(PreparationConfig([str(path) for path in paths], str(folder / "data"),
                                          arguments=arguments, format_options=reader, **options))
    except MrGradientError as error:
        # Where a row lies is the format's.
        told = re.sub(r"line \d+", "line", str(error).replace(f".{ending}", ""))
        return {"refused": (type(error), told)}
    data = found.dataset
    shards = {shard.path: (Path(data.folder) / shard.path).read_bytes()
              for shard in (*data.train, *data.held_out)}
    assert sum(map(len, files)) == data.rows("train") + data.rows("held_out")
    return {"digest": data.digest, "schema": data.schema, "plan": found.plan.to_json(), **shards}


def check(folder: Path, table: tuple) -> dict[str, object]:
    """Prepare in each format, read in batches of ``block`` bytes, and compare what came of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "BLOCK_BYTES", table[-1])
        first, *others = (prepared(folder / "made", ending, *table) for ending in ENDINGS)
    for ending, other in zip(ENDINGS[1:], others):
        for name in {**first, **other}:
            assert first.get(name) == other.get(name), f"{ending}: {name}"
    return first


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("agree")


@settings(max_examples=50)
@given(table=tables())
def test_the_shards_agree(folder, table):
    check(folder, table)


@pytest.mark.long
@settings(max_examples=400)
@given(table=tables())
def test_the_shards_of_many_tables_agree(folder, table):
    check(folder, table)


def test_a_usual_table_is_prepared(folder):
    """The comparison above would also pass if all were refused."""
    random = np.random.default_rng(1)
    kinds = {"size": "float", "count": "whole", "city": "word", "label": "word", "weight": "float"}
    cities = [None, "Oslo", "a,\n"]
    rows = [(None if at % 7 == 0 else size, at % 5, cities[at % 3], "ny"[at % 2], at / 9)
            for at, size in enumerate(random.normal(size=200).tolist())]
    options = {"spec": {"weight": "weight"}, "shards": 4}
    found = check(folder, (kinds, [rows[:90], rows[90:]], options, 99))
    assert len([name for name in found if name.startswith("shards/")]) == 4
    assert found["schema"].width == 5
