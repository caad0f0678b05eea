"""Windows of images, for convolutions and pools: all rows and all places at once."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Pair = tuple[int, int]
Sides = tuple[int, int, int, int]


def windows(
    image: Array, kernel: Pair, stride: Pair, dilation: Pair, pad: Sides, fill: float
) -> Array:
    """Every window of a batch of images, as a view where nothing is padded.

    Args:
        image: [rows, height, width, channels].
        kernel: Height and width.
        stride: Down and across.
        dilation: Down and across.
        pad: Top, left, bottom, right.
        fill: What the padding holds.

    Returns:
        [rows, out height, out width, kernel height, kernel width, channels].
    """
    top, left, bottom, right = pad
    if any(pad):
        edges = ((0, 0), (top, bottom), (left, right), (0, 0))
        image = np.pad(image, edges, constant_values=image.dtype.type(fill))
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, dilation, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(image, reach, axis=(1, 2))
    seen = seen[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
    return seen.transpose(0, 1, 2, 4, 5, 3)


def inside(shape: Pair, kernel: Pair, stride: Pair, pad: Sides) -> NDArray[np.bool_]:
    """Which elements of every window lie in the image and not in its padding.

    Returns:
        [1, out height, out width, kernel height, kernel width, 1].
    """
    image = np.ones((1, *shape, 1), np.bool_)
    return windows(image, kernel, stride, (1, 1), pad, 0).astype(np.bool_)
