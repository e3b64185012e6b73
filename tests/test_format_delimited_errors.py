"""What is wrong with a CSV file: each message names the file, and the true line, column and value."""

import bz2
import gzip

import pytest
from read_tables import read_piece, read_table, written

from mr_gradient.dataset.formats import arrow, delimited_records
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.delimited import CSV
from mr_gradient.errors import DataError, UsageError

KINDS = {"columns": {"a": "number", "b": "word"}, "header": True, "delimiter": ","}
FINE = "a,b\n" + "".join(f"{at},x\n" for at in range(20))
MEND = "; mend the row, or leave such rows out with --on-bad-row skip --max-bad-rows N"


def failure(kind, run, *arguments):
    with pytest.raises(kind) as caught:
        run(*arguments)
    return str(caught.value)


BAD_ROWS = [
    ("oops,x", "a", "must be a number", "oops"),
    ("1_000,x", "a", "must be a number", "1_000"),
    ("0x10,x", "a", "must be a number", "0x10"),
    ("\u0661,x", "a", "must be a number", "\u0661"),
    ('"1 2",x', "a", "must be a number", "1 2"),
    ("inf,x", "a", "must be a finite number", "inf"),
    (" -Infinity ,x", "a", "must be a finite number", "-Infinity"),
    ("1e400,x", "a", "must be a finite number", "1e400"),
    ("-nan,x", "a", "must be a number", "-nan"),
    ("1,x,y", "", "must have 2 values, has 3", "1,x,y"),
    ("1", "", "must have 2 values, has 1", "1"),
    ('1,x",y', "", "must have 2 values, has 3; if values hold line breaks, read with --multiline",
     '1,x",y'),
    ("1,x\r2", "", "must not hold a carriage return outside quotes", "1,x\r2"),
    (b"1,caf\xe9", "", "must be text in UTF-8, has byte 0xe9 as byte 6 of the line", "1,caf\\xe9"),
    (b"\xff,x", "", "must be text in UTF-8, has byte 0xff as byte 1 of the line", "\\xff,x"),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("size", [16, 1 << 20])
@pytest.mark.parametrize(("row", "column", "wrong", "value"), BAD_ROWS)
def test_a_bad_row_is_named_and_the_others_are_kept(tmp_path, row, column, wrong, value, size, ending):
    row = row if isinstance(row, bytes) else row.encode()
    text = FINE.replace("\n", ending).encode()
    path = written(tmp_path / "t.csv", text + row + ending.encode() + b"21,y")
    where = f"{path}, line 22" + (f", column {column!r}" if column else "")
    assert failure(DataError, read_table, CSV, path, KINDS, size) == (
        f"{where}: {wrong}, found {value!r}{MEND}")
    bad = BadRows(fail=False, limit=1)
    _, columns, lines = read_table(CSV, path, KINDS, size, bad)
    assert columns == {"a": [*map(float, range(20)), 21.0], "b": ["x"] * 20 + ["y"]}
    assert lines == [*range(2, 22), 23]
    assert bad.notes == [(path, 22, column, value, wrong)]


def test_bad_rows_are_counted_in_order_up_to_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "BLOCK_BYTES", 32)
    path = written(tmp_path / "t.csv", FINE + "x,y,z\n\nno,inf\n1\n2,z\n")
    bad = BadRows(fail=False, limit=3)
    assert read_table(CSV, path, KINDS, bad=bad)[2] == [*range(2, 22), 26]
    assert [note[1:4] for note in bad.notes] == [(22, "", "x,y,z"), (24, "a", "no"), (25, "", "1")]
    assert failure(DataError, read_table, CSV, path, KINDS, 1 << 20, BadRows(False, 2)) == (
        f"{path}, line 25: must have 2 values, has 1, found '1'; that is bad row 3, more than "
        "--max-bad-rows 2")


def test_a_long_value_is_cut_in_the_message(tmp_path):
    path = written(tmp_path / "t.csv", FINE + "9" * 50 + "z" * 5000 + ",x\n")
    bad = BadRows(fail=False, limit=1)
    read_table(CSV, path, KINDS, bad=bad)
    assert bad.notes[0][3] == "9" * 50 + "z" * 50 + "..."


@pytest.mark.parametrize("rows", ['21,"x\ny"\n22,z\n', '21,x\n22,"y\n', '21,x\n22,"y\n\n\n', '21,"x',
                                  '21,"x\n22,"y"\n23,z\n', '21,"x\n\n,y"\n'])
def test_a_quoted_value_over_lines_is_found_out(tmp_path, rows):
    line = 22 if rows.startswith('21,"') else 23
    expected = (": a quoted value does not end on its line; if values hold line breaks, read with "
                "--multiline, else mend the quote")
    path = written(tmp_path / "t.csv", FINE + rows)
    message = failure(DataError, read_table, CSV, path, KINDS)
    assert message == f"{path}, line {line}" + expected
    # A file whose first MiB is fine: whatever the pieces, one of them tells, and tells the line.
    source = CSV.inspect([written(tmp_path / "fine.csv", FINE)], KINDS)
    for size in range(16, 200):
        found = []
        for piece in CSV.pieces([path], source, size):
            try:
                read_piece(CSV, piece, source)
            except DataError as error:
                found.append(str(error))
        assert message in found
        # Pieces that start within the value have bad rows, and may say so first.
        assert all("--multiline" in other or MEND in other for other in found)


