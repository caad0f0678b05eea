"""C for operations on float32, one function a class of operation."""

from collections.abc import Sequence

import numpy as np

from edge.mcu.emit import emit, unsupported
from edge.mcu.emit_shape import broadcast_steps, leading, walk, window
from edge.mcu.emit_text import array, record
from edge.mcu.kernels import Emitted, Operand
from edge.program import (
    FloatBinary,
    FloatConv,
    FloatDense,
    FloatGather,
    FloatImpute,
    FloatPool,
    FloatReduce,
    FloatSoftmax,
    FloatUnary,
)


@emit.register
def binary(step: FloatBinary, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Two values, or a value and a constant, with broadcasting."""
    operands = [(x.expression, x.value.shape) for x in inputs]
    data = ""
    if step.constant is not None:
        data = array(f"{prefix}_constant", step.constant)
        place = 0 if step.constant_first else 1
        operands.insert(place, (f"{prefix}_constant", step.constant.shape))
    walks = [broadcast_steps(shape, y.value.shape) for _, shape in operands]
    extents, (left, right) = walk(step.name, y.value.shape, walks)
    fields = {"extent": extents, "left": left, "right": right}
    data += record("firnline_broadcast", f"{prefix}_axes", fields)
    both = ", ".join(expression for expression, _ in operands)
    call = f"firnline_float_{step.kind}(&{prefix}_axes, {both}, {y.expression});"
    return Emitted(data, call, ("firnline_float_elementwise.h",))


@emit.register
def unary(step: FloatUnary, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """One value."""
    (x,) = inputs
    call = f"firnline_float_{step.kind}({y.value.size}u, {x.expression}, {y.expression});"
    return Emitted("", call, ("firnline_float_elementwise.h",))


@emit.register
def impute(step: FloatImpute, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Gaps filled."""
    (x,) = inputs
    shape = list(step.fill.shape)
    while shape and shape[0] == 1:
        shape.pop(0)
    tail = x.value.shape[len(x.value.shape) - len(shape) :]
    fill = step.fill if tuple(shape) == tail else np.broadcast_to(step.fill, x.value.shape)
    sizes = f"{fill.size}u, {y.value.size}u, {x.expression}, {y.expression}"
    call = f"firnline_impute({prefix}_fill, {sizes});"
    return Emitted(array(f"{prefix}_fill", fill), call, ("firnline_float_elementwise.h",))


@emit.register
def gather(step: FloatGather, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Chosen places of the last axis."""
    (x,) = inputs
    rows, width = leading(x.value.shape)
    if width > 65536:
        raise unsupported(step, f"an axis of {width} elements, at most 65536")
    data = array(f"{prefix}_places", np.array(step.places, np.uint16))
    sizes = f"{len(step.places)}u, {rows}u, {width}u, {x.expression}, {y.expression}"
    return Emitted(
        data, f"firnline_gather({prefix}_places, {sizes});", ("firnline_float_elementwise.h",)
    )


@emit.register
def dense(step: FloatDense, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """A dense layer kept in float."""
    (x,) = inputs
    rows, columns = leading(x.value.shape)
    data = array(f"{prefix}_weights", step.weights) + array(f"{prefix}_bias", step.bias)
    sizes = f"{rows}u, {columns}u, {len(step.weights)}u, {x.expression}, {y.expression}"
    call = f"firnline_float_dense({prefix}_weights, {prefix}_bias, {sizes});"
    return Emitted(data, call, ("firnline_float_layers.h",))


@emit.register
def conv(step: FloatConv, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """A convolution kept in float."""
    (x,) = inputs
    kernel = step.weights.shape[1:3]
    fields = {
        "weights": f"{prefix}_weights",
        "bias": f"{prefix}_bias",
        "out_channels": str(len(step.weights)),
        "groups": str(step.groups),
        "window": window(
            x.value.shape, y.value.shape, kernel, step.stride, step.dilation, step.pad
        ),
    }
    data = array(f"{prefix}_weights", step.weights) + array(f"{prefix}_bias", step.bias)
    data += record("firnline_float_conv", f"{prefix}_layer", fields)
    call = f"firnline_float_conv_run(&{prefix}_layer, {x.expression}, {y.expression});"
    return Emitted(data, call, ("firnline_float_layers.h",))


@emit.register
def pool(step: FloatPool, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Pooling kept in float."""
    (x,) = inputs
    made = window(x.value.shape, y.value.shape, step.kernel, step.stride, (1, 1), step.pad)
    data = f"static const firnline_window {prefix}_window =\n    {made};\n"
    counted = "" if step.kind == "max" else f"{int(step.count_pad)}, "
    arguments = f"&{prefix}_window, {counted}{x.expression}, {y.expression}"
    call = f"firnline_float_pool_{step.kind}({arguments});"
    return Emitted(data, call, ("firnline_float_layers.h",))


@emit.register
def reduce(step: FloatReduce, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Sum, mean or greatest of the last axis."""
    (x,) = inputs
    rows, width = leading(x.value.shape)
    call = f"firnline_reduce_{step.kind}({rows}u, {width}u, {x.expression}, {y.expression});"
    return Emitted("", call, ("firnline_float_reduce.h",))


@emit.register
def softmax(step: FloatSoftmax, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """Softmax of the last axis."""
    (x,) = inputs
    rows, width = leading(x.value.shape)
    call = f"firnline_float_softmax({rows}u, {width}u, {x.expression}, {y.expression});"
    return Emitted("", call, ("firnline_float_reduce.h",))
