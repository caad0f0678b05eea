"""What calibration rows show of a layer's input: the mean products of its columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.quantize.compensate import Halves, Moments
from edge.quantize.graph import attribute

_WINDOWS_A_COLUMN = 16
_LEAST_WINDOWS = 4096

Floats = NDArray[np.float32]


def moments(node: Any, weights: Floats, rows: Floats, real: Floats) -> Halves:
    """Moments of a Gemm's rows, or of the windows that a Conv's output places see.

    Args:
        node: The layer.
        weights: [channels, ...].
        rows: Its input on the calibration rows as int8 makes it, [rows, *shape].
        real: The same as the float model has it.

    Returns:
        Of the first half of the rows, and of the second.
    """
    if node.op_type == "Gemm":
        columns, wanted = rows[:, None], real[:, None]
    else:
        columns, wanted = (_windows(node, weights, given) for given in (rows, real))
    # A single window judges itself.
    middle = len(columns) // 2
    parts = [
        _moments(columns[part], wanted[part]) for part in (slice(middle or 1), slice(middle, None))
    ]
    return parts[0], parts[1]


def _moments(columns: Floats, wanted: Floats) -> Moments:
    """Of windows [windows, groups, columns]."""
    stored, real = (np.ascontiguousarray(part.swapaxes(0, 1)) for part in (columns, wanted))
    count = len(columns)
    return Moments(
        second=_products(stored, stored) / count,
        cross=_products(real, stored) / count,
        first=columns.mean(axis=0, dtype=np.float64),
        real=wanted.mean(axis=0, dtype=np.float64),
        count=count,
    )


def _products(left: Floats, right: Floats) -> NDArray[np.float64]:
    made: NDArray[np.float64] = (left.swapaxes(1, 2) @ right).astype(np.float64)
    return made


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
