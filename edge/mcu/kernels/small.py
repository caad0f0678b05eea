"""Dense layers and convolutions on cores without SIMD, packed for edge/mcu/c/small.h.

Weights lie in blocks of eight channels, column by column: eight bytes, each 128 + weight, so that a
word holds four channels. `m0`, `m3` and `rv32` differ in their inner loop alone.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.mcu.emit_requant import emit as emit_requant
from edge.mcu.emit_shape import leading, window
from edge.mcu.emit_text import array, number, record, rows
from edge.mcu.kernels import ALIGNMENT, Emitted, Operand
from edge.program import Conv, Dense, Int32s, Requant

BLOCK = 8
"""Channels that go together."""

SUM_BITS = 24
"""A sum of products of bytes is below 2**24: that is what lets the kernels tell four apart."""

MIDDLE = 2 ** (SUM_BITS - 1)
"""What sums begin with where results are made in place."""

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
        return Emitted(data, call, (self.header, "small.h"), _scratch(layer))

    def conv(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
        """A convolution of one group."""
        if layer.groups != 1:
            return None
        data = _layer(prefix, layer, x.value.zero)
        kernel, hung = layer.weights.shape[1:3], (layer.stride, layer.dilation, layer.pad)
        made = window(x.value.shape, y.value.shape, kernel, *hung)
        data += f"static const firnline_window {prefix}_window =\n    {made};\n"
        places = f"&{prefix}_window, {x.value.zero}, {x.expression}, {y.expression}"
        if uniform(layer.requant) is None:
            defined, how = emit_requant(prefix, layer.requant)
            data += defined
            call = f"firnline_small_conv_by(&{prefix}_layer, {how}, {places}, (uint8_t *)scratch);"
        else:
            call = f"firnline_small_conv(&{prefix}_layer, {places}, (uint8_t *)scratch);"
        return Emitted(data, call, (self.header, "small_conv.h"), _scratch(layer))


def uniform(requant: Requant) -> tuple[NDArray[np.int32], int] | None:
    """Multipliers with one shift for all channels that give what the requantisation gives.

    A multiplier times 2**n with a shift longer by n is the same function.

    Args:
        requant: How accumulators become int8.

    Returns:
        int32 [channels] or [1] and the shift; None when a channel is not exact, when a multiplier
        would not fit, or when the shift leaves no room for the zero point.
    """
    shift = int(requant.shift.max())
    lifted = requant.multiplier.astype(np.int64) << (shift - requant.shift.astype(np.int64))
    if not requant.exact.all() or shift not in _SHIFTS or lifted.max() >= 2**31:
        return None
    return lifted.astype(np.int32), shift


def part(moved: NDArray[np.uint8]) -> int:
    """How many columns may be summed at once: the most, even, with all sums below 2**24.

    Args:
        moved: uint8 [channels, columns], 128 + weights; columns are even.
    """
    count = moved.shape[1]
    for parts in range(1, count + 1):
        length = -(-count // (2 * parts)) * 2
        begins = np.arange(0, count, length)
        sums = np.add.reduceat(moved.astype(np.int64), begins, axis=1)
        if 255 * int(sums.max()) < 2**SUM_BITS:
            return length
    raise AssertionError("two columns are below 2**24 whatever they hold")


def moved_weights(layer: Dense | Conv) -> NDArray[np.uint8]:
    """128 + weights, as uint8 [channels, columns], with a column of 0 where their number is odd."""
    flat = layer.weights.reshape(len(layer.weights), -1).astype(np.int16) + 128
    return np.pad(flat, ((0, 0), (0, flat.shape[1] % 2))).astype(np.uint8)


def packed(moved: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Words [blocks, columns, 2], the first channel in the lowest byte."""
    filled = np.pad(moved, ((0, -len(moved) % BLOCK), (0, 0)))
    blocks = filled.reshape(-1, BLOCK, moved.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(blocks).view("<u4").astype(np.uint32)


def in_place(layer: Dense | Conv) -> int:
    """How many channels the kernels requantise in place: all whole blocks, or none.

    Sums begin at 2**23 and hold weights times inputs of 0 to 255; they must end within 24 bits.
    """
    weights = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    most = max(int(np.maximum(weights, 0).sum(1).max()), int(np.maximum(-weights, 0).sum(1).max()))
    if layer.requant is None or uniform(layer.requant) is None or 255 * most >= MIDDLE:
        return 0
    return len(weights) // BLOCK * BLOCK


def _layer(prefix: str, layer: Dense | Conv, zero: int) -> str:
    """The `firnline_small` called `<prefix>_layer`, and its arrays."""
    moved = moved_weights(layer)
    weights = layer.weights.reshape(len(layer.weights), -1).astype(np.int64)
    bias = layer.bias.astype(np.int64) - (128 + zero) * weights.sum(1) - MIDDLE
    finish = np.zeros((len(weights), 2), np.int32)
    finish[:, 0] = bias.astype(np.uint32).view(np.int32)  # the kernels count modulo 2**32
    fields = {"weights": f"{prefix}_weights", "finish": f"{prefix}_finish"}
    found = None if layer.requant is None else uniform(layer.requant)
    if layer.requant is not None and found is not None:
        finish[:, 1], shift = found
        fields["add"] = str(2 ** (shift - 33) + layer.requant.zero * 2 ** (shift - 32))
        fields["shift"] = f"{shift - 32}u"
        fields["low"], fields["high"] = str(layer.requant.low), str(layer.requant.high)
    fields["channels"] = f"{len(weights)}u"
    fields["in_place"] = f"{in_place(layer)}u"
    fields["columns"] = f"{moved.shape[1]}u"
    fields["part"] = f"{part(moved)}u"
    data = array(f"{prefix}_weights", packed(moved)) + _pairs(f"{prefix}_finish", finish)
    return data + record("firnline_small", f"{prefix}_layer", fields)


def _pairs(name: str, finish: Int32s) -> str:
    literals = [f"{{{number(bias)}, {number(multiplier)}}}" for bias, multiplier in finish]
    kind = f"static const firnline_small_finish {name}[{len(finish)}] FIRNLINE_ALIGNED"
    return f"{kind} = {{\n{rows(literals)}\n}};\n"


def _scratch(layer: Dense | Conv) -> int:
    columns = layer.weights[0].size
    return -(-columns // ALIGNMENT) * ALIGNMENT
