"""Text columns that are looked at only as far as somebody asks, and rows that are put into order."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset.columns import Numbers, Rows, RowTexts, Sparse, Texts, Words, select
from mr_gradient.dataset.transforms.counts import WordCounts
from mr_gradient.dataset.transforms.hashing import bucket_and_sign, murmur3_32
from mr_gradient.dataset.transforms.word_steps import Hash, OneHot

pytestmark = pytest.mark.fast
TEXTS = st.lists(st.one_of(st.text(st.characters(codec="utf-8"), max_size=5),
                           st.sampled_from(["", "\0", "a\0b", "é", "日本", "abcd"])), max_size=20)


def as_read(values: list[str | None]) -> tuple[Words, list[int]]:
    """A column as a reader gives it, and how often it was asked for the distinct texts."""
    present = [value for value in values if value is not None]
    asked: list[int] = []

    def encode() -> tuple[np.ndarray, Texts]:
        asked.append(1)
        distinct = list(dict.fromkeys(present))
        codes = [-1 if value is None else distinct.index(value) for value in values]
        return np.array(codes, np.int32), Texts.of(distinct)

    missing = np.array([value is None for value in values], bool)
    return Words.of_rows(RowTexts(Texts.of(present), missing, encode)), asked


@given(TEXTS, st.integers(0, 3))
def test_texts_are_what_they_were(words, skipped):
    texts = Texts.of(words)
    assert texts.decoded() == words
    assert texts.characters().tolist() == [len(word) for word in words]
    part = Texts(texts.letters, texts.starts[skipped:] if skipped <= len(words) else texts.starts[-1:])
    assert part.decoded() == words[skipped:]
    assert part.characters().tolist() == [len(word) for word in words[skipped:]]


@given(st.lists(st.one_of(st.none(), st.sampled_from(["aa", "bb", "c", "é", ""])), min_size=1,
                max_size=30))
def test_a_column_as_read_is_one_of_distinct_words(values):
    lazy, asked = as_read(values)
    words = [value for value in dict.fromkeys(values) if value is not None]
    plain = Words(np.array([-1 if value is None else words.index(value) for value in values], np.int32),
                  words)
    for column in (lazy, plain):
        assert column.missing().tolist() == [value is None for value in values]
        assert column.characters() == sum(len(value or "") for value in values)
    assert not asked
    assert len(lazy) == len(plain) == len(words)
    assert (lazy.codes.tolist(), lazy.words) == (plain.codes.tolist(), plain.words)
    assert asked == [1]
    assert lazy.characters() == plain.characters()
    kept = np.arange(len(values))[::-1]
    assert [lazy.at(kept).words[code] for code in lazy.at(kept).codes if code >= 0] == [
        value for value in values[::-1] if value is not None]


@given(st.lists(st.one_of(st.none(), st.sampled_from(["aa", "bb", "cc"]), st.text(max_size=3)),
                min_size=1, max_size=30), st.booleans())
def test_hashing_asks_for_no_distinct_words(values, signed):
    part = Hash(("word",), 6, signed, 7)
    number = np.arange(len(values))

    def found(column: Words) -> list:
        sparse = part.apply(Rows({"word": column}, None, number, number))
        assert (sparse.indptr == np.arange(len(values) + 1)).all()
        return [sparse.indices.tolist(), sparse.values.tolist()]

    lazy, asked = as_read(values)
    expected = [np.concatenate(each).tolist() for each in zip(*(
        bucket_and_sign(["word" if value is None else f"word={value}"], 6, 7) for value in values))]
    assert found(lazy) == [expected[0], expected[1] if signed else [1.0] * len(values)]
    assert not asked
    assert len(lazy.codes) == len(values)
    assert found(lazy)[0] == expected[0]  # and also where they are known


def test_counts_past_the_cap_ask_for_no_distinct_words():
    counts = WordCounts(cap=2)
    for values in (["a", "b", None], ["cc", "a", "a"], ["dd", None, None]):
        column, asked = as_read(values)
        counts.add(column)
    assert counts.counts is None
    assert not asked
    assert (counts.rows, counts.missing, counts.length) == (6, 3, 8)


def test_one_hot_of_a_column_as_read():
    column, _ = as_read(["b", None, "x", "a", "b"])
    part = OneHot("word", ("a", "b"), False, True)
    number = np.arange(5)
    assert part.apply(Rows({"word": column}, None, number, number)).tolist() == [
        [0, 1, 0], [0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0]]


@given(st.integers(0, 9), st.text(max_size=6), st.integers(0, 2**32 - 1))
def test_texts_of_one_length_hash_like_any(length, prefix, seed):
    words = ["x" * length, "0123456789"[:length], "zyxwvutsrq"[:length]]
    single = [int(murmur3_32([prefix + word, "another length"], seed)[0]) for word in words]
    assert murmur3_32(words, seed, prefix).tolist() == single
    assert murmur3_32([*words, "another length"], seed, prefix)[:3].tolist() == single


@pytest.mark.parametrize("lengths", [[2, 2, 2, 2], [0, 3, 1, 0], [0, 0, 0, 0], []])
def test_rows_in_another_order(lengths):
    indptr = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    dense = np.zeros((len(lengths), 5))
    sparse = Sparse(indptr, np.concatenate([np.arange(n) for n in lengths] or [[]]).astype(np.int64),
                    np.arange(indptr[-1]) + 1.0, 5)
    for row, (start, stop) in enumerate(pairwise(indptr)):
        dense[row, sparse.indices[start:stop]] = sparse.values[start:stop]
    order = np.array([2, 0, 3, 1][:len(lengths)], np.int64)
    for kept in (order, order[:1], np.arange(len(lengths)) % 2 == 0):
        found = sparse.at(kept)
        again = np.zeros((len(dense[kept]), 5))
        row = np.repeat(np.arange(len(again)), np.diff(found.indptr))
        again[row, found.indices] = found.values
        assert again.tolist() == dense[kept].tolist()
    number = np.arange(len(lengths))
    rows = Rows({"n": Numbers(number * 1.0), "w": as_read([None, "a", "b", "a"][:len(lengths)])[0]},
                sparse, number, number + 1)
    even = select(rows, number % 2 == 0)
    assert even.line.tolist() == [1, 3][:len(lengths)]
    assert even.columns["n"].values.tolist() == even.number.tolist()
    assert even.columns["w"].codes.tolist() == rows.columns["w"].codes[::2].tolist()
