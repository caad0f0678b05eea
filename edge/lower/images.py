"""Images and series: from channels first to channels last, and the windows over them."""

from dataclasses import dataclass

import numpy as np

from edge.lower.build import Builder
from edge.lower.context import refuse
from edge.lower.graph import Node
from edge.lower.symbols import Places, View

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """How a convolution or a pool goes over an image; a series is an image of height 1.

    Attributes:
        kernel: Height and width.
        stride: Down and across.
        dilation: Down and across.
        pad: Top, left, bottom, right; what makes the output as large as it is, even where the
            graph rounds its size up.
        out: Height and width of the output.
        given: Height and width of the input.
    """

    kernel: Pair
    stride: Pair
    dilation: Pair
    pad: tuple[int, int, int, int]
    out: Pair
    given: Pair

    @property
    def is_whole(self) -> bool:
        """Whether the one window is the whole image."""
        return self.kernel == self.given and not any(self.pad)


def image(builder: Builder, view: View) -> str:
    """A value [height, width, channels] that holds what a view [channels, (height,) width] does."""
    places = view.places if view.places.ndim == 3 else view.places[:, None]
    last = places.transpose(1, 2, 0)
    return builder.laid(type(view)(view.name, last), last.shape)


def out_view(seen: Window, channels: int, shape: tuple[int, ...]) -> Places:
    """Places of an output [channels, (height,) width] in a value with channels last."""
    size = seen.out[0] * seen.out[1] * channels
    return np.arange(size).reshape(*seen.out, channels).transpose(2, 0, 1).reshape(shape)


def window(node: Node, given: tuple[int, ...], made: tuple[int, ...], kernel: Pair) -> Window:
    """The windows of a node.

    Args:
        node: A Conv or a pool.
        given: Shape of its input, [channels, (height,) width].
        made: Shape of its output.
        kernel: Height and width of a window.
    """
    if len(given) not in (2, 3):
        refuse(node, f"{len(given) - 1} axes", "use it over one or two axes")
    flat = len(given) == 2
    attributes = node.attributes

    def pair(name: str) -> Pair:
        values = [int(value) for value in attributes.get(name, [1] * (len(given) - 1))]
        return (1, values[0]) if flat else (values[0], values[1])

    size = (1, given[1]) if flat else (given[1], given[2])
    out = (1, made[1]) if flat else (made[1], made[2])
    stride, dilation = pair("strides"), pair("dilations")
    begin = _begin(node, flat, size, out, kernel, stride, dilation)
    # What the last window reaches decides the padding at the end.
    reach = [
        (out[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 for axis in (0, 1)
    ]
    end = [max(reach[axis] - size[axis] - begin[axis], 0) for axis in (0, 1)]
    pad = (begin[0], begin[1], end[0], end[1])
    return Window(kernel, stride, dilation, pad, out, size)


def _begin(
    node: Node, flat: bool, size: Pair, out: Pair, kernel: Pair, stride: Pair, dilation: Pair
) -> Pair:
    """Padding at the top and at the left."""
    mode = node.attributes.get("auto_pad", b"NOTSET").decode()
    if mode == "NOTSET":
        pads = [int(value) for value in node.attributes.get("pads", [0, 0, 0, 0])]
        return (0, pads[0]) if flat else (pads[0], pads[1])
    if mode == "VALID":
        return (0, 0)
    total = [
        max(
            (out[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size[axis], 0
        )
        for axis in (0, 1)
    ]
    more = 1 if mode == "SAME_LOWER" else 0
    return (total[0] + more) // 2, (total[1] + more) // 2
