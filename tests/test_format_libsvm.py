"""libsvm files: what is read, by both parsers, and what is said of each bad row."""

from __future__ import annotations

import bz2
import gzip
import importlib
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import A9A, shared_data

from mr_gradient.dataset.formats import libsvm
from mr_gradient.dataset.formats.base import BadRows
from mr_gradient.dataset.formats.libsvm import FORMAT
from mr_gradient.errors import DataError, UsageError


@pytest.fixture(scope="module", params=[pytest.param("exact", marks=pytest.mark.fast), "scikit-learn"])
def parser(request):
    """Both parsers must read the same; where scikit-learn is absent, the exact one reads all."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "exact":
            patch.setitem(sys.modules, "sklearn.datasets", None)
        else:
            importlib.import_module("sklearn.datasets")
        yield request.param


def write(path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def read(path: str, options=None, size=1 << 20, bad=None) -> list:
    """Rows of the whole input, as (number within the piece, line, label, qid, features)."""
    source = FORMAT.inspect([path], options or {})
    found = []
    for piece in FORMAT.pieces([path], source, size):
        for rows in FORMAT.read(piece, source, bad or BadRows()):
            x = rows.features
            assert x.indptr.dtype == x.indices.dtype == np.int64
            assert x.values.dtype == rows.columns["label"].values.dtype == np.float64
            assert x.width == (source.width or x.indices.max(initial=-1) + 1)
            qid = rows.columns["qid"].values if "qid" in rows.columns else [None] * len(rows.line)
            for i, (a, b) in enumerate(zip(x.indptr[:-1], x.indptr[1:])):
                found.append((int(rows.number[i]), int(rows.line[i]),
                              float(rows.columns["label"].values[i]), qid[i],
                              dict(zip(x.indices[a:b].tolist(), x.values[a:b].tolist()))))
    return found


def test_labels_features_comments_and_blank_lines(tmp_path, parser):
    path = write(tmp_path / "a", "\ufeff# head\r\n+1 1:0.5 3:-2e1 # 4:4\r\n\r\n  \n-1\n"
                                 "2.5\t2:7  \n1 9:1")
    assert read(path) == [(0, 2, 1.0, None, {0: 0.5, 2: -20.0}), (1, 5, -1.0, None, {}),
                          (2, 6, 2.5, None, {1: 7.0}), (3, 7, 1.0, None, {8: 1.0})]


def test_the_first_index_is_found_out_or_said(tmp_path, parser):
    paths = [write(tmp_path / "one", "1 1:1 2:5\n"), write(tmp_path / "zero", "1 0:1 2:5\n")]
    assert read(paths[0])[0][4] == {0: 1.0, 1: 5.0}
    assert read(paths[1])[0][4] == {0: 1.0, 2: 5.0}
    assert read(paths[0], {"first_index": 0})[0][4] == {1: 1.0, 2: 5.0}
    assert FORMAT.inspect(paths, {}).options["first_index"] == 0
    with pytest.raises(UsageError, match="first_index: must be 0 or 1, found 2"):
        FORMAT.inspect(paths, {"first_index": 2})
    with pytest.raises(UsageError, match="width: must be the number of features, found -1"):
        FORMAT.inspect(paths, {"width": -1})


def test_an_index_0_in_a_comment_or_as_a_query_does_not_count(tmp_path, parser):
    path = write(tmp_path / "a", "1 qid:0 1:1 # 0:1\n1 qid:1 2:5 # qid:4\n")
    assert read(path) == [(0, 1, 1.0, 0.0, {0: 1.0}), (1, 2, 1.0, 1.0, {1: 5.0})]


def test_a_row_without_a_query_among_others_has_a_missing_value(tmp_path, parser):
    found = read(write(tmp_path / "a", "1 qid:3 1:1\n0 2:5\n"))
    assert found[0][3] == 3.0
    assert np.isnan(found[1][3])


@pytest.mark.parametrize(("line", "options", "column", "value", "wrong"), [
    ("1 1:1 3:1 2:1", {}, "", "2:1", "indices must rise, and 3 is before it"),
    ("1 2:1 2:1", {}, "", "2:1", "an index must stand once in a row"),
    ("1 1:1 5:1", {"width": 4}, "", "5:1", "the declared width is 4, so an index must be at most 4"),
    ("1 4:1", {"width": 4, "first_index": 0}, "", "4:1", "so an index must be at most 3"),
    ("1 0:1", {"first_index": 1}, "", "0:1", "the first index is 1"),
    ("1 -1:1", {"first_index": 0}, "", "-1:1", "an index must be 0 or more"),
    ("cat 1:1", {}, "label", "cat", "must be a number"),
    ("1,2 1:1", {}, "label", "1,2", "must be a number"),
    ("nan 1:1", {}, "label", "nan", "must be a finite number"),
    ("1 1:1 2:two", {}, "2", "two", "must be a number"),
    ("1 2:1_0", {}, "2", "1_0", "must be a number"),
    ("1 2:", {}, "2", "", "must be a number"),
    ("1 2:nan", {}, "2", "nan", "must be a finite number"),
    ("1 2:-inf", {}, "2", "-inf", "must be a finite number"),
    ("1 2:1e999", {}, "2", "1e999", "must be a finite number"),
    ("1 two:2", {}, "", "two:2", "the index of a feature must be a whole number"),
    ("1 1_0:2", {}, "", "1_0:2", "the index of a feature must be a whole number"),
    ("1 9223372036854775808:2", {}, "", "9223372036854775808:2", "whole number below 2**63"),
    ("1 1:1 7", {}, "", "7", "a feature must be index:value"),
    ("1 1:1 \xe9:7", {}, "", "é:7", "the index of a feature must be a whole number"),
    ("1 qid:5 1:7", {}, "qid", "5", "the first rows of the files have no qid"),
    ("1 1:7 qid:5", {}, "", "qid:5", "the index of a feature must be a whole number"),
])
def test_a_bad_row_is_named_or_left_out(tmp_path, monkeypatch, parser, line, options, column, value,
                                        wrong):
    # The bad row is behind the sample that is inspected, and in a later piece.
    monkeypatch.setattr(libsvm, "_SAMPLE", 50)
    good = "1 1:1 2:2\n" * 20
    path = write(tmp_path / "a", f"{good}\n{line} # why\n0 1:3")
    with pytest.raises(DataError) as error:
        read(path, options, size=60)
    where = f"{path}, line 22" + (f", column '{column}'" if column else "")
    assert str(error.value).startswith(f"{where}: ")
    assert wrong in str(error.value)
    assert f"found {value!r}" in str(error.value)
    bad = BadRows(fail=False, limit=1)
    numbers = [row[:3] for row in read(path, options, 60, bad)]
    assert len(numbers) == 21
    assert numbers[-1][1:] == (23, 0.0)
    assert [note[:4] for note in bad.notes] == [(path, 22, column, value)]


def test_a_bad_query_is_named(tmp_path, parser):
    for value in ("x", "1.5", "9007199254740992"):
        path = write(tmp_path / "a", f"1 qid:1 1:1\n1 qid:{value} 1:1\n")
        with pytest.raises(DataError, match=rf"a, line 2, column 'qid': .*found '{value}'"):
            read(path)


def test_bad_rows_past_the_limit_end_the_reading(tmp_path, parser):
    path = write(tmp_path / "a", "1 1:1\nbad\nworse\n1 1:2\n")
    with pytest.raises(DataError, match=r"a, line 3, column 'label'.*more than --max-bad-rows 1"):
        read(path, bad=BadRows(fail=False, limit=1))


@pytest.mark.parametrize("text", ["", "\n \n", "# only a comment\n"])
def test_a_file_without_rows_is_refused(tmp_path, text, parser):
    path = write(tmp_path / "a", text)
    with pytest.raises(DataError, match=re.escape(f"{path}: must be lines 'label index:value")):
        FORMAT.inspect([path], {})


def table():
    row = st.tuples(st.floats(-1e6, 1e6), st.dictionaries(
        st.integers(0, 9), st.floats(allow_nan=False, allow_infinity=False), max_size=6))
    return st.tuples(st.booleans(), st.lists(st.tuples(row, st.booleans()), min_size=1, max_size=20))


@given(drawn=table(), size=st.integers(1, 200))
def test_pieces_together_are_the_whole(scratch_file, parser, drawn, size):
    qid, rows = drawn
    text, expected = "", []
    for i, ((label, x), blank) in enumerate(rows):
        text += "\n" * blank + f"{label!r}" + f" qid:{i}" * qid + "".join(
            f" {index}:{x[index]!r}" for index in sorted(x)) + "\n"
        expected.append((text.count("\n"), label, float(i) if qid else None, x))
    with open(scratch_file, "w", encoding="ascii") as file:
        file.write(text)
    found = read(scratch_file, {"first_index": 0}, size)
    assert [row[1:] for row in found] == expected


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_compressed_files_are_one_piece_and_tell_of_damage(tmp_path, pack, parser):
    text = b"".join(b"%d 1:%d\n" % (i % 2, i) for i in range(50_000))
    ending = ".gz" if pack is gzip.compress else ".bz2"
    path = write(tmp_path / f"a{ending}", pack(text))
    assert len(read(path, size=1000)) == 50_000
    source = FORMAT.inspect([path], {})
    pieces = FORMAT.pieces([path], source, 1000)
    assert [(piece.start, piece.stop) for piece in pieces] == [(0, -1)]
    whole = (tmp_path / f"a{ending}").read_bytes()
    for damaged, words in ((whole[:-9], "data end too soon"),
                           (whole[:2000] + bytes(40) + whole[2040:], "found damaged data"),
                           (text, "found damaged data")):
        write(tmp_path / f"a{ending}", damaged)
        with pytest.raises(DataError, match=rf"a\{ending}: .*{words}"):
            list(FORMAT.read(pieces[0], source, BadRows()))


@pytest.mark.parametrize("text", ["1 1:2\n", "-1 qid:4 3:0.5 # x\n", "1.0\n0 1:1\n", "# c\n+1 7:1\n",
                                  "1 " + " ".join(f"{i}:0.25" for i in range(1, 20_000))])
def test_content_is_told(text):
    assert FORMAT.looks_like(text.encode()[:65536])


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "1\n2\n", "1 2 3\n", '{"a": 1}\n', "7:1 8:1\n",
                                  "1\t2:30\tcat\n", "\x89PNG\r\n"])
def test_other_content_is_told_apart(text):
    assert not FORMAT.looks_like(text.encode())


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    return shared_data(request, tmp_path_factory)


@pytest.mark.parametrize("name", A9A)
def test_a9a_is_read_as_scikit_learn_reads_it(folder, parser, name):
    datasets = importlib.import_module("sklearn.datasets") if parser == "scikit-learn" else None
    path = str(folder / name)
    source = FORMAT.inspect([path], {"width": 123})
    assert (source.options, source.columns) == ({"first_index": 1}, {"label": "number"})
    batches = list(FORMAT.read(FORMAT.pieces([path], source, 1 << 20)[0], source, BadRows()))
    labels = np.concatenate([rows.columns["label"].values for rows in batches])
    indices = np.concatenate([rows.features.indices for rows in batches])
    assert len(labels) == A9A[name]
    assert set(labels) == {0.0, 1.0}
    assert indices.max() <= 122
    assert {rows.features.width for rows in batches} == {123}
    if datasets:
        x, y = datasets.load_svmlight_file(path, n_features=123)
        np.testing.assert_array_equal(labels, y)
        np.testing.assert_array_equal(indices, x.indices)
        np.testing.assert_array_equal(
            np.concatenate([rows.features.values for rows in batches]), x.data)
        np.testing.assert_array_equal(
            np.concatenate([np.diff(rows.features.indptr) for rows in batches]), np.diff(x.indptr))
