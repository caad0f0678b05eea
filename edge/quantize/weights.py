"""A layer's weights as int8, its bias as int32, and the scales of both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.quantize.compensate import Halves, Moments, compensated, joined, moved
from edge.quantize.grids import Grid
from edge.quantize.portable import combined, integers, nudged

_MOST_BIAS = 2**23

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


def pack(
    weights: Floats,
    bias: Floats,
    given: Grid,
    made: Grid | None,
    moments: Halves | None,
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
        moments: Of its input, for compensated rounding; None rounds each weight by itself.
        per_channel: One scale for every channel.
        levels: Greatest integer: 127, or 63 for seven bits.
    """
    exactly = weights.reshape(len(weights), -1).astype(np.float64)
    flat = exactly if moments is None else moved(exactly, moments)
    scales = _scales(flat, bias, given, levels, per_channel=per_channel)
    steps = np.broadcast_to(scales, len(flat)).astype(np.float64)
    if moments is None:
        rounded = np.clip(np.rint(flat / steps[:, None]), -levels, levels)
        corrected = bias.astype(np.float64)
    else:
        rounded = compensated(flat, steps, moments, levels)
        corrected = bias + _mean_lost(exactly, rounded * steps[:, None], joined(moments))
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


def _mean_lost(real: Matrix, stored: Matrix, seen: Moments) -> Matrix:
    """What int8 gives less than float on average, [channels]."""
    groups = len(seen.first)
    given, made = (flat.reshape(groups, -1, flat.shape[1]) for flat in (real, stored))
    lost: Matrix = given @ seen.real[:, :, None] - made @ seen.first[:, :, None]
    return lost.ravel()


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
