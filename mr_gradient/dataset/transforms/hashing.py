"""MurmurHash3 (x86, 32 bit; Appleby 2011) of many words at once, and signed hashing into buckets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mr_gradient.dataset.columns import Texts

_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)


def murmur3_32(words: Sequence[str] | Texts, seed: int = 0, prefix: str = "") -> np.ndarray:
    """Hashes of the UTF-8 bytes of ``prefix`` and each word, (words,) uint32.

    All words advance together, four bytes a step; those that have ended drop out. uint32 arrays
    wrap around, as the algorithm wants.
    """
    texts = words if isinstance(words, Texts) else Texts.of(words)
    lengths = np.diff(texts.starts)
    if len(lengths) and (lengths == lengths[0]).all():
        return _of_one_length(texts, int(lengths[0]), seed, prefix.encode())
    if prefix:
        texts = Texts.of([prefix + word for word in texts.decoded()])
        lengths = np.diff(texts.starts)
    raw = np.append(texts.letters, np.zeros(3, np.uint8))
    # Longest first, so that the words still going are always the first ones.
    order = np.argsort(-lengths, kind="stable")
    starts = texts.starts[:-1][order]
    lengths = lengths[order]
    blocks = lengths >> 2
    state = np.full(len(words), seed & 0xFFFFFFFF, np.uint32)
    going = len(words)
    for block in range(int(blocks[0]) if going else 0):
        going = int(np.searchsorted(-blocks, -block, side="left"))
        state[:going] = _mix_in(state[:going], _four_bytes(raw, starts[:going] + 4 * block))
    tail = (lengths & 3).astype(np.uint32)
    rest = np.flatnonzero(tail)
    last = _four_bytes(raw, starts[rest] + 4 * blocks[rest])
    last &= (np.uint32(1) << (np.uint32(8) * tail[rest])) - np.uint32(1)
    state[rest] ^= _scramble(last)
    hashes = np.empty_like(state)
    hashes[order] = _finished(state, lengths.astype(np.uint32))
    return hashes


def _of_one_length(texts: Texts, length: int, seed: int, prefix: bytes) -> np.ndarray:
    """As identifiers and codes are: no byte is looked for, and arrays are used again. Three times as
    fast."""
    rest = len(prefix) % 4
    start = np.full(1, seed & 0xFFFFFFFF, np.uint32)
    for block in np.frombuffer(prefix[:len(prefix) - rest], "<u4").reshape(-1, 1):
        start = _mix_in(start, block)
    state = np.repeat(start, len(texts))
    other = np.empty_like(state)
    for at, block in enumerate(_blocks(texts, length, prefix[len(prefix) - rest:])):
        block *= _C1
        _rotate_in_place(block, 15, other)
        block *= _C2
        state ^= block
        if 4 * at + 4 <= rest + length:
            _rotate_in_place(state, 13, other)
            state *= np.uint32(5)
            state += np.uint32(0xE6546B64)
    return _finished(state, np.uint32(len(prefix) + length))


def _blocks(texts: Texts, length: int, before: bytes) -> list[np.ndarray]:
    """Blocks of four bytes of ``before``, at most three, and each text, (texts,) uint32 each; the last
    is filled up with zeros."""
    letters = texts.letters[texts.starts[0]:texts.starts[-1]].reshape(len(texts), length)
    if length and length % 4 == 0:
        own = list(letters.view("<u4").T.copy())
    else:
        table = np.zeros((length // 4 + 1, len(texts), 4), np.uint8)
        for at in range(length):
            table[at // 4, :, at % 4] = letters[:, at]
        own = list(table.view("<u4")[:, :, 0])
    if before:
        up, down = np.uint32(8 * len(before)), np.uint32(32 - 8 * len(before))
        shifted = [each << up for each in own]
        shifted[0] |= np.uint32(int.from_bytes(before, "little"))
        for higher, each in zip(shifted[1:], own):
            higher |= each >> down
        own = [*shifted, own[-1] >> down]
    return own[:-(-(len(before) + length) // 4)]


def _rotate_in_place(value: np.ndarray, by: int, other: np.ndarray) -> None:
    """``other``, of the same size, is written over."""
    np.right_shift(value, np.uint32(32 - by), out=other)
    value <<= np.uint32(by)
    value |= other


def _finished(state: np.ndarray, lengths: np.ndarray | np.uint32) -> np.ndarray:
    """``state``, changed in place."""
    state ^= lengths
    state ^= state >> np.uint32(16)
    state *= np.uint32(0x85EBCA6B)
    state ^= state >> np.uint32(13)
    state *= np.uint32(0xC2B2AE35)
    state ^= state >> np.uint32(16)
    return state


def bucket_and_sign(words: Sequence[str] | Texts, bits: int, seed: int = 0,
                    prefix: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Buckets (words,) int32 below 2**bits, and signs (words,) float32, 1 or -1, of ``prefix`` and
    each word; ``bits`` is at most 30.

    Weinberger et al. 2009: the sign makes collisions cancel on average. Bucket and sign are those of
    scikit-learn's ``FeatureHasher``: of the signed hash, the absolute value modulo 2**bits and the
    sign.
    """
    hashes = murmur3_32(words, seed, prefix)
    # The absolute value of -2**31 stays what it is, and its lower bits are 0 as those of 2**31.
    bucket = np.abs(hashes.view(np.int32))
    bucket &= np.int32((1 << bits) - 1)
    # The highest bit is the sign of a float32, too; the rest of 1.0 is 0x3F800000.
    hashes &= np.uint32(0x80000000)
    hashes |= np.uint32(0x3F800000)
    return bucket, hashes.view(np.float32)


def _four_bytes(raw: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Little-endian uint32 at byte positions, wherever they lie."""
    value = raw[at].astype(np.uint32)
    for byte in (1, 2, 3):
        value |= raw[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    return value


def _rotate(value: np.ndarray, by: int) -> np.ndarray:
    return (value << np.uint32(by)) | (value >> np.uint32(32 - by))


def _scramble(block: np.ndarray) -> np.ndarray:
    return _rotate(block * _C1, 15) * _C2


def _mix_in(state: np.ndarray, block: np.ndarray) -> np.ndarray:
    return _rotate(state ^ _scramble(block), 13) * np.uint32(5) + np.uint32(0xE6546B64)
