"""Dense layers and convolutions on cores with Helium (MVE): Cortex-M55.

How a layer is laid out for the code of `edge.mcu.kernels.mve_code`: rows of weights in blocks, a
block's biases first, then its weights by chunks of 16 columns, then what requantises it.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.mcu.emit_shape import leading
from edge.mcu.emit_text import array
from edge.mcu.kernels import Emitted, Operand, mve_depthwise, padded
from edge.mcu.kernels.layers import Longs, by_places, rows_of, without_zero
from edge.mcu.kernels.mve_code import SUMS, Shape, kernel
from edge.mcu.kernels.mve_layout import (
    CHUNK,
    Finish,
    Output,
    Sizes,
    columns,
    described,
)
from edge.program import Conv, Dense, Int8s, Int32s

HEADERS = ("firnline_mve.h",)

_MOST_CHANNELS = 60_000  # offsets of results are 16 bits wide


class _Mve:
    """The family's kernels."""

    def dense(self, prefix: str, layer: Dense, x: Operand, y: Operand) -> Emitted | None:
        """A dense layer; one with several rows is a convolution with windows of one place."""
        rows, channels = leading(x.value.shape)
        if rows == 1:
            out = Output(layer.requant, layer.scale)
            return _dense(prefix, layer.weights, layer.bias, out, x, y)
        if layer.requant is None:
            return None
        sizes = (1, rows, channels), (1, rows, len(layer.weights))
        return _conv(prefix, by_places(layer, layer.requant), *sizes, x, y)

    def conv(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
        """A convolution of one group, or of one for every channel."""
        image, made = _sizes(x), _sizes(y)
        if layer.groups == image[2] == made[2] > 1:
            return mve_depthwise.emit(prefix, layer, x, y)
        if layer.groups != 1:
            return None
        layer, image, made = _as_series(layer, image, made)
        whole = layer.weights.shape[1:3] == image[:2] and not any(layer.pad)
        if made[:2] == (1, 1) and whole and _in_line(layer):
            return _dense(prefix, rows_of(layer.weights), layer.bias, Output(layer.requant), x, y)
        return _conv(prefix, layer, image, made, x, y)


KERNELS = _Mve()


def _sizes(operand: Operand) -> Sizes:
    height, width, channels = operand.value.shape
    return height, width, channels


def _dense(
    prefix: str, weights: Int8s, bias: Int32s, out: Output, x: Operand, y: Operand
) -> Emitted:
    channels = len(weights)
    shape = _shape(weights, 1, out.finish)
    shift, zero = out.arguments
    stream = _stream(shape, weights, without_zero(weights, bias, x.value.zero), out)
    call = (
        f"{shape.name}({x.expression}, {y.expression}, {prefix}_stream, "
        f"{channels}, {shift}, {zero});\n" + out.clip(y.expression, channels)
    )
    return Emitted(kernel(shape) + array(f"{prefix}_stream", stream), call, HEADERS)


def _conv(
    prefix: str, layer: Conv, image: Sizes, made: Sizes, x: Operand, y: Operand
) -> Emitted | None:
    channels = len(layer.weights)
    if channels > _MOST_CHANNELS:
        return None
    weights, out = rows_of(layer.weights), Output(layer.requant)
    shape = _shape(weights, 2, out.finish)
    bias = without_zero(weights, layer.bias, x.value.zero)
    data = kernel(shape) + array(f"{prefix}_stream", _stream(shape, weights, bias, out))
    direct = columns(layer, image, made, shape.chunks * CHUNK) if _in_line(layer) else (0, 0)
    data += described(prefix, layer, image, made, direct, x.value.zero)
    arguments = f"&{prefix}_layer, {shape.name}, {x.expression}, {y.expression}, scratch"
    call = f"firnline_mve_conv({arguments});\n"
    call += out.clip(y.expression, made[0] * made[1] * channels)
    return Emitted(data, call, HEADERS, 2 * padded(weights.shape[1], CHUNK))


def _in_line(layer: Conv) -> bool:
    """Whether windows lie in the image in one piece."""
    _, height, width, _ = layer.weights.shape
    return height == 1 and not (layer.pad[0] or layer.pad[2]) and 1 in (width, layer.dilation[1])


def _as_series(layer: Conv, image: Sizes, made: Sizes) -> tuple[Conv, Sizes, Sizes]:
    """The same convolution along one row, where windows are one place or as wide as the image.

    Windows then lie in the image as they are needed.
    """
    outputs, height, width, channels = layer.weights.shape
    top, left, bottom, right = layer.pad
    if (height, width) == (1, 1) and layer.stride == (1, 1) and not any(layer.pad):
        places = image[0] * image[1]
        return layer, (1, places, channels), (1, places, outputs)
    wide = width == image[1] and not (left or right) and 1 in (width, layer.dilation[1])
    if not wide or image[0] == 1:
        return layer, image, made
    row = replace(
        layer,
        weights=layer.weights.reshape(outputs, 1, height, width * channels),
        stride=(1, layer.stride[0]),
        dilation=(1, layer.dilation[0]),
        pad=(0, top, 0, bottom),
    )
    return row, (1, image[0], width * channels), (1, made[0], outputs)


def _shape(weights: Int8s, places: int, finish: Finish) -> Shape:
    """Blocks of rows as even as can be, so that few are filled up with zeros."""
    channels, columns = weights.shape
    most = 4 if places == 2 or finish == "float32" else len(SUMS)
    rows = -(-channels // -(-channels // most))
    masked = finish == "float32" or rows * places < len(SUMS) or channels % rows != 0
    return Shape(rows, places, -(-columns // CHUNK), masked, finish)


def _stream(shape: Shape, weights: Int8s, bias: Longs, out: Output) -> NDArray[np.uint32]:
    """Words in the order in which the code reads them."""
    channels, columns = weights.shape
    blocks = -(-channels // shape.rows)
    more = blocks * shape.rows - channels
    filled = np.pad(weights, ((0, more), (0, shape.chunks * CHUNK - columns)))
    by_chunk = filled.reshape(blocks, shape.rows, shape.chunks, CHUNK).swapaxes(1, 2)
    words = np.ascontiguousarray(by_chunk).reshape(blocks, -1).view(np.int32)
    first = np.pad(bias, (0, more)).reshape(blocks, shape.rows).repeat(shape.places, axis=1)
    factors = [
        np.pad(part, (0, more)).reshape(blocks, shape.rows) for part in out.factors(channels)
    ]
    last = [_vector(part[:, lanes]) for lanes in _lanes(shape) for part in factors]
    return np.concatenate([first, words, *last], axis=1).astype(np.int32).view(np.uint32).ravel()


def _lanes(shape: Shape) -> list[slice]:
    """Rows whose sums lie in each of the vectors that the code requantises."""
    if shape.places == 2 or shape.finish == "float32" or shape.rows == 1:
        return [slice(None)]
    return [slice(0, None, 2), slice(1, None, 2)]


def _vector(part: Int32s) -> Int32s:
    return np.pad(part, ((0, 0), (0, 4 - part.shape[1])))
