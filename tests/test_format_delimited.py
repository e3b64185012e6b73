"""CSV and TSV: what is found in a file's head, values as they are read, and where pieces are cut."""

import bz2
import csv
import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_tables import read_piece, read_table, written

from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.delimited import CSV, TSV

PLAIN = "a,b,c\n1,x,2.5\n-3e2,y,\n+.5,,7\n"
PLAIN_COLUMNS = {"a": [1.0, -300.0, 0.5], "b": ["x", "y", None], "c": [2.5, None, 7.0]}


@pytest.mark.parametrize(("change", "lines"), [
    (lambda text: text, [2, 3, 4]),
    (lambda text: text.rstrip("\n"), [2, 3, 4]),
    (lambda text: text.replace("\n", "\r\n"), [2, 3, 4]),
    (lambda text: "\ufeff" + text, [2, 3, 4]),
    (lambda text: "\n\r\n" + text.replace("\n", "\n\n"), [5, 7, 9]),
    (lambda text: text.replace("-300", " -300 ").replace(",", " , "), [2, 3, 4]),
    (lambda text: text.replace(",", ";"), [2, 3, 4]),
    (lambda text: text.replace(",", "|"), [2, 3, 4]),
    (lambda text: text.replace(",", "\t"), [2, 3, 4]),
    (lambda text: text.replace("\n-", "\n  \n-"), [2, 4, 5]),
    (lambda text: text.replace("x", '"x"').replace("+.5", '"+.5"').replace("a,", '"a",'), [2, 3, 4]),
], ids=["plain", "no-last-end", "crlf", "bom", "blank", "spaces", "semicolon", "pipe", "tab",
        "line-of-spaces", "quotes"])
@pytest.mark.parametrize("size", [1, 16, 1 << 30])
def test_the_same_table_in_many_dresses(tmp_path, change, lines, size):
    path = written(tmp_path / "t.csv", change(PLAIN))
    source, columns, found = read_table(CSV, path, size=size)
    assert source.columns == {"a": "number", "b": "word", "c": "number"}
    assert columns == PLAIN_COLUMNS
    assert found == lines


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_files_are_one_piece(tmp_path, ending, compress):
    path = written(tmp_path / f"t.csv{ending}", compress(PLAIN.encode()))
    source, columns, lines = read_table(CSV, path, size=4)
    assert (columns, lines) == (PLAIN_COLUMNS, [2, 3, 4])
    assert len(CSV.pieces([path], source, 4)) == 1


@pytest.mark.parametrize(("text", "columns"), [
    ("1,x\n2,y\n", {"c0": [1.0, 2.0], "c1": ["x", "y"]}),
    ("p,q\nr,s\n", {"c0": ["p", "r"], "c1": ["q", "s"]}),
    ("p,q\n1,s\n", {"p": [1.0], "q": ["s"]}),
    ("p,q\n", {"p": [], "q": []}),
    ("p\n1\n\n2\n", {"p": [1.0, 2.0]}),
    ("p,\n1,s\n", {"c0": ["p", "1"], "c1": [None, "s"]}),
])
def test_a_header_is_text_over_numbers(tmp_path, text, columns):
    assert read_table(CSV, written(tmp_path / "t.csv", text))[1] == columns


def test_options_say_what_the_head_would(tmp_path):
    path = written(tmp_path / "t.csv", "p;q\nr;NA\n-;7\n")
    source, columns, _ = read_table(CSV, path, {
        "header": True, "delimiter": ";", "missing": ["-"], "columns": {"q": "word"}})
    assert columns == {"p": ["r", None], "q": ["NA", "7"]}
    assert source.options == {"delimiter": ";", "header": True, "missing": ["", "-"],
                              "multiline": False}
    assert read_table(CSV, path, {"header": False})[1] == {
        "c0": ["p", "r", "-"], "c1": ["q", None, "7"]}


@pytest.mark.parametrize("value", ["", "NA", "N/A", "nan", "NaN", "null", "NULL", "None", "?", " NA ",
                                   '"NA"', '""', "\t"])
def test_missing_values(tmp_path, value):
    path = written(tmp_path / "t.csv", f"a,b\n1,x\n{value},{value}\n3,z\n")
    assert read_table(CSV, path, {"delimiter": ","})[1] == {
        "a": [1.0, None, 3.0], "b": ["x", None, "z"]}


def test_a_column_is_of_numbers_if_it_is_in_all_files(tmp_path):
    paths = [written(tmp_path / f"{at}.csv", f"a,b\n{row}\n") for at, row in enumerate(["1,2", "1,x"])]
    source, columns, lines = read_table(CSV, paths)
    assert source.columns == {"a": "number", "b": "word"}
    assert (columns, lines) == ({"a": [1.0, 1.0], "b": ["2", "x"]}, [2, 2])


