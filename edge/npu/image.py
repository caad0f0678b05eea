"""Windows over an image, as compilers want them: every row and column of the input is used."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """How a kernel goes over an image.

    Attributes:
        kept: Height and width of the input that windows reach; the rest is cut off first.
        pad: Top, left, bottom, right.
        out: Height and width of the output.
    """

    kept: tuple[int, int]
    pad: tuple[int, int, int, int]
    out: tuple[int, int]


def window(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    pad: tuple[int, int, int, int],
) -> Window:
    """Make the last window end where the input does.

    ONNX leaves out what a last, incomplete window would have covered; TOSA refuses such sizes.
    What is over is taken from the padding at the end, and what is over still from the input.

    Args:
        size: Height and width of the input.
        kernel: Height and width.
        stride: Down and across.
        dilation: Down and across.
        pad: Top, left, bottom, right.
    """
    kept, ends, out = [], [], []
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        room = size[axis] + pad[axis] + pad[axis + 2] - reach
        over = room % stride[axis]
        from_pad = min(over, pad[axis + 2])
        ends.append(pad[axis + 2] - from_pad)
        kept.append(size[axis] - (over - from_pad))
        out.append(room // stride[axis] + 1)
    return Window((kept[0], kept[1]), (pad[0], pad[1], ends[0], ends[1]), (out[0], out[1]))
