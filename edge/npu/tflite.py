"""Program -> int8 .tflite: for NPU tools that read no TOSA, and for a second pair of eyes.

The format holds scales, not factors: how an interpreter rounds is its own affair. XNNPACK's
kernels compute what ONNX Runtime does, the reference kernels double-round; both are run and their
differences counted. TOSA is the exact form.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from edge.npu.exact import pooling
from edge.npu.image import window
from edge.npu.plan import Plan, Tensor
from edge.npu.tflite_values import (
    bounded,
    like,
    quantised,
    refused,
    requantised,
    weight_scales,
)
from edge.program import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    MaxPool,
    Operation,
    Program,
    Reshape,
    Table,
    Transpose,
)

_VALID = "Padding.VALID"


def plan(program: Program) -> Plan:
    """The whole program as a TFLite graph of batch 1.

    Args:
        program: Of int8 operations only.

    Raises:
        HandshakeError: E52, an operation has no form in TFLite; by its name and why.
    """
    graph = Plan(program.name, program.inputs, program.outputs)
    for name in program.inputs:
        graph.tensor(quantised(program.values[name]))
    for step in program.operations:
        if type(step) not in _WRITERS:
            raise refused(step, f"{type(step).__name__} is not for int8 inference on an NPU")
        _WRITERS[type(step)](graph, program, step)
    return graph


def _dense(graph: Plan, program: Program, step: Dense) -> None:
    source, made = program.values[step.inputs[0]], program.values[step.output]
    if step.requant is None:
        raise refused(step, "its result is float32")
    scales = weight_scales(step.requant.scale, source.scale, made.scale)
    held = _layer_constants(graph, step, step.weights, scales, source.scale, 0)
    target, act = bounded(graph, made, step.requant.low, step.requant.high)
    options: dict[str, Any] = {"table": "FullyConnectedOptions", "fusedActivationFunction": act}
    options["keepNumDims"] = len(source.shape) > 1
    graph.node(step.name, "FULLY_CONNECTED", [step.inputs[0], *held], target, options, 12)
    _within(graph, step, target, step.requant.low, step.requant.high)


def _conv(graph: Plan, program: Program, step: Conv) -> None:
    source, made = program.values[step.inputs[0]], program.values[step.output]
    out, down, across = step.weights.shape[:3]
    depthwise = step.groups == source.shape[2] and step.groups > 1
    weights, axis = step.weights, 0
    if depthwise:
        weights, axis = step.weights.transpose(3, 1, 2, 0), 3
    scales = weight_scales(step.requant.scale, source.scale, made.scale)
    held = _layer_constants(graph, step, weights, scales, source.scale, axis)
    read, padding = _padded(graph, program, step, (down, across), step.dilation, source.zero)
    target, act = bounded(graph, made, step.requant.low, step.requant.high)
    options: dict[str, Any] = {
        "table": "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions",
        "fusedActivationFunction": act,
        "padding": padding,
        **_strides(step.stride),
        "dilationHFactor": step.dilation[0],
        "dilationWFactor": step.dilation[1],
    }
    if depthwise:
        options["depthMultiplier"] = out // step.groups
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    graph.node(step.name, kind, [read, *held], target, options, 3)
    _within(graph, step, target, step.requant.low, step.requant.high)


def _average(graph: Plan, program: Program, step: AveragePool) -> None:
    height, width, _ = program.values[step.inputs[0]].shape
    if any(window((height, width), step.kernel, step.stride, (1, 1), step.pad).pad):
        raise refused(step, "its windows reach into the padding")
    _conv(graph, program, pooling(program, step))


def _greatest(graph: Plan, program: Program, step: MaxPool) -> None:
    made = program.values[step.output]
    read, padding = _padded(graph, program, step, step.kernel, (1, 1), -128)
    options = {
        "table": "Pool2DOptions",
        "padding": padding,
        **_strides(step.stride),
        "filterHeight": step.kernel[0],
        "filterWidth": step.kernel[1],
    }
    graph.node(step.name, "MAX_POOL_2D", [read], graph.tensor(quantised(made)), options, 2)


def _add(graph: Plan, program: Program, step: Add) -> None:
    target, act = bounded(graph, program.values[step.output], step.low, step.high)
    options = {"table": "AddOptions", "fusedActivationFunction": act}
    graph.node(step.name, "ADD", step.inputs, target, options, 2)
    _within(graph, step, target, step.low, step.high)


def _table(graph: Plan, program: Program, step: Table) -> None:
    source, made = program.values[step.inputs[0]], program.values[step.output]
    bounds = requantised(step.table, source, made)
    if bounds is not None:
        target, _ = bounded(graph, made, *bounds, fused=False)
        graph.node(step.name, "QUANTIZE", step.inputs, target, {"table": "QuantizeOptions"}, 2)
        _within(graph, step, target, *bounds, fused=False)
        return
    curves = {"Sigmoid": ("LOGISTIC", 1 / 256, -128), "Tanh": ("TANH", 1 / 128, 0)}
    kind, scale, zero = curves.get(step.kind, ("", 0.0, 0))
    if (made.scale, made.zero) != (scale, zero):
        raise refused(step, f"its table ({step.kind}) is none of TFLite's int8 functions")
    graph.node(step.name, kind, step.inputs, graph.tensor(quantised(made)), {}, 2)


def _concat(graph: Plan, program: Program, step: Concat) -> None:
    made, sides = program.values[step.output], []
    for place, (name, table) in enumerate(zip(step.inputs, step.tables, strict=True)):
        sides.append(name)
        if table is None:
            continue
        source = program.values[name]
        bounds = requantised(table, source, made)
        if bounds not in ((-128, 127), (int(table.min()), int(table.max()))) or bounds is None:
            raise refused(step, f"input {place} goes through a table that is no change of scale")
        side = graph.tensor(like(made, f"{step.output}@side{place}", source.shape))
        graph.node(step.name, "QUANTIZE", [name], side, {"table": "QuantizeOptions"}, 2)
        sides[-1] = side
    options = {"table": "ConcatenationOptions", "axis": step.axis + 1}
    graph.node(step.name, "CONCATENATION", sides, graph.tensor(quantised(made)), options, 2)


def _reshape(graph: Plan, program: Program, step: Reshape) -> None:
    made = graph.tensor(quantised(program.values[step.output]))
    sizes = np.array(graph.tensors[made].shape, np.int32)
    held = graph.constant(f"{step.output}@shape", sizes)
    options = {"table": "ReshapeOptions", "newShape": sizes.tolist()}
    graph.node(step.name, "RESHAPE", [step.inputs[0], held], made, options)


def _transpose(graph: Plan, program: Program, step: Transpose) -> None:
    made = graph.tensor(quantised(program.values[step.output]))
    order = np.array([0, *(axis + 1 for axis in step.order)], np.int32)
    held = graph.constant(f"{step.output}@order", order)
    options = {"table": "TransposeOptions"}
    graph.node(step.name, "TRANSPOSE", [step.inputs[0], held], made, options, 2)


def _layer_constants(
    graph: Plan, step: Dense | Conv, weights: Any, scales: Any, x_scale: float, axis: int
) -> list[str]:
    """Weights and bias with their scales; their names."""
    of_bias = np.float32(x_scale) * scales
    return [
        graph.constant(
            f"{step.output}@weights",
            np.ascontiguousarray(weights),
            scale=tuple(map(float, scales)),
            axis=axis,
        ),
        graph.constant(f"{step.output}@bias", step.bias, scale=tuple(map(float, of_bias))),
    ]


def _padded(
    graph: Plan,
    program: Program,
    step: Conv | MaxPool,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    fill: int,
) -> tuple[str, str]:
    """The tensor a window reads, and TFLite's name of its padding; any other is made before it."""
    source = program.values[step.inputs[0]]
    size = (source.shape[0], source.shape[1])
    fitted = window(size, kernel, step.stride, dilation, step.pad)
    if not any(fitted.pad):
        return step.inputs[0], _VALID
    if _same(size, kernel, step.stride, dilation) == (fitted.pad, fitted.out):
        return step.inputs[0], "Padding.SAME"
    top, left, bottom, right = fitted.pad
    wide = (size[0] + top + bottom, size[1] + left + right, source.shape[2])
    target = graph.tensor(like(source, f"{step.output}@padded", wide))
    edges = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    inputs = [step.inputs[0], graph.constant(f"{step.output}@edges", edges)]
    if fill == source.zero:
        graph.node(step.name, "PAD", inputs, target, {"table": "PadOptions"}, 2)
        return target, _VALID
    value = np.array([fill], np.int8)
    place = graph.constant(f"{step.output}@fill", value, scale=(source.scale,), zero=source.zero)
    graph.node(step.name, "PADV2", [*inputs, place], target, {"table": "PadV2Options"}, 2)
    return target, _VALID


