"""What the Helium kernels share: how sums become outputs, and how a convolution is described."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.mcu.emit_shape import window
from edge.mcu.emit_text import record
from edge.mcu.kernels import padded
from edge.program import Conv, Floats, Int32s, Requant

CHUNK = 16
"""Bytes of a vector."""

Sizes = tuple[int, int, int]
"""Height, width and channels of an image."""

Finish = Literal["shift", "shifts", "float", "float32"]
"""How sums become outputs: integers and one shift; a shift for every channel; by float32
arithmetic; or left float32."""


@dataclass(frozen=True, eq=False)
class Output:
    """How sums become outputs.

    Attributes:
        requant: As in the layer; None where outputs are float32.
        scale: float32 [channels], where they are.
    """

    requant: Requant | None
    scale: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def finish(self) -> Finish:
        """Which code does it."""
        if self.requant is None:
            return "float32"
        if not self.requant.exact.all():
            return "float"
        return "shift" if len(np.unique(self.requant.shift)) == 1 else "shifts"

    def factors(self, channels: int) -> list[Int32s]:
        """What the code loads for every channel: one or two words, each int32 [channels]."""
        requant = self.requant
        if requant is None:
            return [_each(self.scale.view(np.int32), channels)]
        if self.finish == "float":
            return [_each(requant.scale.astype(np.float32).view(np.int32), channels)]
        multiplier = _each(requant.multiplier, channels)
        if self.finish == "shift":
            return [multiplier]
        return [multiplier, _each(32 - requant.shift.astype(np.int32), channels)]

    @property
    def arguments(self) -> tuple[int, int]:
        """The common shift to the left, which is negative, and the zero point."""
        if self.requant is None:
            return 0, 0
        return 32 - int(self.requant.shift[0]), self.requant.zero

    def clip(self, y: str, count: int) -> str:
        """C that holds outputs within bounds narrower than int8's."""
        requant = self.requant
        if requant is None or (requant.low, requant.high) == (-128, 127):
            return ""
        return f"firnline_mve_clip({y}, {count}, {requant.low}, {requant.high});\n"


def _each(values: NDArray[np.generic], channels: int) -> Int32s:
    return np.broadcast_to(values.astype(np.int32), channels)


def reach(layer: Conv) -> tuple[int, int]:
    """Rows and columns of the image from a window's first tap to its last."""
    _, height, width, _ = layer.weights.shape
    down, across = layer.dilation
    return (height - 1) * down + 1, (width - 1) * across + 1


def columns(layer: Conv, image: Sizes, made: Sizes, read: int) -> tuple[int, int]:
    """Places of a row, from and to, whose windows are whole and may be read where they lie.

    The last window down is nearest to the end of the buffer; what may be read there may be read
    in every row.

    Args:
        layer: The convolution.
        image: Sizes of its input.
        made: Sizes of its result.
        read: Bytes read from a window's first to the last, those past its end among them.
    """
    height, width, channels = image
    readable = padded(height * width * channels)
    down, across = reach(layer)
    row = min((made[0] - 1) * layer.stride[0] - layer.pad[0], height - down)
    last = min(width - across, (readable - read) // channels - row * width)
    left, stride = layer.pad[1], layer.stride[1]
    begin, end = -(-left // stride), min((last + left) // stride + 1, made[1])
    return (begin, end) if last >= 0 and end > begin else (0, 0)


def described(
    prefix: str,
    layer: Conv,
    image: Sizes,
    made: Sizes,
    direct: Sequence[int],
    fill: int,
) -> str:
    """The constant `<prefix>_layer` that describes a convolution to the drivers in firnline_mve.h.

    Args:
        prefix: What its name begins with; `<prefix>_stream` holds the weights.
        layer: The convolution.
        image: Sizes of its input.
        made: Sizes of its result.
        direct: As `columns` gives them.
        fill: The input's zero point, which padding holds.
    """
    shift, zero = Output(layer.requant).arguments
    kernel = layer.weights.shape[1:3]
    fields = {
        "stream": f"{prefix}_stream",
        "window": window(image, made, kernel, layer.stride, layer.dilation, layer.pad),
        "outputs": str(made[2]),
        "bytes": str(padded(kernel[0] * kernel[1] * image[2], CHUNK)),
        "direct_from": str(direct[0]),
        "direct_to": str(direct[1]),
        "fill": str(fill),
        "shift": str(shift),
        "zero": str(zero),
    }
    return record("firnline_mve_layer", f"{prefix}_layer", fields)


def assembly(name: str, comment: str, parameters: Sequence[str], lines: Iterable[str]) -> str:
    """A C function that is assembly alone, between guards: several layers may ask for it.

    Args:
        name: Of the function.
        comment: What stands above it.
        parameters: As C declares them.
        lines: Instructions and labels.
    """
    text = "\n".join(f'        "{line}\\n"' for line in lines)
    declared = ",\n    ".join(f"{parameter} FIRNLINE_UNUSED" for parameter in parameters)
    guard = name.upper()
    return (
        f"#ifndef {guard}\n#define {guard}\n/* {comment} */\n"
        f"FIRNLINE_NAKED void {name}(\n    {declared})\n"
        f"{{\n    __asm__ volatile(\n{text}\n    );\n}}\n#endif\n"
    )
