"""Dense layers and convolutions in plain C99: right on every core, and what a family leaves."""

import numpy as np

from edge.mcu.emit_requant import emit as emit_requant
from edge.mcu.emit_shape import leading, window
from edge.mcu.emit_text import array, record
from edge.mcu.kernels import Emitted, Operand
from edge.mcu.kernels.layers import without_zero
from edge.program import Conv, Dense


class Portable:
    """Kernels for any core; the only family that never returns None."""

    def dense(self, prefix: str, layer: Dense, x: Operand, y: Operand) -> Emitted:
        """A dense layer to int8, or to float where it has no requantisation."""
        rows, columns = leading(x.value.shape)
        bias = without_zero(layer.weights, layer.bias, x.value.zero)
        data = array(f"{prefix}_weights", layer.weights)
        data += array(f"{prefix}_bias", bias.astype(np.int32))
        fields = {
            "weights": f"{prefix}_weights",
            "bias": f"{prefix}_bias",
            "rows": f"{rows}u",
            "columns": f"{columns}u",
            "channels": f"{len(layer.weights)}u",
        }
        data += record("firnline_dense", f"{prefix}_layer", fields)
        if layer.requant is None:
            data += array(f"{prefix}_scale", layer.scale)
            kernel, how = "firnline_dense_float", f"{prefix}_scale"
        else:
            defined, how = emit_requant(prefix, layer.requant)
            data, kernel = data + defined, "firnline_dense_int8"
        call = f"{kernel}(&{prefix}_layer, {how}, {x.expression}, {y.expression});"
        return Emitted(data, call, ("firnline_portable_dense.h",))

    def conv(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted:
        """A convolution, a depthwise one by its own kernel."""
        channels, outs = x.value.shape[-1], len(layer.weights)
        depthwise = layer.groups == channels and channels > 1
        weights = layer.weights.transpose(1, 2, 3, 0) if depthwise else layer.weights
        kind = "depthwise" if depthwise else "conv"
        fields = {
            "weights": f"{prefix}_weights",
            "bias": f"{prefix}_bias",
            "out_channels": f"{outs}",
        }
        fields |= {"times": f"{outs // channels}"} if depthwise else {"groups": f"{layer.groups}"}
        fields |= {
            "zero": str(x.value.zero),
            "window": window(
                x.value.shape,
                y.value.shape,
                layer.weights.shape[1:3],
                layer.stride,
                layer.dilation,
                layer.pad,
            ),
        }
        defined, how = emit_requant(prefix, layer.requant)
        data = array(f"{prefix}_weights", weights) + array(f"{prefix}_bias", layer.bias)
        data += record(f"firnline_{kind}", f"{prefix}_layer", fields) + defined
        call = f"firnline_{kind}_int8(&{prefix}_layer, {how}, {x.expression}, {y.expression});"
        return Emitted(data, call, (f"firnline_portable_{kind}.h",))


KERNELS = Portable()
