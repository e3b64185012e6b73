"""MurmurHash3 against published vectors and an independent rewrite."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mr_gradient.dataset.transforms.hashing import bucket_and_sign, murmur3_32

# From the reference implementation's discussions and Wikipedia: seed, text, hash.
VECTORS = [(0, "", 0), (1, "", 0x514E28B7), (0xFFFFFFFF, "", 0x81F16F39), (0, "test", 0xBA6BD213),
           (0x9747B28C, "test", 0x704B81DC), (0, "Hello, world!", 0xC0363E43),
           (0x9747B28C, "Hello, world!", 0x24884CBA),
           (0, "The quick brown fox jumps over the lazy dog", 0x2E4FF723),
           (0x9747B28C, "The quick brown fox jumps over the lazy dog", 0x2FA826CD),
           (0x9747B28C, "aaaa", 0x5A97808A), (0x9747B28C, "aaa", 0x283E0130),
           (0x9747B28C, "aa", 0x5D211726), (0x9747B28C, "a", 0x7FA09EA6),
           (0x9747B28C, "abcd", 0xF0478627), (0x9747B28C, "abc", 0xC84A62DD),
           (0x9747B28C, "ab", 0x74875592), (0x9747B28C, "ππππππππ", 0xD58063C1)]


def one_by_one(data, seed):
    """Independent rewrite on Python's integers, from Appleby's pseudocode."""
    mask, state = 0xFFFFFFFF, seed

    def rotate(value, by):
        return (value << by | value >> (32 - by)) & mask

    def scramble(block):
        return rotate(block * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask

    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        state = rotate(state ^ scramble(int.from_bytes(data[at:at + 4], "little")), 13)
        state = (state * 5 + 0xE6546B64) & mask
    state ^= scramble(int.from_bytes(data[whole:], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        state = (state ^ state >> shift) * factor & mask
    return state


@pytest.mark.fast
@pytest.mark.parametrize(("seed", "text", "expected"), VECTORS)
def test_published_vectors(seed, text, expected):
    assert murmur3_32([text], seed).tolist() == [expected]


@pytest.mark.fast
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=30),
       st.integers(0, 2**32 - 1))
def test_many_words_at_once(words, seed):
    assert murmur3_32(words, seed).tolist() == [one_by_one(word.encode(), seed) for word in words]


@pytest.mark.fast
def test_buckets_and_signs():
    words = [f"word {i}" for i in range(20_000)]
    bucket, sign = bucket_and_sign(words, 6)
    assert bucket.min() == 0
    assert bucket.max() == 63
    assert set(sign.tolist()) == {1.0, -1.0}
    # Each is near its expectation: 20,000 / 64, and 0, with five standard deviations of room.
    counts = [int((bucket == each).sum()) for each in range(64)]
    assert max(abs(count - 312.5) for count in counts) < 5 * 312.5**0.5
    assert abs(sign.sum()) < 5 * 20_000**0.5


def test_against_scikit_learn():
    from sklearn.utils import murmurhash3_32

    words = ["", "a", "straße", "日本語", *(f"{'x' * (i % 23)}{i}" for i in range(3000))]
    for seed in (0, 1, 123456):
        assert murmur3_32(words, seed).tolist() == [
            murmurhash3_32(word, seed, positive=True) for word in words]
