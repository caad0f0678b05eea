"""How the windows of a convolution lie in an image, for Cortex-M4, M7 and M33."""

from dataclasses import dataclass

from edge.mcu.emit_shape import window
from edge.mcu.emit_text import braces
from edge.mcu.kernels import Operand, padded
from edge.mcu.kernels.dsp_pack import STEP
from edge.program import Conv


@dataclass(frozen=True)
class View:
    """How windows lie in an image.

    Attributes:
        columns: Of a window, a multiple of `STEP`.
        places: Of the output.
        in_bytes: Of the image, as far as it may be read.
        joined: The taps of a kernel's row lie side by side.
        direct: Those of all its rows do: a window is one run of the image.
        inside: No window needs gathering: none hangs over, nor is read beyond the image.
    """

    columns: int
    places: int
    in_bytes: int
    joined: bool
    direct: bool
    inside: bool

    @staticmethod
    def of(layer: Conv, x: Operand, y: Operand) -> "View":
        """The view of a layer's windows."""
        _, high, wide, depth = layer.weights.shape
        _, width, channels = x.value.shape
        out_height, out_width, _ = y.value.shape
        columns, in_bytes = padded(high * wide * depth, STEP), padded(x.value.size)
        joined = layer.groups == 1 and (wide == 1 or layer.dilation[1] == 1)
        stacked = high == 1 or (wide == width and layer.dilation[0] == 1)
        top, left = (out_height - 1) * layer.stride[0], (out_width - 1) * layer.stride[1]
        last = (top * width + left) * channels + columns
        direct = joined and stacked
        return View(
            columns=columns,
            places=out_height * out_width,
            in_bytes=in_bytes,
            joined=joined,
            direct=direct,
            inside=direct and not any(layer.pad) and last <= in_bytes,
        )

    @property
    def wide_bytes(self) -> int:
        """Of one window as int16."""
        return 2 * padded(self.columns)

    @property
    def gathered_bytes(self) -> int:
        """Of one window as int8, where some are gathered."""
        return 0 if self.inside else padded(self.columns)

    def fields(self, layer: Conv, x: Operand, y: Operand) -> str:
        """Initialiser of a `firnline_dsp_view`."""
        shapes = x.value.shape, y.value.shape, layer.weights.shape[1:3]
        made = {
            "window": window(*shapes, layer.stride, layer.dilation, layer.pad),
            "places": f"{self.places}u",
            "groups": f"{layer.groups}u",
            "depth": f"{layer.weights.shape[3]}u",
            "columns": f"{self.columns}u",
            "in_bytes": f"{self.in_bytes}u",
            "zero": str(x.value.zero),
            "joined": f"{int(self.joined)}u",
            "direct": f"{int(self.direct)}u",
        }
        return braces(made)
