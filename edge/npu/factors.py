"""Integer factors for int8 sums and means, which ONNX Runtime computes in float32.

Both have so few inputs, 65,536 pairs or 256 sums an element of the window, that whether integers
give the same is counted over all of them, not argued. The factors nearest to the true ratios often
miss a pair next to a tie, and their neighbours hit it. Exact ties cannot be had: an NPU rounds them
up, ONNX Runtime to even.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Longs = NDArray[np.int64]

_REACH = 48
"""How far from the true ratio a factor is looked for, in units of its last place."""
_SHIFTS = (9, 62)
"""Of a RESCALE, where the value it shifts has nine bits."""
_LIMIT = 2.0**30
"""Bound of the sum of both products, so that it fits 32 bits with room for a factor's change."""
_ULP = 2.0**-24
"""Greatest relative error of one float32 rounding."""


@dataclass(frozen=True)
class Sum:
    """`((a - zero a) * left + (b - zero b) * right + rest + 2**(shift - 1)) >> shift`, + zero.

    Attributes:
        left: Factor of a - zero of a, positive.
        right: Factor of b - zero of b, positive.
        shift: Bits that the sum of the products is shifted down by.
        rest: Added to the products; 0 saves an NPU a pass over the values.
    """

    left: int
    right: int
    shift: int
    rest: int = 0


@lru_cache(maxsize=256)
def of_sum(
    left: float, right: float, fixed: float, zeros: tuple[int, int, int], bounds: tuple[int, int]
) -> Sum | None:
    """Factors without a rest that equal `edge.program.Add` on every pair of inputs.

    Args:
        left: As in `Add`.
        right: As in `Add`.
        fixed: As in `Add`.
        zeros: Zero points of a, b and the sum.
        bounds: Least and greatest result.

    Returns:
        None when there are none within reach.
    """
    total = 256 * (left + right)
    shift = min(int(np.floor(np.log2(_LIMIT / total))), 30) if 0 < total < np.inf else 0
    centre = round(left * 2.0**shift), round(right * 2.0**shift)
    if shift < 2 or min(centre) <= _REACH:
        return None
    stored = np.arange(-128, 128)
    a, b = np.meshgrid(stored - zeros[0], stored - zeros[1], indexing="ij")
    expected = _float_sum(left, right, fixed, bounds)
    # Where the result is a bound, the side without is free.
    free, steps = 1 << 40, expected - zeros[2]
    floor = np.where(expected == bounds[0], -free, (2 * steps - 1) << (shift - 1))
    ceiling = np.where(expected == bounds[1], free, (2 * steps + 1) << (shift - 1))
    first = a * centre[0] + b * centre[1]
    room = _REACH * (np.abs(a) + np.abs(b))
    near = (first - room < floor) | (first + room >= ceiling)
    found = _search(a[near], b[near], floor[near], ceiling[near], centre)
    return None if found is None else Sum(*found, shift)


@lru_cache(maxsize=256)
def of_mean(
    scale: float, zero: int, sums: tuple[int, int], bounds: tuple[int, int]
) -> tuple[int, int] | None:
    """Multiplier and shift that turn a window's sum into its mean, as a float32 scale does.

    Args:
        scale: float32, what sums are multiplied by.
        zero: Zero point of the mean.
        sums: Least and greatest sum.
        bounds: Least and greatest result.

    Returns:
        `(sum * multiplier + 2**(shift - 1)) >> shift`, or None where no multiplier gives the
        same for every sum.
    """
    reach = np.arange(sums[0], sums[1] + 1)
    wanted = np.rint(reach.astype(np.float32) * np.float32(scale)) + zero
    return _multiplier(scale, zero, reach, np.clip(wanted, *bounds), bounds)


@lru_cache(maxsize=256)
def of_float_mean(
    scales: tuple[float, float], zeros: tuple[int, int], count: int, bounds: tuple[int, int]
) -> tuple[int, int] | None:
    """Multiplier and shift for a mean that is taken in float32 steps, element by element.

    The order of the float32 steps matters only where a mean lies next to a tie. Where no sum does,
    by more than all roundings together can come to, every order gives the true mean's rounding.

    Args:
        scales: Of the input and the output.
        zeros: Zero points of the input and the output.
        count: Elements of a window.
        bounds: Least and greatest result.

    Returns:
        As `of_mean`; None also where a sum lies next to a tie.
    """
    reach = np.arange((-128 - zeros[0]) * count, (127 - zeros[0]) * count + 1)
    ratio = scales[0] / scales[1]
    exact = reach * (ratio / count) + zeros[1]
    inside = (exact > bounds[0] - 1) & (exact < bounds[1] + 1)
    farthest = max(128 + zeros[0], 127 - zeros[0]) * ratio
    error = _ULP * ((count + 3) * farthest + 512)
    ties = np.abs(exact - np.floor(exact) - 0.5) <= error
    if bool(np.any(ties & inside)):
        return None
    return _multiplier(ratio / count, zeros[1], reach, np.clip(np.rint(exact), *bounds), bounds)


def _multiplier(
    scale: float, zero: int, reach: Longs, wanted: NDArray[np.generic], bounds: tuple[int, int]
) -> tuple[int, int] | None:
    """The multiplier nearest to a scale that gives what is wanted for every sum in reach."""
    shift = 30 - int(np.floor(np.log2(scale)))
    centre = round(scale * 2.0**shift)
    farthest = int(np.abs(reach).max())
    if not (_SHIFTS[0] <= shift <= _SHIFTS[1]) or farthest >= 1 << (shift - 1):
        return None
    for step in sorted(range(-_REACH, _REACH + 1), key=abs):
        made = (reach * (centre + step) + (1 << (shift - 1))) >> shift
        if centre + step < 1 << 31 and np.array_equal(np.clip(made + zero, *bounds), wanted):
            return centre + step, shift
    return None


def _search(
    a: Longs, b: Longs, floor: Longs, ceiling: Longs, centre: tuple[int, int]
) -> tuple[int, int] | None:
    """The pair of factors nearest to the centre with floor <= a*left + b*right < ceiling."""
    steps = np.arange(-_REACH, _REACH + 1)
    allowed = np.ones((len(steps), len(steps)), bool)
    for one, other, least, most in zip(a, b, floor, ceiling, strict=True):
        sums = (centre[0] + steps)[:, None] * one + (centre[1] + steps)[None, :] * other
        allowed &= (sums >= least) & (sums < most)
        if not allowed.any():
            return None
    distance = np.where(allowed, np.abs(steps)[:, None] + np.abs(steps)[None, :], 4 * _REACH)
    row, column = np.unravel_index(int(distance.argmin()), distance.shape)
    return int(centre[0] + steps[row]), int(centre[1] + steps[column])


def _float_sum(left: float, right: float, fixed: float, bounds: tuple[int, int]) -> Longs:
    """What `Add` gives for every pair [a, b] of int8: two fused multiply-adds."""
    stored = np.arange(-128, 128).astype(np.float64)
    inner = (stored * right + fixed).astype(np.float32).astype(np.float64)
    total = (stored[:, None] * left + inner[None, :]).astype(np.float32)
    made: Longs = np.clip(np.rint(total), *bounds).astype(np.int64)
    return made
