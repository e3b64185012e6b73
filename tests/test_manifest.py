"""The manifest: every row in one split, training splits first in the numbering, held-out between."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset.schema import Dataset, Schema, ShardInfo
from mr_gradient.errors import DataError
from mr_gradient.jobs.manifest import Split, make_splits, to_lines

pytestmark = pytest.mark.fast

SCHEMA = Schema(("x0", "x1"), "y", "value", (), "float32", 1.0)
LINE = json.dumps({"split": 3, "shard": "/data/a.safetensors", "start": 5, "stop": 9,
                   "sha256": "ab", "part": "train", "gradient": True})
row_counts = st.lists(st.integers(0, 40), max_size=8)


def dataset(train, held_out=()):
    """A data set of shards with so many rows; no files are needed to make a manifest."""
    infos = [ShardInfo(f"shards/{number:05d}.safetensors", rows, 100 * rows, f"{number:064x}")
             for number, rows in enumerate((*train, *held_out))]
    return Dataset("/data", SCHEMA, tuple(infos[:len(train)]), tuple(infos[len(train):]))


@given(row_counts, row_counts, st.integers(0, 12), st.booleans())
def test_every_row_is_in_exactly_one_split(train, held_out, rows_per_split, gradient):
    data = dataset(train, held_out)
    splits = make_splits(data, gradient, rows_per_split)
    assert sorted(split.split for split in splits) == list(range(len(splits)))
    for part in ("train", "held_out"):
        for shard in getattr(data, part):
            own = sorted((split for split in splits if split.shard == f"/data/{shard.path}"),
                         key=lambda split: split.split)
            assert [row for split in own for row in range(split.start, split.stop)] == list(
                range(shard.rows))
            assert all(split.sha256 == shard.sha256 and split.part == part for split in own)
            if rows_per_split:
                assert all(split.stop - split.start <= rows_per_split for split in own)
            else:
                assert len(own) == 1


@given(row_counts, row_counts, st.integers(0, 12))
def test_splits_with_gradient_are_numbered_first(train, held_out, rows_per_split):
    splits = make_splits(dataset(train, held_out), rows_per_split=rows_per_split)
    by_number = sorted(splits, key=lambda split: split.split)
    flags = [split.gradient for split in by_number]
    assert flags == sorted(flags, reverse=True)
    assert all(split.gradient == (split.part == "train") for split in splits)
    training = [split.split for split in splits if split.gradient]
    assert training == sorted(training)


def test_without_gradient_no_split_has_one():
    splits = make_splits(dataset([4, 4], [2]), gradient=False)
    assert len(splits) == 3
    assert not any(split.gradient for split in splits)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 10))
def test_held_out_splits_are_spread_evenly(train, held_out, pieces):
    """Cut into equal pieces, as some runners do, no piece has two more of them than its share."""
    splits = make_splits(dataset([1] * train, [1] * held_out))
    step = -(-len(splits) // pieces)
    for lo in range(0, len(splits), step):
        piece = splits[lo:lo + step]
        share = len(piece) * held_out / len(splits)
        assert abs(sum(split.part == "held_out" for split in piece) - share) < 2


@given(row_counts, row_counts)
def test_lines_round_trip_also_behind_an_offset(train, held_out):
    splits = make_splits(dataset(train, held_out))
    lines = to_lines(splits).decode().splitlines()
    assert [Split.parse(line) for line in lines] == splits
    assert [Split.parse(f"{60 * number}\t{line}") for number, line in enumerate(lines)] == splits


def test_any_path_survives():
    split = Split(0, "/data/tab\tline\nümlaut \u2028.safetensors", 0, 1, 1, "ab", "train", True)
    lines = to_lines([split]).decode().splitlines()
    assert [Split.parse(line) for line in lines] == [split]


@pytest.mark.parametrize("line", [
    "", "no JSON", "[]", "3", "null", "{}", LINE[:-1], "[" * 100_000], ids=lambda line: line[:10])
def test_lines_that_are_no_splits_are_refused(line):
    with pytest.raises(DataError, match=r"^manifest line"):
        Split.parse(line)


@pytest.mark.parametrize("change", [
    {"extra": 1}, {"start": -1}, {"start": 10}, {"split": -1}, {"start": "5"}, {"start": None},
    {"split": []}, {"start": 5.5}, {"split": 0.5}, {"shard": 3}, {"gradient": "no"}], ids=str)
def test_fields_of_another_kind_are_refused(change):
    with pytest.raises(DataError, match=r"^manifest line"):
        Split.parse(json.dumps({**json.loads(LINE), **change}))


@given(st.integers(0, len(LINE) - 1), st.characters())
def test_a_damaged_line_is_read_or_refused(position, character):
    try:
        split = Split.parse(LINE[:position] + character + LINE[position + 1:])
    except DataError:
        return
    assert 0 <= split.start <= split.stop
