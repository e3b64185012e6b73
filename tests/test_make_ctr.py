"""The synthetic clicks: the same for a seed, in the Criteo layout, and worth learning."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

import make_ctr

pytestmark = pytest.mark.fast
_ROW = re.compile(rb"[01](\t[0-9]*){13}(\t([0-9a-f]{8})?){26}")


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, ...]:
    return tuple(map(np.concatenate, zip(*(make_ctr.draw(0, chunk) for chunk in range(4)))))


def test_a_seed_gives_the_same_rows_and_fewer_are_the_first_of_more(tmp_path):
    def written(**how) -> bytes:
        make_ctr.write(str(tmp_path / "out"), **how)
        return (tmp_path / "out").read_bytes()

    one = written(rows=20_000)
    assert one.count(b"\n") == 20_000
    assert one.endswith(b"\n")
    assert written(rows=20_000) == one
    few = written(rows=7)
    assert few.count(b"\n") == 7
    assert one.startswith(few)
    assert written(rows=7, seed=1) != few
    assert written(rows=0) == b""


@pytest.mark.parametrize("size", [1, 1000, 4_200_000])
def test_a_size_is_reached_by_the_fewest_rows(tmp_path, size):
    rows = make_ctr.write(str(tmp_path / "out"), size=size)
    text = (tmp_path / "out").read_bytes()
    assert text.count(b"\n") == rows
    assert len(text) >= size > text[:-1].rfind(b"\n") + 1


def test_rows_or_size_not_both(tmp_path):
    for wrong in ({}, {"rows": 1, "size": 1}):
        with pytest.raises(ValueError, match="rows or size"):
            make_ctr.write(str(tmp_path / "out"), **wrong)


def test_the_layout_and_the_text_of_what_was_drawn():
    labels, values, ranks, _ = make_ctr.draw(5, 0)
    text, ends = next(make_ctr.chunks(5))
    lines = text.split(b"\n")[:-1]
    assert all(map(_ROW.fullmatch, lines))
    assert ends.tolist() == np.cumsum([len(line) + 1 for line in lines]).tolist()
    cells = [line.split(b"\t") for line in lines]
    assert [int(row[0]) for row in cells] == labels.tolist()
    for at in range(13):
        assert [int(row[1 + at] or -1) for row in cells] == values[:, at].tolist()
    for at in range(26):
        words = [row[14 + at] for row in cells]
        assert [not word for word in words] == (ranks[:, at] < 0).tolist()
        pairs = {*zip(words, ranks[:, at].tolist())}
        assert len(pairs) == len({*words}) == len({*ranks[:, at].tolist()})


def test_missing_shares_tails_and_frequencies(drawn):
    labels, values, ranks, _ = drawn
    np.testing.assert_allclose((values < 0).mean(axis=0), make_ctr._MISSING_NUMBERS, atol=0.01)
    np.testing.assert_allclose((ranks < 0).mean(axis=0), make_ctr._MISSING_CATEGORIES, atol=0.01)
    assert 0.2 < labels.mean() < 0.3
    tail = values[values[:, 4] >= 0, 4]
    assert tail.mean() > 20 * np.median(tail)
    assert (ranks.max(axis=0) < make_ctr._DISTINCT).all()
    assert all(np.isin(np.arange(count), ranks[:, at]).all()
               for at, count in enumerate(make_ctr._DISTINCT) if count < 1000)
    # Zipf: each octave of the ranks comes equally often.
    octaves = np.bincount(np.log2(1 + ranks[ranks[:, 9] >= 0, 9]).astype(int))
    share = octaves[:16] / octaves.sum()
    np.testing.assert_allclose(share, 1 / np.log2(make_ctr._DISTINCT[9]), atol=0.005)


def test_a_model_can_learn(drawn):
    """A logistic model of two hidden columns, by Newton's method on other rows, beats the base rate;
    the probabilities that the labels were drawn with are better still."""
    labels, values, ranks, probability = drawn
    few = np.eye(4)[ranks[:, 8]]
    x = np.column_stack([few, np.eye(29)[ranks[:, 13]], np.log1p(np.maximum(values[:, 4], 0))])
    train, test = slice(0, 40_000), slice(40_000, None)
    w = np.zeros(x.shape[1])
    for _ in range(8):
        p = 1 / (1 + np.exp(-x[train] @ w))
        hessian = (x[train] * (p * (1 - p))[:, None]).T @ x[train] + 1e-3 * np.eye(len(w))
        w -= np.linalg.solve(hessian, x[train].T @ (p - labels[train]) + 1e-3 * w)

    def log_loss(p: np.ndarray) -> float:
        return -np.log(np.where(labels[test] == 1, p, 1 - p)).mean()

    base = log_loss(np.full(len(labels[test]), labels[train].mean()))
    found, best = log_loss(1 / (1 + np.exp(-x[test] @ w))), log_loss(probability[test])
    assert best + 0.01 < found < base - 0.01


def test_numbers_of_bytes():
    assert [make_ctr.byte_count(text) for text in ("12", "4G", "1.5k")] == [12, 4 << 30, 1536]
