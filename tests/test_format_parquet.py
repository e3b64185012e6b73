"""Parquet: all types that are numbers, times or texts, groups of row groups, and what is refused."""

import datetime
import decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet
from read_tables import read_piece, read_table, written

from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.parquet import FORMAT
from mr_gradient.errors import DataError, UsageError

DAYS = [datetime.date(1970, 1, 2), None, datetime.date(1969, 12, 31)]


def stored(path, columns, **options):
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    parquet.write_table(table, path, **options)
    return str(path)


@pytest.mark.parametrize(("array", "values"), [
    (pa.array([1, None, 2**53 + 1], pa.int64()), [1.0, None, float(2**53)]),
    (pa.array([1, None, 2**64 - 1], pa.uint64()), [1.0, None, float(2**64)]),
    (pa.array([-128, None, 127], pa.int8()), [-128.0, None, 127.0]),
    (pa.array([1.5, None, float("nan")], pa.float16()), [1.5, None, None]),
    (pa.array([0.5, None, float("nan")], pa.float32()), [0.5, None, None]),
    (pa.array([0.1, None, 5e-324], pa.float64()), [0.1, None, 5e-324]),
    (pa.array([True, None, False]), [1.0, None, 0.0]),
    (pa.array([decimal.Decimal("0.1"), None, decimal.Decimal("-123456789012345.67")],
              pa.decimal128(30, 2)), [0.1, None, -123456789012345.67]),
    (pa.array(DAYS, pa.date32()), [86400.0, None, -86400.0]),
    (pa.array(DAYS, pa.date64()), [86400.0, None, -86400.0]),
    (pa.array([1500, None, -1], pa.timestamp("ms", tz="UTC")), [1.5, None, -0.001]),
    (pa.array([10, None, -1], pa.timestamp("ns")), [1e-8, None, -1e-9]),
    (pa.array([1, None, 2], pa.time32("s")), [1.0, None, 2.0]),
    (pa.array([1, None, 2], pa.duration("us")), [1e-6, None, 2e-6]),
    (pa.array([1, None, 2]).dictionary_encode(), [1.0, None, 2.0]),
    (pa.nulls(3), [None, None, None]),
    (pa.array(["x", None, ""]), ["x", None, ""]),
    (pa.array(["x", None, "é\n"], pa.large_string()), ["x", None, "é\n"]),
    (pa.array(["x", None, "x"]).dictionary_encode(), ["x", None, "x"]),
    (pa.DictionaryArray.from_arrays(pa.array([2, None, 0], pa.int8()), ["x", "unused", "y"]),
     ["y", None, "x"]),
], ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "")
def test_types(tmp_path, array, values):
    path = stored(tmp_path / "t.parquet", {"a.b": array, "a": array, "n": [1, 2, 3]})
    source, columns, lines = read_table(FORMAT, path)
    kind = "word" if isinstance(values[0], str) else "number"
    assert source.columns == {"a.b": kind, "a": kind, "n": "number"}
    assert columns == {"a.b": values, "a": values, "n": [1.0, 2.0, 3.0]}
    assert lines == [1, 2, 3]


@given(number=st.decimals(allow_nan=False, allow_infinity=False, min_value=-10**17, max_value=10**17,
                          places=16))
def test_decimals_are_the_nearest_float64(scratch_file, number):
    stored(scratch_file, {"a": pa.array([number], pa.decimal128(38, 16))})
    assert read_table(FORMAT, scratch_file)[1] == {"a": [float(number)]}


def test_declared_kinds(tmp_path):
    path = stored(tmp_path / "t.parquet", {
        "zip": [1234, None], "size": [1.5, float("nan")], "flag": [True, False], "n": ["1e2", " "]})
    kinds = {"zip": "word", "size": "word", "flag": "word"}
    assert read_table(FORMAT, path, {"columns": kinds})[1] == {
        "zip": ["1234", None], "size": ["1.5", None], "flag": ["true", "false"], "n": ["1e2", " "]}
    bad = BadRows(fail=False, limit=1)
    _, columns, lines = read_table(FORMAT, path, {"columns": {"n": "number"}}, bad=bad)
    assert (columns["n"], lines) == ([100.0], [1])
    assert bad.notes == [(path, 2, "n", " ", "must be a number")]
    with pytest.raises(UsageError, match=r"has no column 'm'; found zip, size, flag, n"):
        FORMAT.inspect([path], {"columns": {"m": "word"}})


