"""Depthwise convolutions with Helium (MVE): 16 channels at a time, all taps written out.

VMULL gives the products of 8 channels in 16 bits. Two products of a byte and a weight within
[-127, 127] still fit in 16 bits together, so that taps are taken by two before they are widened:
21 instructions for 32 products, where widening to 32 bits first takes one for each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.mcu.emit_text import array
from edge.mcu.kernels import Emitted, Operand, padded
from edge.mcu.kernels.layers import without_zero
from edge.mcu.kernels.mve_layout import (
    CHUNK,
    Finish,
    Output,
    assembly,
    columns,
    described,
    reach,
)
from edge.program import Conv, Int32s

MOST_TAPS = 32
"""Of a window; more are left to portable C, as the code would grow too long."""

_LANES = np.array([[0, 4, 8, 12], [2, 6, 10, 14], [1, 5, 9, 13], [3, 7, 11, 15]])
"""Channels of the four vectors of sums, as widening even and odd bytes twice leaves them."""


def emit(prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
    """C for a convolution with one group for every channel.

    None for very large windows, and for a weight of -128, two products of which pass 16 bits.

    Args:
        prefix: What the names of its constants begin with.
        layer: The convolution; as many outputs as channels.
        x: Its input.
        y: Its result.
    """
    channels, height, width, _ = layer.weights.shape
    if height * width > MOST_TAPS or int(layer.weights.min()) < -127:
        return None
    image, made = x.value.shape, y.value.shape
    sizes = (image[0], image[1], image[2]), (made[0], made[1], made[2])
    out, code = Output(layer.requant), _Code(height, width, Output(layer.requant).finish)
    down, across = reach(layer)
    read = ((down - 1) * image[1] + across - 1) * channels + padded(channels, CHUNK)
    bias = without_zero(layer.weights, layer.bias, x.value.zero).astype(np.int32)
    data = code.function() + array(f"{prefix}_stream", _stream(layer, bias, out))
    data += described(prefix, layer, *sizes, columns(layer, *sizes, read), x.value.zero)
    arguments = f"&{prefix}_layer, {code.name}, {x.expression}, {y.expression}, scratch"
    call = f"firnline_mve_depthwise({arguments});\n" + out.clip(y.expression, y.value.size)
    return Emitted(
        data, call, ("firnline_mve_depthwise.h",), padded(height * width * channels, CHUNK) + CHUNK
    )


def _stream(layer: Conv, bias: Int32s, out: Output) -> NDArray[np.uint32]:
    """By 16 channels: biases, weights tap by tap, multipliers."""
    channels = len(layer.weights)
    more = padded(channels, CHUNK) - channels
    blocks = (channels + more) // CHUNK
    taps = np.pad(layer.weights.reshape(channels, -1).T, ((0, 0), (0, more)))
    by_block = np.ascontiguousarray(taps.reshape(-1, blocks, CHUNK).swapaxes(0, 1))
    first, *factors = (
        np.pad(part, (0, more)).reshape(blocks, CHUNK)[:, _LANES]
        for part in (bias, *out.factors(channels))
    )
    parts = [
        first.reshape(blocks, -1),
        by_block.reshape(blocks, -1).view(np.int32),
        np.stack(factors, axis=2).reshape(blocks, -1),
    ]
    return np.concatenate(parts, axis=1).astype(np.int32).view(np.uint32).ravel()


@dataclass(frozen=True)
class _Code:
    """The code of a window's size.

    Registers: r0 the run, r1 the result, r2 the stream, r3 channels still to come, r4 the tap,
    r5 and r6 the steps to the next tap and to the next row, r7 shift, r8 zero point, r9 the
    window at this block of channels, r10 places still to come, r11 and r12 the steps of result
    and window from place to place, lr the window. q0 to q3 are the sums.
    """

    height: int
    width: int
    finish: Finish

    @property
    def name(self) -> str:
        """Of the C function."""
        return f"firnline_mve_depthwise_{self.height}x{self.width}_{self.finish}"

    def function(self) -> str:
        """The C function, between guards: several layers may ask for it."""
        comment = f"A window of {self.height} by {self.width} taps, 16 channels at a time."
        return assembly(self.name, comment, ("const firnline_mve_taps *run",), self._lines())

    def _lines(self) -> Iterator[str]:
        yield from ("push {r4-r11, lr}", "vpush {d8-d15}")
        yield from ("ldrd r10, r12, [r0, #4]", "ldrd r11, r5, [r0, #12]", "ldrd r6, r7, [r0, #20]")
        yield from ("ldr r8, [r0, #28]", "ldrd lr, r1, [r0, #32]")
        yield from ("3:", "ldr r2, [r0]", "ldr r3, [r0, #40]", "mov r9, lr")
        yield from ("2:", "mov r4, r9", f"add r9, r9, #{CHUNK}")
        yield from (f"vldrw.32 q{part}, [r2], #16" for part in range(4))
        taps = self.height * self.width
        for tap in range(0, taps - 1, 2):
            yield from self._two(tap)
        if taps % 2:
            yield from self._one()
        for part in range(4):
            yield from self._requantised(f"q{part}")
        yield from ("vqmovnb.s32 q0, q0", "vqmovnb.s32 q2, q2")
        yield from ("vqmovnt.s32 q0, q1", "vqmovnt.s32 q2, q3")
        yield from ("vqadd.s16 q0, q0, r8", "vqadd.s16 q2, q2, r8")
        yield from ("vqmovnb.s16 q0, q0", "vqmovnt.s16 q0, q2")
        yield from ("vctp.8 r3", "vpst", f"vstrbt.8 q0, [r1], #{CHUNK}")
        yield from (f"subs r3, r3, #{CHUNK}", "bgt 2b")
        yield from ("add lr, lr, r12", "add r1, r1, r11", "subs r10, r10, #1", "bgt 3b")
        yield from ("vpop {d8-d15}", "pop {r4-r11, pc}")

    def _two(self, tap: int) -> Iterator[str]:
        """Two taps: even channels in q6, odd ones in q4; for want of a register x is read twice."""
        yield from ("vldrb.8 q4, [r4]", f"vldrb.8 q5, [r2], #{CHUNK}", self._step(tap))
        yield from ("vmullb.s8 q6, q4, q5", "vmullt.s8 q4, q4, q5")
        yield from ("vldrb.8 q5, [r4]", f"vldrb.8 q7, [r2], #{CHUNK}")
        yield from ("vmullt.s8 q5, q5, q7", "vadd.i16 q4, q4, q5", "vldrb.8 q5, [r4]")
        yield from ("vmullb.s8 q5, q5, q7", "vadd.i16 q6, q6, q5")
        if tap + 2 < self.height * self.width:
            yield self._step(tap + 1)
        yield from self._widened()

    def _one(self) -> Iterator[str]:
        yield from ("vldrb.8 q4, [r4]", f"vldrb.8 q5, [r2], #{CHUNK}")
        yield from ("vmullb.s8 q6, q4, q5", "vmullt.s8 q4, q4, q5")
        yield from self._widened()

    def _step(self, tap: int) -> str:
        return "add r4, r4, " + ("r6" if (tap + 1) % self.width == 0 else "r5")

    def _widened(self) -> Iterator[str]:
        """The products of even channels and odd ones to 32 bits, and to the sums."""
        yield from ("vmovlb.s16 q5, q6", "vmovlt.s16 q7, q6")
        yield from ("vadd.i32 q0, q0, q5", "vmovlb.s16 q5, q4")
        yield from ("vadd.i32 q1, q1, q7", "vmovlt.s16 q7, q4")
        yield from ("vadd.i32 q2, q2, q5", "vadd.i32 q3, q3, q7")

    def _requantised(self, vector: str) -> Iterator[str]:
        load = "vldrw.32 q4, [r2], #16"
        if self.finish == "float":
            yield from (f"vcvt.f32.s32 {vector}, {vector}", load)
            yield from (f"vmul.f32 {vector}, {vector}, q4", f"vcvtn.s32.f32 {vector}, {vector}")
            return
        yield from (load, f"vmulh.s32 {vector}, {vector}, q4")
        if self.finish == "shifts":
            yield from (load, f"vrshl.s32 {vector}, {vector}, q4")
        else:
            yield f"vrshl.s32 {vector}, r7"
