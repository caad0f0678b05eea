"""What mostly stands at a graph's ends: imputing, sums over axes, Softmax, ArgMax."""

import numpy as np

from edge.lower import floats
from edge.lower.context import Context, once, refuse
from edge.lower.graph import Node
from edge.lower.symbols import Coded, Grid, NanMask, Pending, Real, Symbol, View, Whole, whole
from edge.program import ArgMax, FloatImpute, FloatReduce, FloatSoftmax, Softmax
from firnline.errors import HandshakeError

REDUCTIONS = {
    "ReduceSum": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceSumSquare": "sum",
    "ReduceL2": "sum",
}
"""ONNX operator -> kind of `FloatReduce`."""


def is_nan(context: Context, node: Node) -> Symbol:
    """IsNaN: for a Where behind it."""
    real = context.real(node, 0)
    return NanMask(real.name, real.places)


def where(context: Context, node: Node) -> Symbol:
    """Where(IsNaN(x), constant, x)."""
    mask, fill = context.symbols[node.inputs[0]], context.constant(node, 1)
    if not isinstance(mask, NanMask) or fill is None:
        refuse(node, "another condition than IsNaN", "use it as Where(IsNaN(x), constant, x)")
    source = context.real(node, 2)
    if source.name != mask.name or not source.same_places(mask):
        refuse(node, "the condition is of another value", "use Where(IsNaN(x), constant, x)")
    builder = context.builder
    given = builder.standard(source)
    fill = np.asarray(fill, np.float32)
    fill = fill.reshape(fill.shape[1:] if fill.ndim > len(source.shape) else fill.shape)
    made = builder.value(node.outputs[0], source.shape, "float32")
    held = fill.reshape((1,) * (len(source.shape) - fill.ndim) + fill.shape)
    builder.add(FloatImpute(builder.name(node.name), (given,), made, held))
    return Real(made, whole(made, source.shape))


def cast(context: Context, node: Node) -> Symbol:
    """Cast to float32 of what is real or a truth value; of whole numbers to whole numbers."""
    symbol = context.symbols[node.inputs[0]]
    to = int(node.attributes["to"])
    if to in (6, 7) and isinstance(symbol, Whole):
        return symbol
    if to != 1 or isinstance(symbol, Whole | NanMask):
        refuse(node, f"to ONNX type {to}", "keep real numbers in float32")
    return symbol


def power(context: Context, node: Node) -> Symbol:
    """Pow by 2 or by one half."""
    exponent = context.constant(node, 1)
    source = context.real(node, 0)
    if exponent is None or exponent.size != 1 or float(exponent.reshape(-1)[0]) not in (2.0, 0.5):
        refuse(node, "another exponent than 2 or 0.5", "use Mul, Sqrt or Exp")
    if float(exponent.reshape(-1)[0]) == 2.0:
        return floats.pair(context, source, source, "mul", node)
    return floats.unary(context, source, "sqrt", node)


def reduce(context: Context, node: Node) -> Symbol:
    """A sum, mean or greatest over axes."""
    source = context.real(node, 0)
    axes = _axes(context, node, len(source.shape))
    if node.operator in ("ReduceSumSquare", "ReduceL2"):
        source = floats.pair(context, source, source, "mul", node)
    view, rest = _last(source, axes)
    builder = context.builder
    given = builder.laid(view, view.shape)
    made = builder.value(node.outputs[0], (*rest, 1), "float32")
    kind = REDUCTIONS[node.operator]
    builder.add(FloatReduce(builder.name(node.name), (given,), made, kind))  # type: ignore[arg-type]
    shape = context.graph.shape(node.outputs[0])
    reduced = Real(made, whole(made, shape))
    return floats.unary(context, reduced, "sqrt", node) if node.operator == "ReduceL2" else reduced


