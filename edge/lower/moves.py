"""Operators that move elements: they make other views, and at most one transposition later."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.lower.context import Context, once, refuse
from edge.lower.graph import Node
from edge.lower.requants import dequantized, quantized
from edge.lower.symbols import (
    Clipped,
    Coded,
    Elementwise,
    Grid,
    Known,
    Pending,
    Real,
    Symbol,
    View,
    Weights,
    whole,
)
from edge.program import Concat, FloatConcat, Int8s

Move = Callable[[NDArray[Any]], NDArray[Any]]


def passed(context: Context, node: Node) -> Symbol:
    """Identity, Dropout, and Cast to what a value is already."""
    return context.symbols[node.inputs[0]]


def reshaped(context: Context, node: Node) -> Symbol:
    """Reshape, Flatten, Squeeze and Unsqueeze."""
    symbol = context.symbols[node.inputs[0]]
    if isinstance(symbol, Known | Weights):
        refuse(node, "of a constant", "fold constants")
    shape = context.graph.shape(node.outputs[0])
    return _moved(symbol, lambda places: places.reshape(shape))


def transposed(context: Context, node: Node) -> Symbol:
    """Transpose."""
    symbol = context.symbols[node.inputs[0]]
    if isinstance(symbol, Known | Weights):
        return _transposed_constant(node, symbol)
    rank = len(symbol.shape) + 1
    order = [int(axis) for axis in node.attributes.get("perm", range(rank)[::-1])]
    shape = context.graph.shape(node.outputs[0])
    return _moved(symbol, lambda places: places[None].transpose(order).reshape(shape))


def _transposed_constant(node: Node, symbol: Known | Weights) -> Symbol:
    array = symbol.array if isinstance(symbol, Known) else symbol.stored
    order = [int(axis) for axis in node.attributes.get("perm", range(array.ndim)[::-1])]
    if isinstance(symbol, Known):
        return Known(array.transpose(order))
    return Weights(array.transpose(order), symbol.scale, order.index(symbol.axis), symbol.zero)


def gathered(context: Context, node: Node) -> Symbol:
    """Gather at constant places."""
    symbol, places = context.symbols[node.inputs[0]], context.constant(node, 1)
    if isinstance(symbol, Known | Weights) or places is None:
        refuse(node, "out of a constant, or at computed places", "gather at constant places")
    axis = _axis(node, symbol)
    return _moved(symbol, lambda held: held.take(places.astype(np.int64), axis=axis))


def sliced(context: Context, node: Node) -> Symbol:
    """Slice by constant bounds."""
    symbol = context.symbols[node.inputs[0]]
    if isinstance(symbol, Known | Weights):
        refuse(node, "of a constant", "fold constants")
    given = [context.constant(node, place) for place in (1, 2, 3, 4)]
    starts, ends, axes, steps = given
    if starts is None or ends is None:
        refuse(node, "computed bounds", "use constant bounds")
    every = range(len(starts)) if axes is None else axes
    cut = [slice(None)] * (len(symbol.shape) + 1)
    for place, axis in enumerate(every):
        step = 1 if steps is None else int(steps[place])
        end = int(ends[place])
        stop = None if step < 0 and end < -(2**30) else end
        cut[int(axis)] = slice(int(starts[place]), stop, step)
    shape = context.graph.shape(node.outputs[0])
    return _moved(symbol, lambda places: places[None][tuple(cut)].reshape(shape))


def split(context: Context, node: Node) -> Symbol:
    """Split: stores every output but the first, which it gives."""
    symbol = context.symbols[node.inputs[0]]
    if isinstance(symbol, Known | Weights):
        refuse(node, "of a constant", "fold constants")
    axis, begin = _axis(node, symbol), 0
    parts = []
    for name in node.outputs:
        end = begin + context.graph.shape(name)[axis]
        parts.append(_moved(symbol, _part(axis, begin, end)))
        begin = end
    for name, part in zip(node.outputs, parts, strict=True):
        context.symbols[name] = part
    return parts[0]


def _part(axis: int, begin: int, end: int) -> Move:
    return lambda places: places.take(range(begin, end), axis=axis)


def concat(context: Context, node: Node) -> Symbol:
    """Concat: through tables where scales differ, or in float32."""
    symbols = [context.symbols[name] for name in node.inputs]
    if any(isinstance(symbol, Known | Weights) for symbol in symbols):
        refuse(node, "of a constant", "fold constants into the layer behind")
    axis = int(node.attributes["axis"]) % (len(context.graph.shape(node.outputs[0])) + 1) - 1
    if axis < 0:
        refuse(node, "along the batch axis", "concatenate along another axis")
    parts = [context.elementwise(symbol) for symbol in symbols]
    coded_parts = [part for part in parts if part is not None]
    shape = context.graph.shape(node.outputs[0])
    real = once(lambda: _float_concat(context, node, symbols, axis, shape))
    if len(coded_parts) != len(parts):
        return real()

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        return _concat(context, node, coded_parts, axis, (grid, low, high), made)

    return Pending(shape, coded, real)


def _concat(
    context: Context,
    node: Node,
    parts: list[Elementwise],
    axis: int,
    how: tuple[Grid, int, int],
    wanted: str,
) -> Coded:
    builder = context.builder
    grid, low, high = how
    names, order = _aligned(context, [part.source for part in parts])
    tables = []
    for part in parts:
        given = context.grid(part.source)
        with np.errstate(all="ignore"):
            table: Int8s = np.clip(quantized(part.function(dequantized(given)), grid), low, high)
        same = np.array_equal(table, np.arange(-128, 128))
        tables.append(None if same else table.astype(np.int8))
    place = order.index(axis)
    shapes = [builder.values[name].shape for name in names]
    total = sum(shape[place] for shape in shapes)
    shape = (*shapes[0][:place], total, *shapes[0][place + 1 :])
    made = context.int8(wanted, shape, grid)
    builder.add(Concat(builder.name(node.name), tuple(names), made, place, tuple(tables)))
    return Coded(made, whole(made, shape).transpose(np.argsort(order)))


def _float_concat(
    context: Context, node: Node, symbols: list[Symbol], axis: int, shape: tuple[int, ...]
) -> Real:
    builder = context.builder
    reals = [builder.real(symbol, node.name) for symbol in symbols]
    names, order = _aligned(context, reals)
    place = order.index(axis)
    made = builder.value(node.outputs[0], tuple(shape[axis_] for axis_ in order), "float32")
    builder.add(FloatConcat(builder.name(node.name), tuple(names), made, place))
    return Real(made, whole(made, builder.values[made].shape).transpose(np.argsort(order)))


def _aligned(context: Context, views: list[Any]) -> tuple[list[str], list[int]]:
    """Views as values with one order of axes: that of as many as possible, so that few move."""
    builder = context.builder
    candidates = [_order(view) for view in views]
    order = max(candidates, key=candidates.count)
    names = []
    for view in views:
        turned = view.places.transpose(order)
        names.append(builder.laid(type(view)(view.name, turned), turned.shape))
    return names, list(order)


def _order(view: View) -> tuple[int, ...]:
    """The axes of a view, from those of the longest steps in memory to those of the shortest."""
    steps = []
    for axis, length in enumerate(view.shape):
        first = view.places.ravel()[0]
        step = view.places.take(1, axis=axis).ravel()[0] - first if length > 1 else 0
        steps.append(int(step))
    if not all(length > 1 for length in view.shape):
        return tuple(range(len(steps)))
    return tuple(sorted(range(len(steps)), key=lambda axis: -steps[axis]))


def _axis(node: Node, symbol: Symbol) -> int:
    """A node's axis among those behind the batch."""
    shape: tuple[int, ...] = getattr(symbol, "shape", ())
    axis = int(node.attributes.get("axis", 0)) % (len(shape) + 1) - 1
    if axis < 0:
        refuse(node, "along the batch axis", "use another axis")
    return axis


def _moved(symbol: Symbol, move: Move) -> Symbol:
    match symbol:
        case View():
            return type(symbol)(symbol.name, move(symbol.places))
        case Elementwise():
            source = Coded(symbol.source.name, move(symbol.source.places))
            return replace(symbol, source=source, real=_later(symbol.real, move))
        case Clipped():
            source_ = Real(symbol.source.name, move(symbol.source.places))
            return replace(symbol, source=source_, real=_later(symbol.real, move))
        case Pending():
            inner = symbol.coded

            def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
                view = inner(grid, low, high, made)
                return Coded(view.name, move(view.places))

            shape = move(whole("", symbol.shape)).shape
            return replace(symbol, shape=shape, coded=coded, real=_later(symbol.real, move))
    return symbol


def _later(real: Callable[[], Real], move: Move) -> Callable[[], Real]:
    def made() -> Real:
        view = real()
        return Real(view.name, move(view.places))

    return once(made)
