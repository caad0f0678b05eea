"""Operations that stay in float32: before the first int8 value, after the last, and in between."""

import numpy as np
from numpy.typing import NDArray

from edge.lower.context import Context, refuse
from edge.lower.graph import Node
from edge.lower.symbols import Real, whole
from edge.program import FloatBinary, FloatKind, Floats, FloatUnary

UNARY = {
    "Relu": "relu",
    "Neg": "neg",
    "Abs": "abs",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}
"""ONNX operator -> kind of `FloatUnary`."""


def complete(context: Context, source: Real) -> Real:
    """The same, in a value that holds nothing else."""
    builder = context.builder
    if source.places.size == builder.values[source.name].size:
        return source
    return Real(builder.standard(source), whole("", source.shape))


def unary(context: Context, source: Real, kind: str, node: Node) -> Real:
    """A function of every element."""
    builder, source = context.builder, complete(context, source)
    made = builder.value(node.outputs[0], builder.values[source.name].shape, "float32")
    step = FloatUnary(builder.name(node.name), (source.name,), made, kind)  # type: ignore[arg-type]
    builder.add(step)
    return Real(made, source.places)


def with_constant(
    context: Context, source: Real, kind: FloatKind, constant: Floats, first: bool, node: Node
) -> Real:
    """A value and a constant, broadcast as ONNX does over the axes behind the batch."""
    builder = context.builder
    constant = np.asarray(constant, np.float32)
    while constant.ndim > len(source.shape) and constant.shape[0] == 1:
        constant = constant[0]
    shape = np.broadcast_shapes(source.shape, constant.shape)
    if constant.size == 1 or shape == source.shape:
        source = complete(context, source)
        value = builder.values[source.name]
        held = _as_laid(constant, source, value.shape)
        made = builder.value(node.outputs[0], value.shape, "float32")
        places = source.places
    else:
        rank = len(shape)
        source = Real(builder.standard(source), whole("", source.shape))
        held = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
        made = builder.value(node.outputs[0], shape, "float32")
        places = whole("", shape)
    name = builder.name(node.name)
    builder.add(FloatBinary(name, (source.name,), made, kind, held, first))
    return Real(made, places)


def _as_laid(constant: Floats, source: Real, shape: tuple[int, ...]) -> Floats:
    """A constant in the order a value's elements lie in, as small as broadcasting lets it be."""
    if constant.size == 1:
        return constant.reshape((1,) * len(shape))
    held = np.empty(int(np.prod(shape, dtype=np.int64)), np.float32)
    held[source.places.ravel()] = np.broadcast_to(constant, source.shape).ravel()
    held = held.reshape(shape)
    for axis in range(len(shape)):
        first = held.take([0], axis=axis)
        if np.array_equal(np.broadcast_to(first, held.shape), held, equal_nan=True):
            held = first
    return held


def pair(context: Context, left: Real, right: Real, kind: FloatKind, node: Node) -> Real:
    """Two values, broadcast."""
    builder = context.builder
    same = builder.values[left.name].shape == builder.values[right.name].shape
    if same and left.same_places(right):
        left, right = complete(context, left), complete(context, right)
        shape, places = builder.values[left.name].shape, left.places
    else:
        shape = np.broadcast_shapes(left.shape, right.shape)
        left = Real(builder.standard(left), whole("", left.shape))
        right = Real(builder.standard(right), whole("", right.shape))
        places = whole("", shape)
    made = builder.value(node.outputs[0], shape, "float32")
    builder.add(FloatBinary(builder.name(node.name), (left.name, right.name), made, kind))
    return Real(made, places)


def bounded(context: Context, source: Real, low: float, high: float, node: Node) -> Real:
    """A value kept within bounds; an infinite bound costs nothing."""
    if (low, high) == (0.0, np.inf):
        return unary(context, source, "relu", node)
    if low > -np.inf:
        source = with_constant(context, source, "max", _number(low), False, node)
    if high < np.inf:
        source = with_constant(context, source, "min", _number(high), False, node)
    return source


def function(context: Context, source: Real, node: Node) -> Real:
    """A node's function of every element."""
    if node.operator in UNARY:
        return unary(context, source, UNARY[node.operator], node)
    if node.operator == "LeakyRelu":
        slope = float(node.attributes.get("alpha", 0.01))
        if not 0 <= slope <= 1:
            refuse(node, f"a slope of {slope} in float", "use a slope between 0 and 1")
        steep = with_constant(context, source, "mul", _number(slope), False, node)
        return pair(context, source, steep, "max", node)
    if node.operator in ("HardSigmoid", "HardSwish"):
        swish = node.operator == "HardSwish"
        slope = 1 / 6 if swish else float(node.attributes.get("alpha", 0.2))
        offset = 0.5 if swish else float(node.attributes.get("beta", 0.5))
        made = with_constant(context, source, "mul", _number(slope), False, node)
        made = with_constant(context, made, "add", _number(offset), False, node)
        made = bounded(context, made, 0.0, 1.0, node)
        return pair(context, source, made, "mul", node) if swish else made
    if node.operator == "Elu":
        below = with_constant(context, source, "min", _number(0), False, node)
        below = unary(context, below, "exp", node)
        below = with_constant(context, below, "sub", _number(1), False, node)
        alpha = float(node.attributes.get("alpha", 1.0))
        below = with_constant(context, below, "mul", _number(alpha), False, node)
        return pair(context, unary(context, source, "relu", node), below, "add", node)
    refuse(node, "it stays in float here", "put it between int8 values, or use Sigmoid or Tanh")


def _number(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)
