"""Functions of one element, and of two values element by element."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.lower import floats
from edge.lower.context import Context, once, refuse, scalar
from edge.lower.graph import Node
from edge.lower.requants import factors
from edge.lower.symbols import (
    Coded,
    Elementwise,
    Grid,
    Known,
    Pending,
    Real,
    Symbol,
    Weights,
)
from edge.program import Add, FloatKind, Floats

Function = Callable[[Floats], Floats]
Attributes = Mapping[str, Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _precise(compute: Callable[[NDArray[np.float64]], NDArray[Any]]) -> Function:
    """Computed in float64, rounded to float32 once."""

    def function(reals: Floats) -> Floats:
        with np.errstate(all="ignore"):
            return np.asarray(compute(reals.astype(np.float64)), np.float32)

    return function


def _hard_sigmoid(attributes: Attributes) -> Function:
    slope, offset = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)

    def function(reals: Floats) -> Floats:
        made = reals * np.float32(slope) + np.float32(offset)
        return np.asarray(np.clip(made, np.float32(0), np.float32(1)))

    return function


def _leaky(attributes: Attributes) -> Function:
    slope = np.float32(attributes.get("alpha", 0.01))
    return lambda reals: np.where(reals >= 0, reals, reals * slope)


def _hard_swish(_: Attributes) -> Function:
    gate = _hard_sigmoid({"alpha": 1 / 6, "beta": 0.5})
    return lambda reals: reals * gate(reals)


def _elu(attributes: Attributes) -> Function:
    alpha = float(attributes.get("alpha", 1.0))
    return _precise(lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0))))


FUNCTIONS: dict[str, Callable[[Attributes], Function]] = {
    "Relu": lambda _: lambda reals: np.maximum(reals, np.float32(0)),
    "LeakyRelu": _leaky,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _hard_swish,
    "Neg": lambda _: lambda reals: -reals,
    "Abs": lambda _: lambda reals: np.abs(reals),
    "Sqrt": lambda _: lambda reals: np.sqrt(reals),
    "Exp": lambda _: _precise(np.exp),
    "Sigmoid": lambda _: _precise(lambda x: 1 / (1 + np.exp(-x))),
    "Tanh": lambda _: _precise(np.tanh),
    "Erf": lambda _: _precise(_erf),
    "Elu": _elu,
    "Softplus": lambda _: _precise(lambda x: np.logaddexp(x, 0)),
    "Softsign": lambda _: _precise(lambda x: x / (1 + np.abs(x))),
}
"""ONNX operator -> its function by the node's attributes; of int8 each is a table."""

BINARY: dict[str, FloatKind] = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Max": "max",
    "Min": "min",
    "Greater": "greater",
    "Equal": "equal",
}
"""ONNX operator -> kind of `FloatBinary`."""

_NUMPY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
}

_IN_INT8 = ("Add", "Mul")
"""What ONNX Runtime takes in integers between int8 values; all else in float32, as here."""


def unary(context: Context, node: Node) -> Symbol:
    """A function of every element: a table of an int8 value, bounds, or in float32."""
    symbol = context.symbols[node.inputs[0]]
    if node.operator == "Relu" and not isinstance(symbol, Coded | Elementwise):
        return _within(context, node, symbol, 0.0, np.inf)
    return _applied(context, node, symbol, FUNCTIONS[node.operator](node.attributes))


def clip(context: Context, node: Node) -> Symbol:
    """Clip, by constant bounds."""
    bounds = [-np.inf, np.inf]
    for place in (1, 2):
        if node.input(place):
            bound = context.constant(node, place)
            if bound is None:
                refuse(node, "bounds that are computed", "use constant bounds")
            bounds[place - 1] = scalar(bound)
    low, high = bounds
    symbol = context.symbols[node.inputs[0]]
    if not isinstance(symbol, Coded | Elementwise):
        return _within(context, node, symbol, low, high)

    def function(reals: Floats) -> Floats:
        return np.asarray(np.clip(reals, np.float32(low), np.float32(high)))

    return _applied(context, node, symbol, function, (low, high))


def _applied(
    context: Context,
    node: Node,
    symbol: Symbol,
    function: Function,
    bounds: tuple[float, float] | None = None,
) -> Symbol:
    inner = context.elementwise(symbol)
    if inner is None:
        return floats.function(context, context.builder.real(symbol, node.name), node)

    def real() -> Real:
        if bounds is not None:
            return floats.bounded(context, inner.real(), *bounds, node)
        return floats.function(context, inner.real(), node)

    kind = node.operator if inner.kind == "Requantize" else f"{inner.kind} {node.operator}"
    return Elementwise(
        inner.source, lambda reals: function(inner.function(reals)), kind, once(real)
    )


def _within(context: Context, node: Node, symbol: Symbol, low: float, high: float) -> Symbol:
    """Bounds of what is not int8 yet: the QuantizeLinear behind takes them in."""
    if isinstance(symbol, Pending):
        inner = symbol

        def real() -> Real:
            return floats.bounded(context, inner.real(), low, high, node)

        # A Clip moves bounds that a Clip before it has left: max first, then min.
        least = min(max(inner.low, low), high)
        most = min(max(inner.high, low), high)
        return replace(inner, low=least, high=most, real=once(real))
    return context.clipped(symbol, low, high, node)


