"""Choices by hash: the same rows on every machine, whatever the order they are asked in."""

import hashlib

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scatter 64-bit values over all 64-bit values, one to one, shape kept.

    The finaliser of SplitMix64 (Steele, Lea and Flood 2014, OOPSLA, figure 15). It needs no
    random generator, whose streams may change between NumPy versions.
    """
    mixed = values + _STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))


def text_hash64(text: str) -> int:
    """The first 64 bits of a text's sha256."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def sample_rows(rows: int, size: int, salt: str) -> NDArray[np.intp]:
    """`size` of `rows` row numbers, ascending, every row with the same chance; all if fewer.

    Example:
        >>> sample_rows(3, 5, "demo").tolist()
        [0, 1, 2]
        >>> len(sample_rows(1_000, 10, "demo"))
        10
    """
    if rows <= size:
        return np.arange(rows, dtype=np.intp)
    keys = mix64(np.arange(rows, dtype=np.uint64) ^ np.uint64(text_hash64(salt)))
    return np.sort(np.argpartition(keys, size)[:size])
