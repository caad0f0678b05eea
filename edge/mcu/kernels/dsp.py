"""Dense layers and convolutions on Cortex-M4, M7 and M33: two 16-bit products an instruction.

The fast kernels (firnline_dsp_dense.h, firnline_dsp_conv.h and firnline_dsp_depthwise.h under
edge/mcu/c) requantise every channel by one shift, in 2^32nds of a product; firnline_dsp_general.h
takes what does not fit that.
"""

from dataclasses import replace

import numpy as np

from edge.mcu.emit_requant import emit as emit_requant
from edge.mcu.emit_shape import window
from edge.mcu.emit_text import array, record
from edge.mcu.kernels import Emitted, Operand, padded
from edge.mcu.kernels.dsp_finish import Loop, clip, finish
from edge.mcu.kernels.dsp_pack import STEP, Words, begun, packed, part, plain
from edge.mcu.kernels.dsp_view import View
from edge.mcu.kernels.layers import Longs, as_rows, by_places, rows_of, without_zero
from edge.program import Conv, Dense, Int8s, bounds

DENSE_ROWS, DENSE_LOOP = 4, Loop(unrolled=16, step_bytes=27 * 4)
CONV_ROWS, CONV_LOOP = 2, Loop(unrolled=16, step_bytes=23 * 4)
DEPTHWISE_CHANNELS, DEPTHWISE_LOOP = 4, Loop(unrolled=16, step_bytes=9 * 4)
"""Rows or channels at a time, and the unrolled loop over columns or taps."""

_POINTER_BYTES = 4


