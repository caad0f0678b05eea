"""Functions of one element, and of two values element by element."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.lower import floats, sums
from edge.lower.context import Context, once, refuse, scalar
from edge.lower.graph import Node
from edge.lower.symbols import (
    Clipped,
    Coded,
    Elementwise,
    Known,
    Pending,
    Real,
    Symbol,
    Weights,
)
from edge.program import FloatKind, Floats

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
    source = context.builder.real(symbol, node.name)
    return Clipped(
        source, low, high, once(lambda: floats.bounded(context, source, low, high, node))
    )


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
    if node.operator in sums.IN_INT8:
        left, right = symbols
        if isinstance(left, Coded) and isinstance(right, Coded):
            return sums.of_two(context, node, left, right, lambda: _in_float(context, node))
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
    if isinstance(constant, Weights) and isinstance(other, Coded) and node.operator in sums.IN_INT8:
        source = other
        return sums.of_constant(
            context,
            node,
            (source, constant, first),
            lambda: in_float(context.real(node, int(first))),
        )
    if inner is None or array.size != 1 or node.operator not in _NUMPY:
        return in_float(context.builder.real(other, node.name))
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
