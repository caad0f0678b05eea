"""Pools over windows and over whole images."""

from dataclasses import replace

import numpy as np

from edge.lower.context import Context, once, refuse
from edge.lower.graph import Node
from edge.lower.images import Window, image, out_view, window
from edge.lower.requants import requant
from edge.lower.symbols import Coded, Grid, Pending, Real, Symbol
from edge.program import AveragePool, FloatPool, MaxPool, Requant


def pool(context: Context, node: Node) -> Symbol:
    """MaxPool, AveragePool, GlobalMaxPool or GlobalAveragePool."""
    source = context.symbols[node.inputs[0]]
    seen = _window(context, node)
    greatest = node.operator in ("MaxPool", "GlobalMaxPool")
    if isinstance(source, Coded):
        if greatest:
            return _max_pool(context, node, source, seen)
        shape = context.graph.shape(node.outputs[0])

        def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
            return _average(context, node, source, seen, (grid, low, high), made)

        real = once(lambda: _float_pool(context, node, context.real(node, 0), seen, greatest=False))
        return Pending(shape, coded, real)
    return _float_pool(context, node, context.real(node, 0), seen, greatest)


def _window(context: Context, node: Node) -> Window:
    given, made = context.graph.shape(node.inputs[0]), context.graph.shape(node.outputs[0])
    if node.operator.startswith("Global"):
        kernel = (1, given[1]) if len(given) == 2 else tuple(given[1:3])
        return window(node, given, made, (kernel[0], kernel[1]))
    if len(node.outputs) > 1:
        refuse(node, "the places of the greatest", "read its first output alone")
    sizes = [int(size) for size in node.attributes["kernel_shape"]]
    seen = window(node, given, made, (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1]))
    if seen.dilation != (1, 1):
        refuse(node, "dilations", "use a Conv with a dilation, or a stride")
    last = [(seen.out[axis] - 1) * seen.stride[axis] - seen.pad[axis] for axis in (0, 1)]
    if any(begin >= size for begin, size in zip(last, seen.given, strict=True)):
        refuse(node, "ceil_mode makes a window beyond the image", "write the padding out")
    if node.operator == "AveragePool" and node.attributes.get("ceil_mode", 0):
        refuse(node, "ceil_mode", "pad the input so that windows fit")
    return seen


def _max_pool(context: Context, node: Node, source: Coded, seen: Window) -> Coded:
    builder = context.builder
    given = image(builder, source)
    channels = builder.values[given].shape[2]
    made = context.int8(node.outputs[0], (*seen.out, channels), context.grid(source))
    name = builder.name(node.name)
    builder.add(MaxPool(name, (given,), made, seen.kernel, seen.stride, seen.pad))
    return Coded(made, out_view(seen, channels, context.graph.shape(node.outputs[0])))


def _average(
    context: Context,
    node: Node,
    source: Coded,
    seen: Window,
    how: tuple[Grid, int, int],
    wanted: str,
) -> Coded:
    builder = context.builder
    grid, low, high = how
    given = image(builder, source)
    value = builder.values[given]
    made = context.int8(wanted, (*seen.out, value.shape[2]), grid)
    factor = None
    if seen.is_whole:
        count = seen.kernel[0] * seen.kernel[1]
        factor = _factor(value.scale, value.zero, count, how)
    elif grid.unsigned or given in context.unsigned:
        refuse(node, "uint8 values", "quantise activations to int8")
    step = AveragePool(
        builder.name(node.name),
        (given,),
        made,
        seen.kernel,
        factor,
        seen.stride,
        seen.pad,
        bool(node.attributes.get("count_include_pad", 0)),
    )
    builder.add(step if factor is not None else replace(step, low=low, high=high))
    return Coded(made, out_view(seen, value.shape[2], context.graph.shape(node.outputs[0])))


def _factor(scale: float, zero: int, count: int, how: tuple[Grid, int, int]) -> Requant:
    """The factor of a mean over the whole image, in the order ONNX Runtime multiplies."""
    grid, low, high = how
    share = np.float32(scale) / (np.float32(grid.scale) * np.float32(count))
    reach = np.array([count * (-128 - zero)]), np.array([count * (127 - zero)])
    return requant(np.array([share], np.float32), grid, low, high, *reach)


def _float_pool(context: Context, node: Node, source: Real, seen: Window, greatest: bool) -> Real:
    builder = context.builder
    given = image(builder, source)
    channels = builder.values[given].shape[2]
    made = builder.value(node.outputs[0], (*seen.out, channels), "float32")
    builder.add(
        FloatPool(
            builder.name(node.name),
            (given,),
            made,
            "max" if greatest else "mean",
            seen.kernel,
            seen.stride,
            seen.pad,
            bool(node.attributes.get("count_include_pad", 0)),
        )
    )
    return Real(made, out_view(seen, channels, context.graph.shape(node.outputs[0])))
