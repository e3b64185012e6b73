"""JSON lines: values as they are read, what is wrong with which line, and where pieces are cut."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from read_tables import read_piece, read_table, written

from mr_gradient.dataset.formats import arrow
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.json_lines import FORMAT
from mr_gradient.errors import DataError, UsageError

FINE = '{"a": 1, "b": "x", "c": true}\n{"c": false, "a": -2.5e3}\n\n{"b": null, "a": null}\n{}\n'
FINE_COLUMNS = {"a": [1.0, -2500.0, None, None], "b": ["x", None, None, None],
                "c": [1.0, 0.0, None, None]}
MEND = "; mend the row, or leave such rows out with --on-bad-row skip --max-bad-rows N"


@pytest.mark.parametrize("change", [
    lambda text: text, lambda text: text.rstrip("\n"), lambda text: text.replace("\n", "\r\n"),
    lambda text: "\ufeff" + text, lambda text: text.replace("{", "  {"),
])
@pytest.mark.parametrize("size", [1, 16, 1 << 30])
def test_objects_of_plain_values(tmp_path, change, size):
    path = written(tmp_path / "t.jsonl", change(FINE))
    source, columns, lines = read_table(FORMAT, path, size=size)
    assert source.columns == {"a": "number", "b": "word", "c": "number"}
    assert source.options == {"booleans": ["c"]}
    assert (columns, lines) == (FINE_COLUMNS, [1, 2, 4, 5])


def test_a_compressed_file_is_one_piece(tmp_path):
    path = written(tmp_path / "t.jsonl.gz", gzip.compress(FINE.encode()))
    source, columns, _ = read_table(FORMAT, path, size=4)
    assert columns == FINE_COLUMNS
    assert len(FORMAT.pieces([path], source, 4)) == 1


@pytest.mark.parametrize(("texts", "kind", "values"), [
    (["true", "2", "null", "0.1"], "number", [1.0, 2.0, None, 0.1]),
    (["9007199254740993", "1e-320", "-0.0"], "number", [9007199254740992.0, 1e-320, -0.0]),
    (["NaN", "1"], "number", [None, 1.0]),
    (["null", "null"], "number", [None, None]),
    (['"x"', "1.50", "true", '""'], "word", ["x", "1.50", "true", ""]),
    (['"NA"', '" y "', r'"\ud83d\ude00\u0000\""'], "word", ["NA", " y ", '\U0001f600\0"']),
])
@pytest.mark.parametrize("size", [1, 1 << 30])
def test_values(tmp_path, texts, kind, values, size):
    path = written(tmp_path / "t.jsonl", "".join(f'{{"v":{text}}}\n' for text in texts))
    source, columns, _ = read_table(FORMAT, path, size=size)
    assert source.columns == {"v": kind}
    assert list(map(repr, columns["v"])) == list(map(repr, values))


def test_a_number_that_is_declared_a_word_is_its_text(tmp_path):
    path = written(tmp_path / "t.jsonl", '{"zip": 01234}\n'.replace("01", "1") + '{"zip": 1.0}\n')
    assert read_table(FORMAT, path, {"columns": {"zip": "word"}})[1] == {"zip": ["1234", "1.0"]}


def test_columns_are_the_keys_of_all_files_in_order_of_appearance(tmp_path):
    paths = [written(tmp_path / f"{at}.jsonl", text) for at, text in enumerate(
        ['{"b": 1}\n{"a": 2}\n', '{"c": "x", "b": null}\n'])]
    source, columns, lines = read_table(FORMAT, paths)
    assert list(source.columns.items()) == [("b", "number"), ("a", "number"), ("c", "word")]
    assert columns == {"b": [1.0, None, None], "a": [None, 2.0, None], "c": [None, None, "x"]}
    assert lines == [1, 2, 1]


NO_OBJECT = "must be a JSON object"
SURROGATE = (f"{NO_OBJECT} ('utf-8' codec can't encode character '\\ud83d' in position 7: surrogates "
             "not allowed)")
LATER = "no row of the first MiB of the files has this key"


@pytest.mark.parametrize("size", [16, 1 << 20])
@pytest.mark.parametrize(("row", "column", "value", "wrong"), [
    ('{"a": "x"}', "a", "x", "must be a number"),
    ('{"a": Infinity}', "a", "Infinity", "must be a finite number"),
    ('{"a": 1e400}', "a", "1e400", "must be a finite number"),
    ('{"a": [1]}', "a", "[1]", "must be a plain value, not a list in the object"),
    ('{"b": {"x": null}}', "b", '{"x": null}', "must be a plain value, not an object in the object"),
    ('{"b": [null]}', "b", "[null]", "must be a plain value, not a list in the object"),
    ('{"d": 0}', "d", "0", LATER),
    ('{"a": 1, "a": 2}', "a", "2", "a key must stand once in a row"),
    ("[1]", "", "[1]", NO_OBJECT),
    ("7", "", "7", NO_OBJECT),
    ('{"a": 1}{"a": 2}', "", '{"a": 1}{"a": 2}',
     f"{NO_OBJECT} (Extra data: line 1 column 9 (char 8))"),
    ('{"a": 1_000}', "", '{"a": 1_000}',
     f"{NO_OBJECT} (Expecting ',' delimiter: line 1 column 8 (char 7))"),
    (r'{"b": "\ud83d"}', "", r'{"b": "\ud83d"}', SURROGATE),
    (b'{"b": "\xe9"}', "", '{"b": "\\xe9"}',
     "must be text in UTF-8, has byte 0xe9 as byte 8 of the line"),
])
def test_a_bad_row_is_named_and_the_others_are_kept(tmp_path, row, column, value, wrong, size):
    row = row if isinstance(row, bytes) else row.encode()
    source = FORMAT.inspect([written(tmp_path / "fine.jsonl", FINE)], {})
    path = written(tmp_path / "t.jsonl", FINE.encode() + row + b'\n{"a": 7, "d": null}\n')
    bad = BadRows(fail=False, limit=1)
    found, lines = [], []
    messages = []
    for piece in FORMAT.pieces([path], source, size):
        columns, _, at = read_piece(FORMAT, piece, source, bad)
        found += columns["a"]
        lines += at
        try:
            read_piece(FORMAT, piece, source)
        except DataError as error:
            messages.append(str(error))
    assert found == [*FINE_COLUMNS["a"], 7.0]
    assert lines == [1, 2, 4, 5, 7]
    assert bad.notes == [(path, 6, column, value, wrong)]
    where = f"{path}, line 6" + (f", column {column!r}" if column else "")
    assert messages == [f"{where}: {wrong}, found {value!r}{MEND}"]


@pytest.mark.parametrize(("text", "values", "lines"), [
    ('{"a": 2}{"a": 3}\n{"a":\n4}\n{"a": 5}\n', [5.0], [2, 3, 4]),
    ('{"a": -NaN}\n{"a": 6}\n', [6.0], [2]),
])
def test_lines_that_only_pyarrow_takes_are_bad_rows(tmp_path, text, values, lines):
    path = written(tmp_path / "t.jsonl", '{"a": 1}\n' + text)
    bad = BadRows(fail=False, limit=9)
    assert read_table(FORMAT, path, bad=bad)[1] == {"a": [1.0, *values]}
    assert [note[1] for note in bad.notes] == lines


@pytest.mark.parametrize(("text", "message"), [
    ("", ": must hold JSON objects, one a line, found an empty file"),
    ("\n\r\n", ": must hold JSON objects, one a line, found an empty file"),
    ("{}\n", ": the objects must have keys, found none"),
    ('\n{\n"a": 1}\n', ", line 2: must be a JSON object (Expecting property name enclosed in double "
                       "quotes: line 1 column 2 (char 1)), found '{'"),
    ('{"a": 1}\n{"b": 2, "c": [1, 2]}\n', ", line 2, column 'c': must be a plain value, not a list in "
                                         "the object, found '[1, 2]'"),
    ('{"a": {"b": 2}}\n', ", line 1, column 'a': must be a plain value, not an object in the object, "
                         "found '{\"b\": 2}'"),
])
def test_heads_that_are_refused(tmp_path, text, message):
    path = written(tmp_path / "t.jsonl", text)
    with pytest.raises(DataError) as caught:
        FORMAT.inspect([path], {})
    assert str(caught.value) == path + message


def test_a_declared_column_must_be_there(tmp_path):
    with pytest.raises(UsageError, match=r"has no column 'z'; found a, b, c"):
        FORMAT.inspect([written(tmp_path / "t.jsonl", FINE)], {"columns": {"z": "word"}})


def test_a_truncated_file_is_named(tmp_path):
    whole = "".join(f'{{"a": {at * 7919 % 1009}}}\n' for at in range(5000))
    path = written(tmp_path / "t.jsonl.gz", gzip.compress(whole.encode()))
    source = FORMAT.inspect([path], {})
    written(tmp_path / "t.jsonl.gz", gzip.compress(whole.encode())[:-100])
    with pytest.raises(DataError, match=r"t\.jsonl\.gz: .* cut off"):
        read_table(FORMAT, path)
    assert source.columns == {"a": "number"}


@pytest.mark.parametrize(("head", "expected"), [
    (b'{"a": 1}\n{"b', True), (b'\n {"a": 1}', True), (b'{"a": "' + b"x" * 2000, True),
    (b"[1]\n", False), (b"a,b\n1,2\n", False), (b"{a}\n", False), (b"", False), (b"\xff\n", False),
])
def test_content_that_looks_like_it(head, expected):
    assert FORMAT.looks_like(head) is expected


@given(rows=st.lists(st.fixed_dictionaries({}, optional={
           "a": st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
           "b": st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=5))}), max_size=30),
       size=st.integers(16, 200), block=st.integers(8, 200), ascii_only=st.booleans())
def test_pieces_add_up_to_the_whole(scratch_file, rows, size, block, ascii_only):
    rows = [{"a": 0.5, "b": "x"}, *rows]
    with open(scratch_file, "w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "BLOCK_BYTES", block)
        _, columns, lines = read_table(FORMAT, scratch_file, size=size)
    assert columns == {name: [row.get(name) for row in rows] for name in "ab"}
    assert lines == list(range(1, len(rows) + 1))
