"""What calibration rows show of a layer's input: the mean products of its columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.quantize.graph import attribute
from edge.quantize.weights import Moments

_WINDOWS_A_COLUMN = 16
_LEAST_WINDOWS = 4096

Floats = NDArray[np.float32]


def moments(node: Any, weights: Floats, rows: Floats) -> Moments:
    """Moments of a Gemm's rows, or of the windows that a Conv's output places see.

    Args:
        node: The layer.
        weights: [channels, ...].
        rows: Its input on the calibration rows, [rows, *shape].
    """
    columns = rows[:, None] if node.op_type == "Gemm" else _windows(node, weights, rows)
    second = np.stack([_products(part) for part in np.moveaxis(columns, 1, 0)])
    first = columns.mean(axis=0, dtype=np.float64)
    return Moments(second / len(columns), first)


def _products(part: Floats) -> NDArray[np.float64]:
    product: NDArray[np.float64] = (part.T @ part).astype(np.float64)
    return product


def _windows(node: Any, weights: Floats, rows: Floats) -> Floats:
    """Windows [places of all rows, groups, columns], evenly thinned where there are many."""
    axes = weights.ndim - 2
    groups = attribute(node, "group", 1)
    pads = attribute(node, "pads", [0] * 2 * axes)
    stride = attribute(node, "strides", [1] * axes)
    dilation = attribute(node, "dilations", [1] * axes)
    kernel = weights.shape[2:]
    sizes = [
        (size + before + after - (width - 1) * gap - 1) // step + 1
        for size, before, after, width, gap, step in zip(
            rows.shape[2:], pads[:axes], pads[axes:], kernel, dilation, stride, strict=True
        )
    ]
    places = len(rows) * int(np.prod(sizes))
    wanted = max(_WINDOWS_A_COLUMN * int(np.prod(weights.shape[1:])), _LEAST_WINDOWS)
    chosen = np.linspace(0, places - 1, min(places, wanted)).astype(np.int64)
    row, *place = np.unravel_index(chosen, (len(rows), *sizes))
    wide = np.pad(rows, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    offsets = np.meshgrid(
        *(np.arange(width) * gap for width, gap in zip(kernel, dilation, strict=True)),
        indexing="ij",
    )
    index = [
        (start * step)[:, None] + offset.ravel()
        for start, step, offset in zip(place, stride, offsets, strict=True)
    ]
    # The channel axis stays behind the indexed ones: [windows, kernel, channels].
    found = np.moveaxis(wide, 1, -1)[(row[:, None], *index)]
    found = np.swapaxes(found, 1, 2).reshape(len(chosen), groups, -1)
    made: Floats = np.ascontiguousarray(found)
    return made