def binary(context: Context, node: Node) -> Symbol:
    """Two values, or one and a constant."""
    if node.operator == "Less":
        swapped = (node.inputs[1], node.inputs[0])
        return binary(context, replace(node, operator="Greater", inputs=swapped))
    if len(node.inputs) != 2:
        refuse(node, f"{len(node.inputs)} inputs", "use one node for every two values")
    symbols = [context.symbols[name] for name in node.inputs]
    constants = [symbol for symbol in symbols if isinstance(symbol, Known | Weights)]
    if len(constants) == 2:
        made = _NUMPY.get(node.operator)
        if made is None:
            refuse(node, "two constants", "fold constants")
        return Known(np.asarray(made(constants[0].array, constants[1].array), np.float32))
    if constants:
        return _one_constant(context, node, symbols)
    if node.operator in _NUMPY and (both := _one_source(context, symbols, node)) is not None:
        return both
    if all(isinstance(symbol, Coded) for symbol in symbols) and node.operator in _IN_INT8:
        return _two_coded(context, node, [s for s in symbols if isinstance(s, Coded)])
    return _in_float(context, node)


def _in_float(context: Context, node: Node) -> Real:
    left, right = context.real(node, 0), context.real(node, 1)
    return floats.pair(context, left, right, BINARY[node.operator], node)


def _one_constant(context: Context, node: Node, symbols: list[Symbol]) -> Symbol:
    first = isinstance(symbols[0], Known | Weights)
    constant, other = symbols if first else symbols[::-1]
    if not isinstance(constant, Known | Weights):
        raise TypeError(type(constant).__name__)
    array = np.asarray(constant.array, np.float32)
    kind = BINARY[node.operator]

    def in_float(source: Real) -> Real:
        return floats.with_constant(context, source, kind, array, first, node)

    inner = context.elementwise(other)
    if inner is None or array.size != 1 or node.operator not in _NUMPY:
        return in_float(context.builder.real(other, node.name))
    if isinstance(constant, Weights) and node.operator in _IN_INT8:
        return _not_in_int8(context, node, inner.source.shape, lambda: in_float(inner.real()))
    apply, number = _NUMPY[node.operator], np.float32(scalar(array))

    def function(reals: Floats) -> Floats:
        given = inner.function(reals)
        return np.asarray(apply(number, given) if first else apply(given, number), np.float32)

    kind_ = node.operator if inner.kind == "Requantize" else f"{inner.kind} {node.operator}"
    return Elementwise(inner.source, function, kind_, once(lambda: in_float(inner.real())))


def _one_source(context: Context, symbols: list[Symbol], node: Node) -> Elementwise | None:
    """Two functions of one int8 value, such as x * sigmoid(x): together a function of it."""
    left, right = (context.elementwise(symbol) for symbol in symbols)
    if left is None or right is None or all(isinstance(symbol, Coded) for symbol in symbols):
        return None
    if left.source.name != right.source.name or not left.source.same_places(right.source):
        return None
    one, other, apply = left.function, right.function, _NUMPY[node.operator]

    def real() -> Real:
        return floats.pair(context, left.real(), right.real(), BINARY[node.operator], node)

    kinds = " ".join(item.kind for item in (left, right) if item.kind != "Requantize")
    return Elementwise(
        left.source,
        lambda reals: np.asarray(apply(one(reals), other(reals)), np.float32),
        f"{kinds} {node.operator}",
        once(real),
    )


def _two_coded(context: Context, node: Node, symbols: list[Coded]) -> Pending:
    left, right = symbols
    shape = np.broadcast_shapes(left.shape, right.shape)
    real = once(lambda: _in_float(context, node))
    if node.operator != "Add" or left.shape != right.shape:
        return _not_in_int8(context, node, shape, real)

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        return _sum(context, node, left, right, grid, (low, high), made)

    return Pending(shape, coded, real)


def _not_in_int8(
    context: Context, node: Node, shape: tuple[int, ...], real: Callable[[], Real]
) -> Pending:
    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        refuse(
            node,
            "between int8 values, with a quantised constant, broadcasting or two values",
            "fold constants into the layer before, add values of one shape, or leave its result "
            "in float",
        )

    return Pending(shape, coded, once(real))


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
    shape = builder.values[left.name].shape
    order = np.argsort(left.places.ravel())
    aligned = Coded(right.name, right.places.ravel()[order].reshape(shape))
    second = builder.laid(aligned, shape)
    scales = [np.float32(item.scale) / np.float32(grid.scale) for item in (one, other)]
    part = np.float64(np.float32(scales[1] * np.float32(other.zero)))
    fixed = np.float32(np.float32(grid.zero) - np.float32(np.float64(scales[0]) * one.zero + part))
    numbers = float(scales[0]), float(scales[1]), float(fixed)
    made = context.int8(wanted, shape, grid)
    builder.add(
        Add(
            builder.name(node.name),
            (left.name, second),
            made,
            *numbers,
            *bounds,
            factors(*numbers, *bounds),
        )
    )
    return Coded(made, left.places)
