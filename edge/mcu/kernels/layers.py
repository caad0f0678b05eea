"""What families do to a layer before they pack it: other shapes of it, bias and shift."""

import numpy as np
from numpy.typing import NDArray

from edge.program import Conv, Dense, Int8s, Int32s, Requant

Longs = NDArray[np.int64]


def by_places(layer: Dense, requant: Requant) -> Conv:
    """A dense layer of several rows as a convolution with windows of one place.

    Args:
        layer: The layer.
        requant: Its own, which a convolution always has.
    """
    return Conv(
        layer.name,
        layer.inputs,
        layer.output,
        weights=layer.weights[:, None, None, :],
        bias=layer.bias,
        requant=requant,
    )


def as_rows(layer: Conv) -> Dense:
    """The channels of a convolution as those of a dense layer that reads a whole window."""
    weights = rows_of(layer.weights)
    return Dense(layer.name, layer.inputs, layer.output, weights, layer.bias, layer.requant)


def rows_of(weights: Int8s) -> Int8s:
    """Weights of every channel in one row: int8 [channels, elements of a window]."""
    return weights.reshape(len(weights), -1)


def without_zero(weights: Int8s, bias: Int32s, zero: int) -> Longs:
    """Biases for sums of what is stored: less what the input's zero point makes of every sum.

    Args:
        weights: int8 [channels, ...].
        bias: int32 [channels].
        zero: Of the input.

    Returns:
        int64 [channels].
    """
    sums: Longs = rows_of(weights).astype(np.int64).sum(axis=1)
    return bias.astype(np.int64) - zero * sums


def one_shift(requant: Requant) -> tuple[Longs, int] | None:
    """Multipliers with one shift for all channels that give what the requantisation gives.

    A multiplier times 2**n with a shift longer by n is the same function.

    Returns:
        int64 [channels] or [1], each below 2**31, and the shift; None when a channel is not exact,
        or when a multiplier would not fit.
    """
    shift = int(requant.shift.max())
    lifted = requant.multiplier.astype(np.int64) << (shift - requant.shift.astype(np.int64))
    if not requant.exact.all() or lifted.max() >= 2**31:
        return None
    return lifted, shift
