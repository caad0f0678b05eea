"""Axes: those that stay together are walked as one, so that kernels have few and long loops."""

from collections.abc import Sequence

import numpy as np

from edge.mcu.emit_text import braces, rows
from firnline.errors import HandshakeError

AXES = 6
"""What the kernels walk at most (FIRNLINE_AXES)."""


def steps(shape: Sequence[int]) -> list[int]:
    """Elements from one place to the next, along every axis of an array in row-major order."""
    made = [1] * len(shape)
    for axis in range(len(shape) - 1, 0, -1):
        made[axis - 1] = made[axis] * shape[axis]
    return made


def broadcast_steps(shape: Sequence[int], result: Sequence[int]) -> list[int]:
    """Steps of an operand along the axes of a result it is broadcast to: 0 where it is repeated."""
    padded = [1] * (len(result) - len(shape)) + list(shape)
    return [0 if extent == 1 else step for extent, step in zip(padded, steps(padded), strict=True)]


def merged(
    extents: Sequence[int], walks: Sequence[Sequence[int]]
) -> tuple[list[int], list[list[int]]]:
    """The same walk with fewer axes.

    Args:
        extents: Of the result, outermost first.
        walks: Steps of every operand along these axes.

    Returns:
        Extents and steps without axes of length 1, an axis joined to the one inside it where every
        operand goes on from one to the other in one step.
    """
    kept: list[int] = []
    kept_walks: list[list[int]] = [[] for _ in walks]
    for axis, extent in enumerate(extents):
        if extent == 1:
            continue
        goes_on = bool(kept) and all(
            made[-1] == walk[axis] * extent for made, walk in zip(kept_walks, walks, strict=True)
        )
        if goes_on:
            kept[-1] *= extent
        else:
            kept.append(extent)
        for made, walk in zip(kept_walks, walks, strict=True):
            if goes_on:
                made[-1] = walk[axis]
            else:
                made.append(walk[axis])
    return kept, kept_walks


def walk(
    name: str, extents: Sequence[int], walks: Sequence[Sequence[int]]
) -> tuple[str, list[str]]:
    """The extents and steps of a walk as initialisers of arrays of `AXES` elements.

    Args:
        name: The node, for the error.
        extents: Of the result.
        walks: Steps of every operand.

    Raises:
        HandshakeError: [E31] the walk has more axes than the kernels take.
    """
    kept, kept_walks = merged(extents, walks)
    if len(kept) > AXES:
        raise HandshakeError(
            "E31",
            found=f"{len(kept)} axes that do not join into fewer",
            where=f"node {name}",
            mend=f"reshape its inputs to at most {AXES} axes",
        )
    lead = AXES - len(kept)
    return _initialiser([1] * lead + kept), [_initialiser([0] * lead + one) for one in kept_walks]


def _initialiser(values: Sequence[int]) -> str:
    return "{" + rows([f"{value}u" for value in values], indent="") + "}"


def window(
    image: Sequence[int],
    made: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pad: Sequence[int],
) -> str:
    """Initialiser of a `firnline_window`.

    Args:
        image: [height, width, channels] of the input.
        made: [height, width, channels] of the result.
        kernel: Down and across, as are `stride` and `dilation`.
        stride: From one window to the next.
        dilation: From one tap to the next.
        pad: Top, left, bottom, right.
    """
    fields = {
        "height": image[0],
        "width": image[1],
        "channels": image[2],
        "out_height": made[0],
        "out_width": made[1],
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_y": stride[0],
        "stride_x": stride[1],
        "dilation_y": dilation[0],
        "dilation_x": dilation[1],
        "pad_top": pad[0],
        "pad_left": pad[1],
    }
    return braces({name: str(value) for name, value in fields.items()})


def leading(shape: Sequence[int]) -> tuple[int, int]:
    """How many rows a value has, and the length of its last axis."""
    return int(np.prod(shape[:-1], dtype=np.int64)), int(shape[-1]) if shape else 1
