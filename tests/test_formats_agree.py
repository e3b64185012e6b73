"""A table is the same table whether it is written as CSV, Parquet or JSON lines."""

import csv
import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from read_tables import read_table

from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.delimited import CSV, MISSING, TSV
from mr_gradient.dataset.formats.json_lines import FORMAT as JSON_LINES
from mr_gradient.dataset.formats.parquet import FORMAT as PARQUET
from mr_gradient.errors import DataError

NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False),
                    st.integers(-2**53, 2**53).map(float), st.sampled_from([-0.0, 5e-324, 1e308]))
# What CSV cannot say: spaces around words, and words that stand for missing values.
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=8)
BROKEN = st.text(st.one_of(st.sampled_from('",;\n\t\''), st.characters(codec="utf-8",
                                                                       exclude_characters="\r\0")),
                 max_size=8)


def words(texts):
    return st.one_of(st.none(), st.sampled_from(["x", 'say "x"', "a,b", "\t", "'", "é", "0", "{}"]),
                     texts).map(lambda word: None if word is None else word.strip(" \t")).filter(
                         lambda word: word is None or word not in MISSING or word == "")


def tables(texts):
    """Kinds of the columns, and rows."""
    kinds = st.lists(st.sampled_from(["number", "word"]), min_size=1, max_size=5)
    return kinds.flatmap(lambda kinds: st.tuples(st.just(kinds), st.lists(st.tuples(*(
        NUMBERS if kind == "number" else words(texts) for kind in kinds)), max_size=20)))


def write_all(folder, kinds, rows, group):
    """The table in each format; ``{}``: the options that declare it."""
    names = [f"column {at}" for at in range(len(kinds))]
    for path, delimiter in (("t.csv", ","), ("t.tsv", "\t")):
        with open(folder / path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([["" if value is None else repr(value) if isinstance(value, float)
                               else value for value in row] for row in rows])
    with open(folder / "t.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(dict(zip(names, row))) + "\n" for row in rows)
    types = {"number": pa.float64(), "word": pa.string()}
    columns = list(zip(*rows)) or [()] * len(names)
    arrays = [pa.array(values, types[kind]) for kind, values in zip(kinds, columns)]
    parquet.write_table(pa.table(arrays, names=names), folder / "t.parquet", row_group_size=group)
    return dict(zip(names, kinds))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("agree")


def check_all(folder, table, size, block, multiline):
    kinds, rows = table
    declared = write_all(folder, kinds, rows, max(1, size // 20))
    options = {"columns": declared, "header": True, "multiline": multiline}
    expected = {name: [row[at] for row in rows] for at, name in enumerate(declared)}
    # In CSV an empty text is a missing value.
    without_empty = {name: [None if value == "" else value for value in values]
                     for name, values in expected.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "BLOCK_BYTES", block)
        found = {}
        for form, path, wanted in ((CSV, "t.csv", without_empty), (TSV, "t.tsv", without_empty),
                                   (PARQUET, "t.parquet", expected), (JSON_LINES, "t.jsonl", expected)):
            path = str(folder / path)
            if form is JSON_LINES and not rows:
                with pytest.raises(DataError, match="found an empty file"):
                    form.inspect([path], options)
                continue
            extra = {"delimiter": ","} if form is CSV else {}
            source, found[path], _ = read_table(form, path, {**options, **extra}, size)
            assert source.columns == declared
            assert {name: list(map(repr, values)) for name, values in found[path].items()} == {
                name: list(map(repr, values)) for name, values in wanted.items()}


@given(table=tables(PLAIN), size=st.integers(16, 400), block=st.integers(16, 400))
def test_the_formats_agree(folder, table, size, block):
    check_all(folder, table, size, block, multiline=False)


@given(table=tables(BROKEN), size=st.integers(16, 400), block=st.integers(16, 400))
def test_the_formats_agree_on_words_with_line_breaks(folder, table, size, block):
    check_all(folder, table, size, block, multiline=True)
