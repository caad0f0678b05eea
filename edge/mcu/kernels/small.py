"""Dense layers and convolutions on cores without SIMD, packed for edge/mcu/c/firnline_small.h.

Weights lie in blocks of eight channels, column by column: eight bytes, each 128 + weight, so that a
word holds four channels. `m0`, `m3` and `rv32` differ in their inner loop alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.mcu.emit_requant import emit as emit_requant
from edge.mcu.emit_shape import leading, window
from edge.mcu.emit_text import array, record
from edge.mcu.kernels import Emitted, Operand, padded
from edge.mcu.kernels.layers import Longs, one_shift, rows_of, without_zero
from edge.program import Conv, Dense, Int32s, Requant

BLOCK = 8
"""Channels that go together."""

SUM_BITS = 24
"""A sum of products of bytes is below 2**24: that is what lets the kernels tell four apart."""

MIDDLE = 2 ** (SUM_BITS - 1)
"""What sums begin with where results are made in place."""

_POINTER_BYTES = 4
_SHIFTS = range(33, 55)
"""With these, the zero point fits before the shift."""


@dataclass(frozen=True)
class Small:
    """Kernels of a core without SIMD.

    Attributes:
        header: The file under edge/mcu/c with its inner loop.
    """

    header: str

    def dense(self, prefix: str, layer: Dense, x: Operand, y: Operand) -> Emitted:
        """A dense layer, to int8 or to float."""
        places, columns = leading(x.value.shape)
        data = _layer(prefix, layer, x.value.zero)
        sizes = f"{places}u, {columns}u, {x.expression}, {y.expression}, (uint8_t *)scratch"
        if layer.requant is None:
            data += array(f"{prefix}_scale", layer.scale)
            call = f"firnline_small_dense_float(&{prefix}_layer, {prefix}_scale, {sizes});"
        elif uniform(layer.requant) is None:
            defined, how = emit_requant(prefix, layer.requant)
            data += defined
            call = f"firnline_small_dense_by(&{prefix}_layer, {how}, {sizes});"
        else:
            call = f"firnline_small_dense(&{prefix}_layer, {sizes});"
        return Emitted(data, call, (self.header, "firnline_small.h"), _scratch(layer))

    def conv(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
        """A convolution of one group, or a depthwise one that makes a channel of each channel."""
        channels = x.value.shape[-1]
        if layer.groups == channels == len(layer.weights) and channels > 1:
            return self._depthwise(prefix, layer, x, y)
        if layer.groups != 1:
            return None
        data = _layer(prefix, layer, x.value.zero)
        data += f"static const firnline_window {prefix}_window =\n    {_window(layer, x, y)};\n"
        places = f"&{prefix}_window, {x.value.zero}, {x.expression}, {y.expression}"
        if uniform(layer.requant) is None:
            defined, how = emit_requant(prefix, layer.requant)
            data += defined
            call = f"firnline_small_conv_by(&{prefix}_layer, {how}, {places}, (uint8_t *)scratch);"
        else:
            call = f"firnline_small_conv(&{prefix}_layer, {places}, (uint8_t *)scratch);"
        return Emitted(data, call, (self.header, "firnline_small_conv.h"), _scratch(layer))

    def _depthwise(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
        found = uniform(layer.requant)
        if found is None:
            return None
        multiplier, _ = found
        taps = rows_of(layer.weights)
        bias = without_zero(taps, layer.bias, x.value.zero)
        fields = {"weights": f"{prefix}_weights", "finish": f"{prefix}_finish"}
        fields |= _uniform_fields(layer.requant)
        fields |= {"zero": str(x.value.zero), "window": _window(layer, x, y)}
        data = array(f"{prefix}_weights", taps.T)
        data += array(f"{prefix}_finish", _finish(bias, multiplier))
        data += record("firnline_small_depthwise", f"{prefix}_layer", fields)
        pointers = padded(_POINTER_BYTES * taps.shape[1])
        working = f"(const int8_t **)scratch, &((int8_t *)scratch)[{pointers}]"
        places = f"{x.expression}, {y.expression}, {working}"
        call = f"firnline_small_depthwise_int8(&{prefix}_layer, {places});"
        size = pointers + padded(len(taps))
        return Emitted(data, call, (self.header, "firnline_small_depthwise.h"), size)


def uniform(requant: Requant) -> tuple[NDArray[np.int32], int] | None:
    """Multipliers with one shift for all channels that give what the requantisation gives.

    Args:
        requant: How accumulators become int8.

    Returns:
        int32 [channels] or [1] and the shift; None when there is no such shift, or when it leaves
        no room for the zero point.
    """
    found = one_shift(requant)
    return (found[0].astype(np.int32), found[1]) if found and found[1] in _SHIFTS else None


def part(moved: NDArray[np.uint8]) -> int:
    """How many columns may be summed at once: the most, even, with all sums below 2**24.

    Args:
        moved: uint8 [channels, columns], 128 + weights; columns are even.
    """
    columns: int = moved.shape[1]
    length, pairs, sums = columns, columns // 2, moved.astype(np.int64)
    for parts in range(1, pairs + 1):
        length = -(-pairs // parts) * 2
        begins = np.arange(0, columns, length)
        if 255 * int(np.add.reduceat(sums, begins, axis=1).max()) < 2**SUM_BITS:
            break
    return length


def moved_weights(layer: Dense | Conv) -> NDArray[np.uint8]:
    """128 + weights, as uint8 [channels, columns], with a column of 0 where their number is odd."""
    flat = rows_of(layer.weights).astype(np.int16) + 128
    return np.pad(flat, ((0, 0), (0, flat.shape[1] % 2))).astype(np.uint8)


def packed(moved: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Words [blocks, columns, 2], the first channel in the lowest byte."""
    filled = np.pad(moved, ((0, -len(moved) % BLOCK), (0, 0)))
    blocks = filled.reshape(-1, BLOCK, moved.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(blocks).view("<u4").astype(np.uint32)


def in_place(layer: Dense | Conv) -> int:
    """How many channels the kernels requantise in place: all whole blocks, or none.

    Sums begin at 2**23 and hold weights times inputs of 0 to 255; they must end within 24 bits, and
    128 times the sum of all inputs within 32.
    """
    weights = rows_of(layer.weights).astype(np.int64)
    above, below = np.maximum(weights, 0).sum(1), np.maximum(-weights, 0).sum(1)
    most = int(np.maximum(above, below).max())
    within = 255 * most < MIDDLE and 128 * 255 * weights.shape[1] < 2**31
    if layer.requant is None or uniform(layer.requant) is None or not within:
        return 0
    return BLOCK * (len(weights) // BLOCK)


def _layer(prefix: str, layer: Dense | Conv, zero: int) -> str:
    """The `firnline_small` called `<prefix>_layer`, and its arrays."""
    moved = moved_weights(layer)
    bias = without_zero(layer.weights, layer.bias, 128 + zero) - MIDDLE
    found = None if layer.requant is None else uniform(layer.requant)
    multiplier = np.zeros(1, np.int32) if found is None else found[0]
    fields = {"weights": f"{prefix}_weights", "finish": f"{prefix}_finish"}
    if layer.requant is not None:
        fields |= _uniform_fields(layer.requant)
    fields["channels"] = f"{len(bias)}u"
    fields["in_place"] = f"{in_place(layer)}u"
    fields["columns"] = f"{moved.shape[1]}u"
    fields["part"] = f"{part(moved)}u"
    data = array(f"{prefix}_weights", packed(moved))
    data += array(f"{prefix}_finish", _finish(bias, multiplier))
    return data + record("firnline_small", f"{prefix}_layer", fields)


def _uniform_fields(requant: Requant) -> dict[str, str]:
    """What requantises all channels alike; nothing where `uniform` finds nothing."""
    found = uniform(requant)
    if found is None:
        return {}
    shift = found[1]
    return {
        "add": str(2 ** (shift - 33) + requant.zero * 2 ** (shift - 32)),
        "shift": f"{shift - 32}u",
        "low": str(requant.low),
        "high": str(requant.high),
    }


def _finish(bias: Longs, multiplier: Int32s) -> Int32s:
    """Bias and multiplier of every channel, [channels, 2]; the kernels add modulo 2**32."""
    wrapped = bias.astype(np.uint32).view(np.int32)
    return np.stack([wrapped, np.broadcast_to(multiplier, len(bias))], axis=1)


def _window(layer: Conv, x: Operand, y: Operand) -> str:
    kernel, hung = layer.weights.shape[1:3], (layer.stride, layer.dilation, layer.pad)
    return window(x.value.shape, y.value.shape, kernel, *hung)


def _scratch(layer: Dense | Conv) -> int:
    return padded(layer.weights[0].size)
