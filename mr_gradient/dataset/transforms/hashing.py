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
    """As identifiers and codes are: a table whose columns are blocks of four bytes, no byte picked."""
    whole = len(prefix) + length
    table = np.zeros((-(-whole // 4), len(texts), 4), np.uint8)
    rows = texts.letters[texts.starts[0]:texts.starts[-1]].reshape(len(texts), length)
    for block, at in zip(table, range(0, whole, 4)):
        for byte in range(at, min(at + 4, whole)):
            block[:, byte - at] = prefix[byte] if byte < len(prefix) else rows[:, byte - len(prefix)]
    state = np.full(len(texts), seed & 0xFFFFFFFF, np.uint32)
    for at, block in enumerate(table.view("<u4")[:, :, 0]):
        if 4 * at + 4 <= whole:
            state = _mix_in(state, block)
        else:
            state ^= _scramble(block)
    return _finished(state, np.uint32(whole))


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