@given(rows=st.integers(0, 40), group=st.integers(1, 9), size=st.integers(16, 2000))
def test_pieces_are_groups_of_row_groups(scratch_file, rows, group, size):
    numbers, words = list(map(float, range(rows))), [f"w{at % 3}" for at in range(rows)]
    stored(scratch_file, {"a": pa.array(numbers, pa.float64()), "b": pa.array(words, pa.string())},
           row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mr_gradient.dataset.formats.parquet.BATCH_BYTES", size)
        source, columns, lines = read_table(FORMAT, scratch_file, size=size)
    assert columns == {"a": numbers, "b": words}
    assert lines == list(range(1, rows + 1))
    pieces = FORMAT.pieces([scratch_file], source, size)
    bounds = [(piece.start, piece.stop) for piece in pieces]
    assert [start for start, _ in bounds[1:]] == [stop for _, stop in bounds[:-1]]
    assert (bounds == []) == (rows == 0)
    if rows:
        assert (bounds[0][0], bounds[-1][1]) == (0, -(-rows // group))


def test_files_may_differ_in_exact_types_but_not_in_class(tmp_path):
    first = stored(tmp_path / "0.parquet", {"a": [1, 2], "b": ["x", "y"]})
    same = stored(tmp_path / "1.parquet", {"a": [0.5], "b": pa.array(["z"]).dictionary_encode()})
    assert read_table(FORMAT, [first, same])[1:] == (
        {"a": [1.0, 2.0, 0.5], "b": ["x", "y", "z"]}, [1, 2, 1])
    for columns, difference in [
            ({"a": [1], "b": [2]}, "column 2: must be 'b' of type string, found 'b' of type int64"),
            ({"a": [1], "c": ["x"]}, "column 2: must be 'b' of type string, found 'c' of type string"),
            ({"a": pa.array(DAYS), "b": ["x"] * 3},
             "column 1: must be 'a' of type int64, found 'a' of type date32[day]"),
            ({"a": [1]}, "column 2: must be 'b' of type string, found nothing"),
            ({"a": [1], "b": ["x"], "c": [1]}, "column 3: must be nothing, found 'c' of type int64")]:
        other = stored(tmp_path / "2.parquet", columns)
        with pytest.raises(DataError) as caught:
            FORMAT.inspect([first, other], {})
        assert str(caught.value) == (f"{other}: must have the columns of {first}; the first difference "
                                     f"is {difference}")


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_infinity_is_a_bad_row(tmp_path, size):
    path = stored(tmp_path / "t.parquet", {"a": [1, 2, 3, 4], "b": [0.5, float("inf"), 1.5, None],
                                           "c": ["x", "x", "y", "z"]}, row_group_size=1)
    with pytest.raises(DataError) as caught:
        read_table(FORMAT, path, size=size)
    assert str(caught.value) == (f"{path}, line 2, column 'b': must be a finite number, found 'inf'; "
                                 "mend the row, or leave such rows out with "
                                 "--on-bad-row skip --max-bad-rows N")
    bad = BadRows(fail=False, limit=1)
    source = FORMAT.inspect([path], {})
    assert read_piece(FORMAT, FORMAT.pieces([path], source, 1 << 20)[0], source, bad) == (
        {"a": [1.0, 3.0, 4.0], "b": [0.5, 1.5, None], "c": ["x", "y", "z"]}, [0, 2, 3], [1, 3, 4])


@pytest.mark.parametrize(("array", "kind"), [
    (pa.array([[1], []]), "nested type list<"), (pa.array([{"x": 1}, None]), "nested type struct<"),
    (pa.array([b"x", None]), "binary or unknown type binary"),
])
def test_other_types_are_refused_by_name(tmp_path, array, kind):
    path = stored(tmp_path / "t.parquet", {"a": [1, 2], "b": array})
    with pytest.raises(DataError) as caught:
        FORMAT.inspect([path], {})
    assert str(caught.value).startswith(
        f"{path}, column 'b': must hold numbers, times or texts, found the {kind}")


def test_texts_that_are_not_utf8(tmp_path):
    damaged = pa.Array.from_buffers(pa.string(), 2, pa.array([b"x", b"\xe9"]).buffers())
    path = stored(tmp_path / "t.parquet", {"b": damaged}, use_dictionary=False)
    with pytest.raises(DataError) as caught:
        read_table(FORMAT, path)
    assert str(caught.value) == (f"{path}, column 'b': texts must be UTF-8, found others between row 1 "
                                 "and 2; write the file anew")


def test_column_names_differ_and_exist(tmp_path):
    twice = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    path = stored(tmp_path / "t.parquet", twice)
    with pytest.raises(DataError, match=r"t\.parquet: column names must differ, found 'a' twice"):
        FORMAT.inspect([path], {})
    path = stored(tmp_path / "u.parquet", pa.table({}))
    with pytest.raises(DataError, match=r"u\.parquet: must have columns, found none"):
        FORMAT.inspect([path], {})


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100, b"a,b\n1,2\n" * 9])
def test_damaged_files_are_named(tmp_path, content):
    path = written(tmp_path / "t.parquet", content)
    with pytest.raises(DataError, match=r"t\.parquet: must be Parquet, found damaged or other data"):
        FORMAT.inspect([path], {})


def test_files_cut_off_or_absent_are_named(tmp_path):
    path = stored(tmp_path / "t.parquet", {"a": list(range(1000))})
    with open(path, "rb") as file:
        written(tmp_path / "t.parquet", file.read()[:-50])
    with pytest.raises(DataError, match=r"t\.parquet: must be Parquet"):
        FORMAT.inspect([path], {})
    with pytest.raises(DataError, match=r"absent: no such file"):
        FORMAT.inspect([str(tmp_path / "absent")], {})
    with pytest.raises(DataError, match=r"must be a Parquet file, found a folder"):
        FORMAT.inspect([str(tmp_path)], {})


def test_content_that_looks_like_it(tmp_path):
    with open(stored(tmp_path / "t", {"a": [1]}), "rb") as file:
        assert FORMAT.looks_like(file.read())
    assert not FORMAT.looks_like(b"a,b\n")
