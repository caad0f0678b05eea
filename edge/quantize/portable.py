"""Integers that requantise exactly as float32 does, for every accumulator a layer can reach.

ONNX Runtime requantises by q = rint(float32(float32(acc) * scale)), half to even. Both that and
(acc * multiplier + 2**(shift - 1)) >> shift rise with acc, so they are the same function where
they pass every whole number k at the same accumulator, and an int8 result has only 255 such
places. Each place bounds the multiplier from both sides; where the bounds leave a whole number,
it is a proof, not a test. Where they leave none, a scale a few float32 steps away has one: the
weights' scale is ours to choose, and 1 in 10**5 of it is nothing to a grid of 127 steps. Below a
scale of about 3e-5 none is near: float32 rounds products by more than an accumulator's step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SHIFT, MOST_SHIFT = 33, 54
"""From 33, the product's low word does not matter; to 54, all bounds are within 64 bits."""

MOST_STEPS = 512
"""How many float32 steps a weight scale may be moved: 0.006 % of it."""

_MOST_MULTIPLIER = 2**31 - 1
_CANDIDATES = 1024
_HOPELESS = 1.5e-5
"""Scales below it have integers at once, when little is in reach, or not within any steps."""

Longs = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Integers:
    """What stands for float32 scales.

    Attributes:
        multiplier: int32 [channels], each in [1, 2**31 - 1].
        shift: uint8 [channels], each in [33, 54]; all the same where one serves every channel.
        exact: bool [channels]: proved equal to float32 for every accumulator in reach.
    """

    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]
    exact: NDArray[np.bool_]


def portable(
    scale: float, zero: int, low_acc: int, high_acc: int, *, low: int = -128, high: int = 127
) -> tuple[int, int] | None:
    """Multiplier and shift that requantise as a float32 scale does, or None where there are none.

    Args:
        scale: What accumulators are multiplied by; a float32.
        zero: Zero point of the result.
        low_acc: Least accumulator in reach.
        high_acc: Greatest accumulator in reach.
        low: Least result; below it all is the same.
        high: Greatest result.
    """
    reach = np.array([low_acc]), np.array([high_acc])
    made = integers(np.array([scale], np.float32), zero, *reach, low=low, high=high)
    if not made.exact[0]:
        return None
    return int(made.multiplier[0]), int(made.shift[0])


def integers(
    scales: Floats,
    zero: int,
    low_acc: Longs,
    high_acc: Longs,
    *,
    low: int = -128,
    high: int = 127,
) -> Integers:
    """Multipliers and shifts for a layer's channels: one shift for all where there is one.

    Args:
        scales: float32 [channels]: `combined` of the layer's scales.
        zero: Zero point of the result.
        low_acc: Least accumulator of every channel, [channels].
        high_acc: Greatest accumulator of every channel, [channels].
        low: Least result; below it all is the same.
        high: Greatest result.
    """
    scales = np.asarray(scales, np.float32)
    passes = _passes(scales, _results(zero, low, high), low_acc, high_acc)
    own = _greatest_shift(scales)
    best = _made(scales, own, *passes.bounds(own))
    for less in range(2):
        common = np.full_like(own, max(int(own.min()) - less, LEAST_SHIFT))
        made = _made(scales, common, *passes.bounds(common))
        if (made.exact | ~best.exact).all():
            return made
    return best


def combined(x_scale: float, weight_scales: Floats, y_scale: float) -> Floats:
    """float32(float32(x * weight) / y): the scale of ONNX Runtime's integer layers, [channels]."""
    product = np.float32(x_scale) * np.asarray(weight_scales, np.float32)
    made: Floats = (product / np.float32(y_scale)).astype(np.float32)
    return made


def nudged(
    x_scale: float,
    weight_scales: Floats,
    y_scale: float,
    zero: int,
    low_acc: Longs,
    high_acc: Longs,
) -> Floats:
    """The nearest weight scales whose requantisation has integers, with one shift for all.

    Args:
        x_scale: Scale of the layer's input.
        weight_scales: Wanted, float32 [channels].
        y_scale: Scale of the layer's output.
        zero: Zero point of the output.
        low_acc: Least accumulator of every channel, [channels].
        high_acc: Greatest accumulator of every channel, [channels].

    Returns:
        float32 [channels]. A channel for which nothing was found within `MOST_STEPS` keeps what
        was wanted; `integers` says that it is not exact.
    """
    wanted = np.asarray(weight_scales, np.float32)
    bits = wanted.view(np.int32)
    wanted_scales = combined(x_scale, wanted, y_scale)
    greatest = wanted_scales * np.float32(1 + MOST_STEPS * 2.0**-22)
    shift = int(_greatest_shift(greatest).min())
    found, pending = wanted.copy(), np.arange(len(wanted))
    for steps in _outwards(len(wanted)):
        tried = (bits[pending, None] + steps).astype(np.int32).view(np.float32)
        scales = combined(x_scale, tried.ravel(), y_scale)
        reach = np.repeat(low_acc[pending], len(steps)), np.repeat(high_acc[pending], len(steps))
        good = _have_integers(scales, zero, *reach, shift).reshape(tried.shape)
        hit, first = good.any(axis=1), good.argmax(axis=1)
        found[pending[hit]] = tried[hit, first[hit]]
        pending = pending[~hit & (wanted_scales[pending] > _HOPELESS)]
        if not len(pending):
            break
    return found