def test_a_line_break_too_many_and_one_too_few_do_not_cancel_out(tmp_path):
    source = CSV.inspect([written(tmp_path / "fine.csv", FINE)], KINDS)
    path = written(tmp_path / "t.csv", 'a,b\n1,x\r2,y\n3,"p\nq"\n')
    piece = CSV.pieces([path], source, 1 << 20)[0]
    assert failure(DataError, read_piece, CSV, piece, source).startswith(
        f"{path}, line 3: a quoted value does not end on its line")


def test_with_one_column_a_cut_value_is_found_out_too(tmp_path):
    options = {"columns": {"w": "word"}, "header": True, "delimiter": ","}
    source = CSV.inspect([written(tmp_path / "fine.csv", "w\nx\n")], options)
    path = written(tmp_path / "t.csv", 'w\nx\n"a\nb"\ny\n"c\nd"\n')
    for size in range(1, 20):
        pieces = CSV.pieces([path], source, size)
        with pytest.raises(DataError, match=r"line 3: a quoted value does not end"):
            [read_piece(CSV, piece, source) for piece in pieces]


def test_a_quote_without_an_end_where_values_may_hold_line_breaks(tmp_path, monkeypatch):
    options = {**KINDS, "multiline": True}
    source = CSV.inspect([written(tmp_path / "fine.csv", FINE)], options)
    path = written(tmp_path / "t.csv", 'a,b\n1,"x\ny"\n2,"z\n' + "3,x\n" * 100)
    piece = CSV.pieces([path], source, 10)[0]
    message = f"{path}, line 4: a quoted value has no end; mend the quote"
    assert failure(DataError, read_piece, CSV, piece, source) == message
    monkeypatch.setattr(arrow, "BLOCK_BYTES", 16)
    monkeypatch.setattr(delimited_records, "LONGEST_ROW", 64)
    assert failure(DataError, read_piece, CSV, piece, source) == message


@pytest.mark.parametrize(("text", "message"), [
    ("", ": must hold rows, found an empty file"),
    ("\ufeff\r\n  \n", ": must hold rows, found an empty file"),
    ("a,b,a\n1,2,3\n", ", line 1: column names must differ, found 'a' twice; rename one, or say "
                       "--header no"),
    ("\na, ,c\n1,2,3\n", ", line 2: all columns must have a name, found none for column 2; name it, "
                         "or say --header no"),
    ("a,b\r1,2\r", ", line 1: lines must end in LF or CRLF, found CR alone; convert it"),
    (b"a,\xe9\n1,2\n", ", line 1: must be text in UTF-8, has byte 0xe9 as byte 3 of the line; convert "
                       "the file"),
    ("a,b\n1,2\n".encode("utf-16"), ": must be text in UTF-8, found the mark of UTF-16; convert it"),
])
def test_heads_that_are_refused(tmp_path, text, message):
    path = written(tmp_path / "t.csv", text)
    assert failure(DataError, CSV.inspect, [path], {"header": True}) == path + message


def test_files_of_different_kinds_are_refused(tmp_path):
    paths = [written(tmp_path / f"{at}.csv", text) for at, text in enumerate(
        ["a,b,c\n1,2,3\n", "a,x,c\n1,2,3\n", "a,b\n1,2\n", "1,2\n", "1,2,3\n"])]
    for other, differs in ((1, "column 2 on, found x, c"), (2, "column 3 on, found nothing")):
        assert failure(DataError, CSV.inspect, [paths[0], paths[other]], {}) == (
            f"{paths[other]}, line 1: must have the header of {paths[0]}, 3 columns in the same order; "
            f"it differs from {differs}")
    assert failure(DataError, CSV.inspect, [paths[4], paths[3]], {}) == (
        f"{paths[3]}, line 1: must have 3 columns as {paths[4]}, found 2")


@pytest.mark.parametrize(("options", "message"), [
    ({"columns": {"d": "word"}, "header": True}, "--kind d: {} has no column 'd'; found a, b"),
    ({"columns": {"a": "text"}}, "columns: 'a' must be number or word, found 'text'"),
    ({"delimiter": "::"}, "--delimiter: must be one ASCII character, no quote, found '::'"),
])
def test_options_that_cannot_be(tmp_path, options, message):
    path = written(tmp_path / "t.csv", FINE)
    assert failure(UsageError, CSV.inspect, [path], options) == message.format(path)


@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_truncated_compressed_files(tmp_path, ending, compress):
    text = FINE + "".join(f"{at},{at * 7919 % 1009}\n" for at in range(5000))
    path = written(tmp_path / f"t.csv{ending}", compress(text.encode()))
    source = CSV.inspect([path], KINDS)
    piece = CSV.pieces([path], source, 1)[0]
    written(tmp_path / f"t.csv{ending}", compress(text.encode())[:-100])
    message = failure(DataError, read_piece, CSV, piece, source)
    assert message.startswith(f"{path}: ")
    assert "cut off" in message


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.csv", None)
    message = failure(UsageError, CSV.inspect, [written(tmp_path / "t.csv", FINE)], {})
    assert message.startswith("reading csv needs pyarrow")
