"""Scales and integers of a layer's requantisation, and of a sum's."""

import numpy as np
from numpy.typing import NDArray

from edge.lower.symbols import Grid
from edge.program import Factors, Floats, Requant
from edge.quantize.portable import integers

Longs = NDArray[np.int64]

_NEAR = 8
"""How far from the true ratio a sum's factors are looked for, in units of their last place."""
_LIMIT = 2.0**30
"""Bound of a sum's intermediates, so that they fit 32 bits with room to move the factors."""


def requant(
    scales: Floats, grid: Grid, low: int, high: int, low_acc: Longs, high_acc: Longs
) -> Requant:
    """How accumulators become int8: in one factor if all channels share a scale.

    Args:
        scales: float32 [channels].
        grid: Of the result.
        low: Least result.
        high: Greatest result.
        low_acc: Least accumulator of every channel.
        high_acc: Greatest accumulator of every channel.
    """
    if (scales == scales[0]).all():
        reach = np.array([low_acc.min()]), np.array([high_acc.max()])
        made = integers(scales[:1], grid.zero, *reach, low=low, high=high)
        if made.exact.all():
            scales = scales[:1]
            return Requant(scales, made.multiplier, made.shift, made.exact, grid.zero, low, high)
    made = integers(scales, grid.zero, low_acc, high_acc, low=low, high=high)
    return Requant(scales, made.multiplier, made.shift, made.exact, grid.zero, low, high)


def stored(real: float, grid: Grid) -> int:
    """The int8 that a real number becomes; infinities become the bounds."""
    with np.errstate(over="ignore"):
        quotient = np.rint(np.float32(real) / np.float32(grid.scale))
    return int(np.clip(quotient, -128 - grid.zero, 127 - grid.zero)) + grid.zero


def quantized(reals: Floats, grid: Grid) -> NDArray[np.int8]:
    """Real numbers as int8, as `edge.program.Quantize` takes them; a NaN as the least."""
    with np.errstate(over="ignore"):
        steps = np.rint(reals.astype(np.float32) / np.float32(grid.scale))
    steps = np.where(np.isnan(steps), -np.inf, steps)
    bounded = np.clip(steps, -128 - grid.zero, 127 - grid.zero).astype(np.int32)
    return (bounded + grid.zero).astype(np.int8)


def dequantized(grid: Grid) -> Floats:
    """The real numbers that -128 to 127 stand for, float32 [256]."""
    steps = (np.arange(-128, 128) - grid.zero).astype(np.float32)
    return steps * np.float32(grid.scale)


def factors(left: float, right: float, fixed: float, low: int, high: int) -> Factors | None:
    """Integers that give `edge.program.Add` on all 65,536 pairs of inputs, if there are any.

    The factors nearest to the true ratios often miss a pair that lies next to a tie; their
    neighbours, with an offset in the middle of what they allow, then hit it.
    """
    if min(left, right) <= 0:
        return None
    shift = min(int(np.log2(_LIMIT / (128 * (left + right) + abs(fixed) + 128))), 30)
    centre = round(left * 2.0**shift), round(right * 2.0**shift)
    if shift < 1 or min(centre) <= _NEAR:
        return None
    least, most = _bounds(left, right, fixed, low, high, shift)
    a, b = np.arange(-128, 128)[:, None], np.arange(-128, 128)[None, :]
    first = a * centre[0] + b * centre[1]
    # Only pairs near a bound can decide: the others have more room than neighbours move them.
    middle = round(fixed * 2.0**shift) + (1 << (shift - 1))
    room = 512 * _NEAR * 2
    near = (first + middle - room < least) | (first + middle + room > most)
    tried = _by_distance(_NEAR)
    products = tried[:, :1] * np.broadcast_to(a, near.shape)[near] + (
        tried[:, 1:] * np.broadcast_to(b, near.shape)[near]
    )
    sums = first[near] + products
    offset_least = (least[near] - sums).max(axis=1, initial=middle - room)
    offset_most = (most[near] - sums).min(axis=1, initial=middle + room)
    good = offset_least <= offset_most
    if not good.any():
        return None
    place = int(good.argmax())
    offset = int(np.clip(middle, offset_least[place], offset_most[place]))
    return Factors(
        centre[0] + int(tried[place, 0]), centre[1] + int(tried[place, 1]), offset, shift
    )


def _bounds(
    left: float, right: float, fixed: float, low: int, high: int, shift: int
) -> tuple[Longs, Longs]:
    """Least and greatest sum before the shift for every pair [a, b]."""
    steps = np.arange(-128, 128)
    inner = (steps * np.float64(right) + np.float64(fixed)).astype(np.float32)
    total = steps[:, None] * np.float64(left) + inner.astype(np.float64)[None, :]
    made = np.clip(np.rint(total.astype(np.float32)), low, high).astype(np.int64)
    least = np.where(made == low, -(1 << 40), made << shift)
    most = np.where(made == high, 1 << 40, ((made + 1) << shift) - 1)
    return least, most


def _by_distance(reach: int) -> Longs:
    """All pairs of steps within reach, nearest first, [pairs, 2]."""
    steps = np.arange(-reach, reach + 1)
    pairs = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    order = np.argsort(np.abs(pairs).sum(axis=1), kind="stable")
    return np.asarray(pairs[order], np.int64)