def _same(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """Padding and output size of TFLite's SAME."""
    out = (-(-size[0] // stride[0]), -(-size[1] // stride[1]))
    total = [
        max(
            (out[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size[axis], 0
        )
        for axis in (0, 1)
    ]
    top, left = total[0] // 2, total[1] // 2
    return (top, left, total[0] - top, total[1] - left), out


def _within(
    graph: Plan, step: Operation, target: str, low: int, high: int, fused: bool = True
) -> None:
    """The operators that `bounded` has left to make, when `target` is not the output yet."""
    if target == step.output:
        return
    held = graph.tensors[target]
    for kind, bound in (("MAXIMUM", low), ("MINIMUM", high)):
        last = kind == "MINIMUM"
        name = step.output if last else f"{step.output}@raised"
        made = Tensor(name, held.shape, scale=held.scale, zero=held.zero)
        value = graph.constant(
            f"{name}@bound", np.array([bound], np.int8), scale=held.scale, zero=held.zero
        )
        options = {"table": "MaximumMinimumOptions"}
        graph.node(step.name, kind, [target, value], graph.tensor(made), options, 2)
        target = name


def _strides(stride: tuple[int, int]) -> dict[str, int]:
    return {"strideH": stride[0], "strideW": stride[1]}


_WRITERS: dict[type[Operation], Callable[[Plan, Program, Any], None]] = {
    Add: _add,
    AveragePool: _average,
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    MaxPool: _greatest,
    Reshape: _reshape,
    Table: _table,
    Transpose: _transpose,
}