def test_numbers_are_the_nearest_float64(tmp_path):
    texts = ["0.1", "9007199254740993", "1e-320", "2.2250738585072011e-308", "-0.0", "1E5", "5."]
    path = written(tmp_path / "t.csv", "a,b\n" + "".join(f"{text},x\n" for text in texts))
    assert list(map(repr, read_table(CSV, path)[1]["a"])) == [repr(float(text)) for text in texts]


def test_a_byte_order_mark_within_a_file_is_text(tmp_path):
    path = written(tmp_path / "t.csv", "\ufeff\ufeffa,1\n\ufeffb,2\n")
    for size in (1, 1000):
        assert read_table(CSV, path, size=size)[1]["c0"] == ["\ufeffa", "\ufeffb"]


def test_tsv_has_tabs_and_commas_in_words(tmp_path):
    path = written(tmp_path / "t.tsv", "1\tx,y\n2\t;\n")
    assert read_table(TSV, path)[1] == {"c0": [1.0, 2.0], "c1": ["x,y", ";"]}


@pytest.mark.parametrize(("head", "csv_like", "tsv_like"), [
    (b"a,b\n1,2\n", True, False), (b"a\tb\n1\t2\n", False, True), (b"1;2\n3;4", True, False),
    (b'{"a": 1, "b": 2}\n', False, False), (b"\0,\0\n", False, False), (b"", False, False),
    (b"1 1:0.5 3:2\n", False, False), (b"one\ntwo, three\nfour\n", False, False),
    (b"a,\xe9\n1,2\n", True, False),
])
def test_content_that_looks_like_it(head, csv_like, tsv_like):
    assert (CSV.looks_like(head), TSV.looks_like(head)) == (csv_like, tsv_like)


cells = st.one_of(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=6),
                  st.sampled_from(['"', '""', ",", 'a"b', '","']))


@given(rows=st.lists(st.tuples(st.integers(-9, 9), cells), min_size=1, max_size=30),
       size=st.integers(16, 200), block=st.integers(16, 200), ending=st.sampled_from(["\n", "\r\n"]))
def test_pieces_add_up_to_the_whole(scratch_file, rows, size, block, ending):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator=ending).writerows([("p", "q"), *rows])
    with open(scratch_file, "wb") as file:
        file.write(text.getvalue().encode())
    options = {"header": True, "delimiter": ",", "missing": [], "columns": {"p": "number", "q": "word"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "BLOCK_BYTES", block)
        _, columns, lines = read_table(CSV, scratch_file, options, size)
    assert columns["p"] == [row[0] for row in rows]
    missing = ("", *("?", "N/A", "NA", "NULL", "NaN", "None", "nan", "null"))
    words = [row[1].strip(" \t") for row in rows]
    assert columns["q"] == [None if word in missing else word for word in words]
    assert lines == list(range(2, len(rows) + 2))


@given(rows=st.lists(st.tuples(st.integers(-9, 9), st.text('ab"\n\r,', max_size=9)), min_size=1,
                     max_size=30), block=st.integers(1, 60))
def test_values_with_line_breaks(scratch_file, rows, block):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    with open(scratch_file, "wb") as file:
        file.write(text.getvalue().encode())
    options = {"header": False, "delimiter": ",", "multiline": True,
               "columns": {"c0": "number", "c1": "word"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "BLOCK_BYTES", block)
        source, columns, lines = read_table(CSV, scratch_file, options, 16)
    assert columns == {"c0": [row[0] for row in rows], "c1": [row[1] or None for row in rows]}
    assert len(CSV.pieces([scratch_file], source, 16)) == 1
    before = [sum(word.count("\n") for _, word in rows[:at]) for at in range(len(rows))]
    assert lines == [1 + at + extra for at, extra in enumerate(before)]


@pytest.mark.parametrize("block", [1, 4, 1 << 20])
def test_rows_are_numbered_in_their_piece_with_the_bad_ones(tmp_path, monkeypatch, block):
    monkeypatch.setattr(arrow, "BLOCK_BYTES", block)
    path = written(tmp_path / "t.csv", "a,b\n1,x\n\nbad,x\n3,x\n4\n5,x\n")
    source = CSV.inspect([path], {"columns": {"a": "number"}})
    bad = BadRows(fail=False, limit=9)
    piece = CSV.pieces([path], source, 1 << 20)[0]
    assert read_piece(CSV, piece, source, bad) == (
        {"a": [1.0, 3.0, 5.0], "b": ["x", "x", "x"]}, [0, 2, 4], [2, 5, 7])
    assert bad.count == 2
