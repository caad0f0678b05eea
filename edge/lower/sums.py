"""Sums of int8 values: of two, or of one and a constant that a quantiser left beside a layer."""

from collections.abc import Callable

import numpy as np

from edge.lower.context import Context, once, refuse
from edge.lower.graph import Node
from edge.lower.requants import factors, requant
from edge.lower.symbols import Coded, Grid, Pending, Real, Weights, whole
from edge.program import Add, Conv, Int8s

IN_INT8 = ("Add", "Mul")
"""What ONNX Runtime takes in integers between int8 values; all else in float32, as here."""


def of_two(
    context: Context, node: Node, left: Coded, right: Coded, real: Callable[[], Real]
) -> Pending:
    """QLinearAdd, where a QuantizeLinear follows.

    Args:
        context: The graph.
        node: An Add; a Mul is refused when it is to become int8.
        left: Its first input.
        right: Its second input.
        real: Makes the same in float32.
    """
    shape = np.broadcast_shapes(left.shape, right.shape)

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        if node.operator != "Add" or left.shape != right.shape:
            _refused(node)
        return _sum(context, node, left, right, grid, (low, high), made)

    return Pending(shape, coded, once(real))


def of_constant(
    context: Context,
    node: Node,
    parts: tuple[Coded, Weights, bool],
    real: Callable[[], Real],
) -> Pending:
    """QLinearAdd with a quantised constant, such as the bias of a MatMul.

    Args:
        context: The graph.
        node: An Add; a Mul is refused when it is to become int8.
        parts: The value, the constant, and whether the constant comes first.
        real: Makes the same in float32.
    """
    source, constant, first = parts
    stored = constant.stored
    while stored.ndim > len(source.shape) and stored.shape[0] == 1:
        stored = stored[0]
    shape = np.broadcast_shapes(source.shape, stored.shape)

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        # ONNX Runtime adds single numbers by another formula than rows.
        in_rows = stored.ndim > 0 and stored.shape[-1] == source.shape[-1] > 1
        if node.operator != "Add" or not in_rows or shape != source.shape:
            _refused(node)
        if stored.dtype != np.int8 or constant.scale.size != 1:
            refuse(
                node, f"a constant of {stored.dtype}", "quantise constants to int8, by one scale"
            )
        held = _held(context, node, source, np.broadcast_to(stored, shape), constant)
        pair = (held, source) if first else (source, held)
        return _sum(context, node, *pair, grid, (low, high), made)

    return Pending(shape, coded, once(real))


def _held(context: Context, node: Node, source: Coded, stored: Int8s, like: Weights) -> Coded:
    """A constant as a value: what a depthwise convolution without weights makes of any input."""
    builder, size = context.builder, stored.size
    given = builder.reshaped(builder.standard(source), (1, 1, size))
    grid = Grid(float(like.scale[0]), like.zero)
    made = context.int8(f"{node.name}/constant", (1, 1, size), grid)
    bias = (stored.ravel().astype(np.int32) - grid.zero) << 8
    scale = np.array([2.0**-8], np.float32)
    reach = np.array([bias.min()], np.int64), np.array([bias.max()], np.int64)
    how = requant(scale, grid, -128, 127, *reach)
    weights = np.zeros((size, 1, 1, 1), np.int8)
    builder.add(Conv(builder.name(made), (given,), made, weights, bias, how, groups=size))
    return Coded(made, whole(made, stored.shape))


def _refused(node: Node) -> None:
    refuse(
        node,
        "between int8 values, where it broadcasts, multiplies or adds a single number",
        "fold constants into the layer before, add values of one shape, or leave its result in "
        "float",
    )


def _sum(
    context: Context,
    node: Node,
    left: Coded,
    right: Coded,
    grid: Grid,
    bounds: tuple[int, int],
    wanted: str,
) -> Coded:
    """QLinearAdd: its factors and constant part are made as ONNX Runtime's AVX2 kernel does."""
    builder = context.builder
    one, other = context.grid(left), context.grid(right)
    if one.unsigned or other.unsigned or grid.unsigned:
        refuse(node, "uint8 values", "quantise activations to int8")
    if left.places.size != builder.values[left.name].size:
        left = Coded(builder.standard(left), whole(left.name, left.shape))
    shape = builder.values[left.name].shape
    order = np.argsort(left.places.ravel())
    aligned = Coded(right.name, right.places.ravel()[order].reshape(shape))
    second = builder.laid(aligned, shape)
    scales = [np.float32(item.scale) / np.float32(grid.scale) for item in (one, other)]
    part = np.float64(np.float32(scales[1] * np.float32(other.zero)))
    fixed = np.float32(np.float32(grid.zero) - np.float32(np.float64(scales[0]) * one.zero + part))
    numbers = float(scales[0]), float(scales[1]), float(fixed)
    name, made = builder.name(node.name), context.int8(wanted, shape, grid)
    found = factors(*numbers, *bounds)
    builder.add(Add(name, (left.name, second), made, *numbers, *bounds, found))
    return Coded(made, left.places)