class Dsp:
    """The family's kernels."""

    def dense(self, prefix: str, layer: Dense, x: Operand, y: Operand) -> Emitted | None:
        """A dense layer; one with several rows is a convolution with windows of one place."""
        if layer.weights.min(initial=0) == -128:
            return None
        columns = layer.weights.shape[1]
        rows = x.value.size // columns
        if rows == 1:
            return _dense(prefix, layer, x, y)
        if layer.requant is None:
            return None
        shaped = _shaped(x, rows, columns), _shaped(y, rows, len(layer.weights))
        return _conv(prefix, by_places(layer, layer.requant), *shaped)

    def conv(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
        """A convolution; of the depthwise ones those with as many channels out as in."""
        if layer.weights.min(initial=0) == -128:
            return None
        if layer.groups > 1 and layer.weights.shape[3] == 1:
            return _depthwise(prefix, layer, x, y)
        if layer.weights.shape[1:] == x.value.shape and not any(layer.pad):
            return _dense(prefix, as_rows(layer), x, y)
        return _conv(prefix, layer, x, y)


def _dense(prefix: str, layer: Dense, x: Operand, y: Operand) -> Emitted:
    requant, scratch = layer.requant, 2 * padded(layer.weights.shape[1])
    low, high = bounds(layer, x.value.zero)
    made = finish(requant, low[None], high[None]) if requant else None
    if requant is None or made is None:
        return _general_dense(prefix, layer, x, y, scratch)
    sums = without_zero(layer.weights, layer.bias, x.value.zero)
    stream = _stream(layer.weights, sums, made.multiplier, DENSE_ROWS)
    columns = padded(layer.weights.shape[1], STEP)
    fields = {
        "stream": f"{prefix}_stream",
        "group_words": f"{stream.shape[1]}u",
        "rows": f"{len(layer.weights)}u",
        "finish": made.fields(DENSE_LOOP, columns // STEP, 2 * columns),
    }
    data = array(f"{prefix}_stream", stream) + record(
        "firnline_dsp_dense", f"{prefix}_layer", fields
    )
    call = f"firnline_dsp_dense_int8(&{prefix}_layer, {x.expression}, {y.expression}, scratch);"
    return Emitted(data, call + clip(requant, y), ("firnline_dsp_dense.h",), scratch)


def _general_dense(prefix: str, layer: Dense, x: Operand, y: Operand, scratch: int) -> Emitted:
    data = _general(prefix, layer, 1, x)
    values = f"{x.expression}, {y.expression}, scratch"
    if layer.requant is None:
        data += array(f"{prefix}_scale", layer.scale)
        call = f"firnline_dsp_general_float(&{prefix}_layer, {prefix}_scale, {values});"
    else:
        defined, how = emit_requant(prefix, layer.requant)
        data += defined
        call = f"firnline_dsp_general_dense(&{prefix}_layer, {how}, {values});"
    return Emitted(data, call, ("firnline_dsp_general.h",), scratch)


def _conv(prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted:
    low, high = bounds(layer, x.value.zero)
    made = finish(layer.requant, low.reshape(layer.groups, -1), high.reshape(layer.groups, -1))
    if made is None:
        return _general_conv(prefix, layer, x, y)
    weights, outs = rows_of(layer.weights), len(layer.weights)
    sums = without_zero(weights, layer.bias, x.value.zero)
    split = (np.split(every, layer.groups) for every in (weights, sums, made.multiplier))
    streams = [_stream(w, b, m, CONV_ROWS) for w, b, m in zip(*split, strict=True)]
    view = View.of(layer, x, y)
    wide, gathered = view.wide_bytes, view.gathered_bytes
    fields = {
        "stream": f"{prefix}_stream",
        "group_words": f"{streams[0].shape[1]}u",
        "rows": f"{outs // layer.groups}u",
        "columns": f"{view.columns}u",
        "gathered": f"{2 * wide}u",
        "spare": f"{2 * (wide + gathered)}u",
        "view": view.fields(layer, x, y),
        "finish": made.fields(CONV_LOOP, view.columns // STEP, 2 * view.columns),
    }
    data = array(f"{prefix}_stream", np.concatenate(streams)) + record(
        "firnline_dsp_conv", f"{prefix}_layer", fields
    )
    call = f"firnline_dsp_conv_int8(&{prefix}_layer, {x.expression}, {y.expression}, scratch);"
    scratch = 2 * (wide + gathered) + outs * (view.places % 2)
    return Emitted(data, call + clip(layer.requant, y), ("firnline_dsp_conv.h",), scratch)


def _general_conv(prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted:
    view = replace(View.of(layer, x, y), direct=False)
    defined, how = emit_requant(prefix, layer.requant)
    data = _general(prefix, as_rows(layer), layer.groups, x) + defined
    scratch = view.wide_bytes + padded(view.columns)
    data += f"static const firnline_dsp_view {prefix}_view =\n    {view.fields(layer, x, y)};\n"
    call = (
        f"firnline_dsp_general_conv(&{prefix}_layer, &{prefix}_view, {how}, "
        f"{x.expression}, {y.expression}, scratch);"
    )
    return Emitted(data, call, ("firnline_dsp_general.h",), scratch)


def _depthwise(prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
    channels = x.value.shape[2]
    low, high = bounds(layer, x.value.zero)
    made = finish(layer.requant, low[:, None], high[:, None])
    if made is None or len(layer.weights) != channels or channels < DEPTHWISE_CHANNELS:
        return None
    weights = rows_of(layer.weights)
    taps = weights.shape[1]
    stream = _channels(weights, without_zero(weights, layer.bias, x.value.zero), made.multiplier)
    shapes = x.value.shape, y.value.shape, layer.weights.shape[1:3]
    fields = {
        "stream": f"{prefix}_stream",
        "group_words": f"{stream.shape[1]}u",
        "zeros": f"{_POINTER_BYTES * taps}u",
        "zero": str(x.value.zero),
        "window": window(*shapes, layer.stride, layer.dilation, layer.pad),
        "finish": made.fields(DEPTHWISE_LOOP, taps, _POINTER_BYTES * taps),
    }
    data = array(f"{prefix}_stream", stream) + record(
        "firnline_dsp_depthwise", f"{prefix}_layer", fields
    )
    values = f"{x.expression}, {y.expression}, scratch"
    call = f"firnline_dsp_depthwise_int8(&{prefix}_layer, {values});"
    scratch = _POINTER_BYTES * taps + channels
    return Emitted(data, call + clip(layer.requant, y), ("firnline_dsp_depthwise.h",), scratch)


def _channels(weights: Int8s, sums: Longs, multiplier: Longs) -> Words:
    """What the depthwise kernel reads: uint32 [groups of channels, words].

    Channels beyond the last whole group are in one more, with those before them.
    """
    count, together = len(weights), DEPTHWISE_CHANNELS
    firsts = [*range(0, count - together + 1, together), *([count - together] * (count % 4 > 0))]
    places = np.array(firsts)[:, None] + np.arange(together)
    halves = weights.T[:, places].transpose(1, 0, 2).astype(np.uint16).astype(np.uint32)
    words = (halves[..., :2] | (halves[..., 2:] << 16)).reshape(len(firsts), -1)
    begin = plain(sums[places].reshape(-1), together)
    factors = np.broadcast_to(multiplier, count)[places].reshape(-1)
    return np.concatenate([begin, words, plain(factors, together)], axis=1)


def _general(prefix: str, layer: Dense, groups: int, x: Operand) -> str:
    """Constants of a layer for the general kernels."""
    sums = without_zero(layer.weights, layer.bias, x.value.zero)
    parts = list(zip(np.split(layer.weights, groups), np.split(sums, groups), strict=True))
    stream = [
        np.concatenate([plain(bias, DENSE_ROWS), packed(weights, DENSE_ROWS)], axis=1)
        for weights, bias in parts
    ]
    fields = {
        "stream": f"{prefix}_stream",
        "rows": f"{len(layer.weights) // groups}u",
        "columns": f"{padded(layer.weights.shape[1], STEP)}u",
        "part": f"{min(part(weights) for weights, _ in parts)}u",
    }
    return array(f"{prefix}_stream", np.concatenate(stream)) + record(
        "firnline_dsp_general", f"{prefix}_layer", fields
    )


def _stream(weights: Int8s, sums: Longs, multiplier: Longs, together: int) -> Words:
    """All that a fast kernel reads of some rows, in order: uint32 [groups of rows, words]."""
    parts = [begun(sums, together), packed(weights, together), plain(multiplier, together)]
    return np.concatenate(parts, axis=1)


def _shaped(operand: Operand, rows: int, columns: int) -> Operand:
    return replace(operand, value=replace(operand.value, shape=(1, rows, columns)))


KERNELS = Dsp()
