"""A layer's weights as int8, its bias as int32, and the scales of both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.quantize.grids import Grid
from edge.quantize.portable import combined, integers, nudged

_MOST_BIAS = 2**23
_DAMPING = 0.01
_MOST_COLUMNS = 1024

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Packed:
    """A quantised layer.

    Attributes:
        weights: int8, shaped as the float ones.
        scales: float32 [channels], or [1] for all.
        bias: int32 [channels], in units of the input's scale times the channel's.
        bias_scales: float32, as `scales`.
        exact: Channels whose requantisation has integers; all of them where the output is float.
    """

    weights: NDArray[np.int8]
    scales: Floats
    bias: NDArray[np.int32]
    bias_scales: Floats
    exact: NDArray[np.bool_]


@dataclass(frozen=True)
class Moments:
    """What calibration rows show of a layer's input, group by group.

    Attributes:
        second: Mean products of two columns of the window, [groups, K, K].
        first: Mean of each column, [groups, K].
    """

    second: Matrix
    first: Matrix


def pack(
    weights: Floats,
    bias: Floats,
    given: Grid,
    made: Grid | None,
    moments: Moments | None,
    *,
    per_channel: bool,
    levels: int,
) -> Packed:
    """Quantise a layer.

    Args:
        weights: [channels, ...].
        bias: [channels].
        given: Grid of the input.
        made: Grid of the output; None where it is float.
        moments: For compensated rounding; None rounds each weight by itself.
        per_channel: One scale for every channel.
        levels: Greatest integer: 127, or 63 for seven bits.
    """
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    scales = _scales(flat, bias, given, levels, per_channel=per_channel)
    steps = np.broadcast_to(scales, len(flat)).astype(np.float64)
    if moments is None:
        rounded = np.clip(np.rint(flat / steps[:, None]), -levels, levels)
        corrected = bias.astype(np.float64)
    else:
        rounded, error = compensated(flat, steps, moments, levels)
        corrected = bias + error
    stored = rounded.astype(np.int8).reshape(weights.shape)
    units = float(np.float32(given.scale)) * steps
    whole = np.clip(np.rint(corrected / units), -_MOST_BIAS, _MOST_BIAS).astype(np.int64)
    low, high = reach(stored, whole, given.zero)
    exact = np.ones(len(scales), bool)
    if made is not None:
        if not per_channel:
            low, high = low.min(keepdims=True), high.max(keepdims=True)
        # The bias is rounded again below, in units that are a little different.
        margin = 1 + np.abs(whole).max(initial=0) // 2048
        scales = nudged(given.scale, scales, made.scale, made.zero, low - margin, high + margin)
        factors = combined(given.scale, scales, made.scale)
        exact = integers(factors, made.zero, low - margin, high + margin).exact
    bias_scales = np.float32(given.scale) * scales
    whole = np.clip(np.rint(corrected / bias_scales), -_MOST_BIAS, _MOST_BIAS)
    return Packed(stored, scales, whole.astype(np.int32), bias_scales, exact)


def reach(
    weights: NDArray[np.int8], bias: NDArray[np.int64], zero: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest accumulator of every channel, for any int8 input, [channels] each."""
    flat = weights.reshape(len(weights), -1).astype(np.int64)
    up, down = np.maximum(flat, 0).sum(1), np.minimum(flat, 0).sum(1)
    low, high = -128 - zero, 127 - zero
    return bias + up * low + down * high, bias + up * high + down * low


def compensated(
    flat: Matrix, steps: Matrix, moments: Moments, levels: int
) -> tuple[Matrix, Matrix]:
    """Round column by column; what is left of each is made up for by the columns to come.

    Minimises the mean square of (W - Wq) x over the calibration rows (Frantar et al. 2023, GPTQ,
    with the columns of most energy first). The bias is the last column, and is not rounded: it
    takes over the mean of what is left.

    Args:
        flat: Weights [channels, K].
        steps: Scale of every channel, [channels].
        moments: Of the input, one group for as many channels each.
        levels: Greatest integer.

    Returns:
        Whole numbers [channels, K], and what to add to the bias [channels].
    """
    groups = len(moments.second)
    whole, added = np.empty_like(flat), np.empty(len(flat))
    for group, rows in enumerate(np.split(np.arange(len(flat)), groups)):
        first = moments.first[group]
        for columns in _blocks(moments.second[group]):
            second = moments.second[group][np.ix_(columns, columns)]
            block = flat[np.ix_(rows, columns)]
            whole[np.ix_(rows, columns)] = _rounded(block, steps[rows], second, levels)
        added[rows] = (flat[rows] - whole[rows] * steps[rows, None]) @ first
    return whole, added


def _blocks(second: Matrix) -> list[NDArray[np.intp]]:
    """Columns by falling energy, in blocks that are rounded on their own."""
    order = np.argsort(-np.diag(second), kind="stable")
    return np.array_split(order, -(-len(order) // _MOST_COLUMNS))


def _rounded(block: Matrix, steps: Matrix, second: Matrix, levels: int) -> Matrix:
    """Whole numbers for weights [channels, K] whose columns are in the order of rounding."""
    columns = len(second)
    energy = np.trace(second) / columns
    if energy <= 0:
        return np.clip(np.rint(block / steps[:, None]), -levels, levels)
    damped = second + _DAMPING * energy * np.eye(columns)
    # Row j of the inverse's upper Cholesky factor says how column j's error is made up for.
    factor = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, whole = block.copy(), np.empty_like(block)
    for column in range(columns):
        whole[:, column] = np.clip(np.rint(left[:, column] / steps), -levels, levels)
        error = (left[:, column] - whole[:, column] * steps) / factor[column, column]
        left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    return whole


def _scales(flat: Matrix, bias: Floats, given: Grid, levels: int, *, per_channel: bool) -> Floats:
    """float32 [channels] or [1]: the greatest weight is the greatest integer, the bias fits."""
    greatest = np.abs(flat).max(axis=1, initial=0) / levels
    needed = np.abs(bias.astype(np.float64)) / (given.scale * (_MOST_BIAS / 2))
    scales = np.maximum(greatest, needed)
    if not per_channel:
        scales = scales.max(keepdims=True)
    least = max(float(scales.max(initial=0)) * 2.0**-20, 1e-12)
    made: Floats = np.maximum(scales, least).astype(np.float32)
    return made