def _have_integers(
    scales: Floats, zero: int, low_acc: Longs, high_acc: Longs, shift: int
) -> NDArray[np.bool_]:
    """Whether each scale has a multiplier for a shift."""
    every = _results(zero, -128, 127)
    good = np.ones(len(scales), bool)
    # Most scales that have none show it at a few results, the greatest above all.
    for results in (np.concatenate([every[:6], every[6:-6:24], every[-6:]]), every):
        left = np.flatnonzero(good)
        passes = _passes(scales[left], results, low_acc[left], high_acc[left])
        least, most = passes.bounds(np.full(len(left), shift))
        good[left] = least <= most
    return good


def _outwards(channels: int) -> Iterator[Longs]:
    """0, 1, -1, 2, -2 and so on in parts: the first short, as most channels need few."""
    places = np.arange(2 * MOST_STEPS + 1)
    steps = np.where(places % 2, (places + 1) // 2, -(places // 2))
    begin, size = 0, max(1, min(16, _CANDIDATES // channels))
    while begin < len(steps):
        yield steps[begin : begin + size]
        begin, size = begin + size, min(2 * size, 64)


@dataclass(frozen=True)
class _Passes:
    """Where float32 requantisation passes each whole number, for every scale.

    Attributes:
        doubled: 2k - 1 of every whole number k to pass, [results].
        above: Least accumulator whose result is at least k, [scales, results].
        must_reach: Whether `above` is in reach, so that the integers must give at least k there.
        must_not: Whether the accumulator before is in reach: there they must give less.
    """

    doubled: Longs
    above: Longs
    must_reach: NDArray[np.bool_]
    must_not: NDArray[np.bool_]

    def bounds(self, shift: Longs) -> tuple[Longs, Longs]:
        """Least and greatest multiplier that will do, [scales]; none if least is above."""
        border = np.abs(self.doubled) << (shift[:, None] - 1)
        positive = self.doubled > 0
        least = np.ones(len(shift), np.int64)
        most = np.full(len(shift), _MOST_MULTIPLIER, np.int64)
        before = self.above - 1
        rising, falling = positive & (self.above > 0), ~positive & (self.above < 0)
        low = self._least(border, self.above, self.must_reach & rising, 0)
        most_after = self._most(border, self.above, self.must_reach & falling, 0)
        rising, falling = positive & (before > 0), ~positive & (before < 0)
        most_before = self._most(border, before, self.must_not & rising, 1)
        low_before = self._least(border, before, self.must_not & falling, 1)
        least = np.maximum(np.maximum(least, low), low_before)
        return least, np.minimum(np.minimum(most, most_after), most_before)

    @staticmethod
    def _least(border: Longs, acc: Longs, where: NDArray[np.bool_], strict: int) -> Longs:
        """Least multiplier with |acc| * multiplier >= border, or > border if strict."""
        size = np.where(where, np.abs(acc), 1)
        found: Longs = np.where(where, (border - 1 + strict) // size + 1, 1).max(axis=1, initial=1)
        return found

    @staticmethod
    def _most(border: Longs, acc: Longs, where: NDArray[np.bool_], strict: int) -> Longs:
        """Greatest multiplier with |acc| * multiplier <= border, or < border if strict."""
        size = np.where(where, np.abs(acc), 1)
        bound = np.where(where, (border - strict) // size, _MOST_MULTIPLIER)
        found: Longs = bound.min(axis=1, initial=_MOST_MULTIPLIER)
        return found


def _results(zero: int, low: int, high: int) -> Longs:
    """Whole numbers that a result passes between its least and its greatest, zero point off."""
    return np.arange(low - zero + 1, high - zero + 1)


def _passes(scales: Floats, results: Longs, low_acc: Longs, high_acc: Longs) -> _Passes:
    first, last = np.asarray(low_acc, np.int64)[:, None], np.asarray(high_acc, np.int64)[:, None]
    with np.errstate(over="ignore", divide="ignore"):
        near = (results - 0.5) / scales[:, None].astype(np.float64)
    above: Longs = np.ceil(np.clip(near, first - 1.0, last + 1.0)).astype(np.int64)
    # Two roundings to float32 move a pass by 2**-23 of the accumulator at most.
    width = (int(np.abs(above).max(initial=0)) >> 22) + 2
    below, above = above - width, above + width
    while (above - below > 1).any():
        middle = (below + above) >> 1
        passed = np.rint(middle.astype(np.float32) * scales[:, None]) >= results
        above, below = np.where(passed, middle, above), np.where(passed, below, middle)
    above = np.clip(above, first, last + 1)
    return _Passes(2 * results - 1, above, above <= last, above > first)


def _greatest_shift(scales: Floats) -> Longs:
    """The shift that uses all 31 bits of a multiplier, [scales]."""
    exponent = np.floor(np.log2(_MOST_MULTIPLIER / np.maximum(scales.astype(np.float64), 1e-30)))
    return np.clip(exponent, LEAST_SHIFT, MOST_SHIFT).astype(np.int64)


def _made(scales: Floats, shift: Longs, least: Longs, most: Longs) -> Integers:
    exact = least <= most
    near = np.rint(np.ldexp(scales.astype(np.float64), shift))
    inside = np.clip(near, least, np.maximum(most, least))
    multiplier = np.where(exact, inside, np.clip(near, 1, _MOST_MULTIPLIER))
    return Integers(multiplier.astype(np.int32), shift.astype(np.uint8), exact)
