"""QuantizeLinear and DequantizeLinear: where real numbers become int8, and weights their scales."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.lower.context import Context, unquantised
from edge.lower.graph import Node
from edge.lower.requants import dequantized, quantized, stored
from edge.lower.symbols import (
    Clipped,
    Coded,
    Elementwise,
    Grid,
    Known,
    Pending,
    Real,
    Symbol,
    Weights,
    whole,
)
from edge.program import Quantize, Table


def quantize(context: Context, node: Node) -> Symbol:
    """QuantizeLinear: takes the operation before it into int8, where that can be."""
    grid = grid_of(context, node)
    symbol = context.symbols[node.inputs[0]]
    made = node.outputs[0]
    match symbol:
        case Coded() if _same(context.grid(symbol), grid):
            return symbol
        case Coded() | Elementwise():
            function = context.elementwise(symbol)
            return symbol if function is None else _table(context, node, function, grid)
        case Pending():
            low, high = stored(symbol.low, grid), stored(symbol.high, grid)
            return symbol.coded(grid, low, high, made)
        case Known():
            return Known(quantized(symbol.array, grid))
        case Clipped():
            low, high = stored(symbol.low, grid), stored(symbol.high, grid)
            return _quantize(context, node, symbol.source, grid, low, high)
    return _quantize(context, node, context.real(node, 0), grid, -128, 127)


def dequantize(context: Context, node: Node) -> Symbol:
    """DequantizeLinear: weights with their scales, or the real numbers of an int8 value."""
    symbol = context.symbols[node.inputs[0]]
    if isinstance(symbol, Known):
        return _weights(context, node, symbol.array)
    grid = grid_of(context, node)
    if not isinstance(symbol, Coded):
        unquantised(f"node {node.name!r}", "a DequantizeLinear of what is not int8")
    if not _same(context.grid(symbol), grid):
        unquantised(f"node {node.name!r}", "another scale or zero point than its QuantizeLinear's")
    return symbol


def _same(one: Grid, other: Grid) -> bool:
    return (one.scale, one.zero) == (other.scale, other.zero)


def grid_of(context: Context, node: Node) -> Grid:
    """The scale and zero point of an activation.

    Args:
        context: The graph.
        node: A QuantizeLinear or a DequantizeLinear.
    """
    where = f"node {node.name!r}"
    scale, zero = context.constant(node, 1), context.constant(node, 2)
    if scale is None or (node.input(2) and zero is None):
        unquantised(where, "a scale or zero point that is computed")
    if scale.size != 1 or (zero is not None and zero.size != 1):
        unquantised(where, f"an activation with {scale.size} scales")
    if not 0 < scale.reshape(-1)[0] < np.inf:
        unquantised(where, f"a scale of {scale.reshape(-1)[0]}")
    kind = np.dtype(np.uint8) if zero is None else zero.dtype
    if kind not in (np.dtype(np.int8), np.dtype(np.uint8)):
        unquantised(where, f"{kind} activations")
    unsigned = kind == np.dtype(np.uint8)
    stored_zero = 0 if zero is None else int(zero.reshape(-1)[0])
    return Grid(float(scale.reshape(-1)[0]), stored_zero - (128 if unsigned else 0), unsigned)


def _weights(context: Context, node: Node, array: NDArray[Any]) -> Weights:
    where = f"node {node.name!r}"
    scale, zero = context.constant(node, 1), context.constant(node, 2)
    if scale is None or (node.input(2) and zero is None):
        unquantised(where, "a scale or zero point that is computed")
    if not ((scale >= 0) & (scale < np.inf)).all():
        unquantised(where, "a scale that is negative or not finite")
    if array.dtype not in (np.dtype(np.int8), np.dtype(np.int32)):
        unquantised(where, f"{array.dtype} weights")
    if zero is not None and zero.size > 1 and zero.any():
        unquantised(where, "weights with zero points of their own")
    axis = int(node.attributes.get("axis", 1)) % max(array.ndim, 1)
    if scale.size > 1 and scale.shape != (array.shape[axis],):
        unquantised(where, f"scales {list(scale.shape)} along axis {axis} of {list(array.shape)}")
    one_zero = 0 if zero is None else int(zero.reshape(-1)[0])
    return Weights(array, np.asarray(scale, np.float32).reshape(-1), axis, one_zero)


def _quantize(context: Context, node: Node, source: Real, grid: Grid, low: int, high: int) -> Coded:
    builder = context.builder
    if not builder.can_turn(source):
        # Nothing picks among int8 values, so that it is done before.
        source = Real(builder.standard(source), whole("", source.shape))
    made = context.int8(node.outputs[0], builder.values[source.name].shape, grid)
    builder.add(Quantize(builder.name(node.name), (source.name,), made, low, high))
    return Coded(made, source.places)


def _table(context: Context, node: Node, function: Elementwise, grid: Grid) -> Coded:
    builder, source = context.builder, function.source
    with np.errstate(all="ignore"):
        reals = function.function(dequantized(context.grid(source)))
    table, kind, given = quantized(reals, grid), function.kind, source.name
    before = builder.maker(given)
    if isinstance(before, Table):
        # Two tables are one; the first goes if nobody else reads it.
        table, kind = table[before.table.astype(np.int16) + 128], f"{before.kind} {kind}"
        given = before.inputs[0]
    made = context.int8(node.outputs[0], builder.values[given].shape, grid)
    builder.add(Table(builder.name(node.name), (given,), made, table, kind))
    return Coded(made, source.places)