def softmax(context: Context, node: Node) -> Symbol:
    """Softmax over one axis: QLinearSoftmax between int8 values, else in float32."""
    source = context.symbols[node.inputs[0]]
    shape = context.graph.shape(node.outputs[0])
    axis = int(node.attributes.get("axis", -1)) % (len(shape) + 1) - 1
    if axis < 0:
        refuse(node, "along the batch axis", "use another axis")

    @once
    def real() -> Real:
        given, back = _axis_last(context, context.builder.real(source, node.name), axis)
        made = context.builder.like(given, context.builder.values[given].shape, node.outputs[0])
        context.builder.add(FloatSoftmax(context.builder.name(node.name), (given,), made))
        return Real(made, back)

    if not isinstance(source, Coded):
        return real()

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        return _softmax(context, node, source, axis, grid, made)

    return Pending(shape, coded, real)


def _softmax(
    context: Context, node: Node, source: Coded, axis: int, grid: Grid, wanted: str
) -> Coded:
    if grid.unsigned or source.name in context.unsigned:
        refuse(node, "uint8 values", "quantise activations to int8")
    builder = context.builder
    given, back = _axis_last(context, source, axis)
    value = builder.values[given]
    levels = int(np.floor(np.float32(1) / np.float32(grid.scale)))
    # As large as it can be without a row's sum leaving float32; 5 is ONNX Runtime's reserve.
    top = max(0.0, float(np.log(np.finfo(np.float32).max / np.float32(value.shape[-1]))) - 5)
    scale = float(np.float32(value.scale))
    table = np.exp((np.arange(256.0) - 255 + top / scale) * scale).astype(np.float32)
    made = context.int8(wanted, value.shape, grid)
    builder.add(Softmax(builder.name(node.name), (given,), made, table, levels))
    return Coded(made, back)


def argmax(context: Context, node: Node) -> Symbol:
    """Place of the greatest along one axis: of int8 as of the real numbers it holds."""
    if node.attributes.get("select_last_index", 0):
        refuse(node, "the last of several greatest", "take the first: select_last_index = 0")
    symbol = context.symbols[node.inputs[0]]
    source: View = symbol if isinstance(symbol, Coded) else context.real(node, 0)
    axis = int(node.attributes.get("axis", 0)) % (len(source.shape) + 1) - 1
    if axis < 0:
        refuse(node, "along the batch axis", "use another axis")
    builder = context.builder
    view, rest = _last(source, [axis])
    given = builder.laid(view, view.shape)
    made = builder.value(node.outputs[0], rest or (1,), "int32")
    builder.add(ArgMax(builder.name(node.name), (given,), made))
    return Whole(made, whole(made, context.graph.shape(node.outputs[0])))


def _last(source: View, axes: list[int]) -> tuple[View, tuple[int, ...]]:
    """A view whose last axis is all the given ones, and the shape of the others."""
    others = [axis for axis in range(len(source.shape)) if axis not in axes]
    rest = tuple(source.shape[axis] for axis in others)
    places = source.places.transpose(others + axes).reshape(*rest, -1)
    return type(source)(source.name, places), rest


def _axis_last(
    context: Context, source: View, axis: int
) -> tuple[str, "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"]:
    """A value with one axis last, and where what is made of it has its elements."""
    order = [other for other in range(len(source.shape)) if other != axis] + [axis]
    turned = source.places.transpose(order)
    given = context.builder.laid(type(source)(source.name, turned), turned.shape)
    return given, whole(given, turned.shape).transpose(np.argsort(order))


def _axes(context: Context, node: Node, rank: int) -> list[int]:
    """A reduction's axes among those behind the batch, ascending."""
    held = context.constant(node, 1)
    listed = node.attributes.get("axes") if held is None else held.reshape(-1).tolist()
    if not listed:
        listed = range(rank + 1)
    axes = sorted(int(axis) % (rank + 1) - 1 for axis in listed)
    if axes[0] < 0:
        raise HandshakeError(
            "E22",
            found=f"{node.operator} over the batch axis",
            where=f"node {node.name!r}",
            mend="name the axes behind the batch",
        )
    return axes
