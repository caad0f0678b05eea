"""Weights as Cortex-M4, M7 and M33 take them: two rows in every halfword, columns in fours.

A halfword is 256 * B + A, rows A and B of one column: one SMLAD of the word as it is and one of its
sign-extended low bytes give both rows' sums (firnline_dsp_base.h under edge/mcu/c). A word holds
columns 0 and 2, or 1 and 3, of four: the order in which SXTB16 widens x.
"""

import numpy as np
from numpy.typing import NDArray

from edge.mcu.kernels import padded
from edge.program import Int8s

STEP = 8
"""Columns that one turn of every kernel takes; rows of weights are filled up with zeros."""

MOST_SUM = 2**23
"""A row B must keep its sum within [-MOST_SUM, MOST_SUM - 1]: 256 times it fits in 32 bits."""

Words = NDArray[np.uint32]


def packed(weights: Int8s, together: int) -> Words:
    """Words of weights, in the order in which a kernel loads them.

    Args:
        weights: [rows, columns], within [-127, 127].
        together: Rows that a kernel takes at a time: 2 or 4.

    Returns:
        uint32 [groups of rows, words]: for every 4 columns, the columns 0 and 2 of every pair of
        rows, then the columns 1 and 3.
    """
    rows, columns = padded(len(weights), together), padded(weights.shape[1], STEP)
    whole = np.zeros((rows, columns), np.int32)
    whole[: len(weights), : weights.shape[1]] = weights
    pairs = (256 * whole[1::2] + whole[0::2]).astype(np.uint16).astype(np.uint32)
    fours = pairs.reshape(-1, together // 2, columns // 4, 4)
    words: Words = fours[..., :2] | (fours[..., 2:] << np.uint32(16))
    return words.transpose(0, 2, 3, 1).reshape(rows // together, -1)


def begun(bias: NDArray[np.int64], together: int) -> Words:
    """Sums to begin with, uint32 [groups, together]: A and 256 * B + A of every pair of rows."""
    whole = _groups(bias, together).reshape(-1, 2)
    first = np.stack([whole[:, 0], 256 * whole[:, 1] + whole[:, 0]], axis=1)
    return _words(first.reshape(-1, together))


def plain(values: NDArray[np.int64], together: int) -> Words:
    """One word for every row, uint32 [groups, together]."""
    return _words(_groups(values, together))


def part(weights: Int8s) -> int:
    """Columns to take at a time so that no row B's sum can pass `MOST_SUM`: a multiple of `STEP`.

    Args:
        weights: [rows, columns], rows A and B in turn.
    """
    columns = padded(weights.shape[1], STEP)
    whole = np.zeros((len(weights), columns), np.int64)
    whole[:, : weights.shape[1]] = weights
    steps = whole[1::2].reshape(-1, columns // STEP, STEP)
    # The farthest a sum can go: x = -128 wherever that takes it further than 127 would.
    most = (128 * np.abs(steps)).sum(axis=2)
    size = columns // STEP
    while size > 1 and most.size and _farthest(most, size) >= MOST_SUM:
        size = (size + 1) // 2
    return size * STEP


def _farthest(most: NDArray[np.int64], size: int) -> int:
    """Greatest sum of `size` steps that begin at a multiple of `size`."""
    starts = np.arange(0, most.shape[1], size)
    return int(np.add.reduceat(most, starts, axis=1).max())


def _groups(values: NDArray[np.int64], together: int) -> NDArray[np.int64]:
    whole = np.zeros(padded(len(values), together), np.int64)
    whole[: len(values)] = values
    return whole.reshape(-1, together)


def _words(values: NDArray[np.int64]) -> Words:
    return (values & 0xFFFFFFFF).astype(np.uint32)
