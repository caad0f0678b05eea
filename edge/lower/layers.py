"""Gemm, MatMul and Conv: on int8 where weights and input are, else in float32."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.lower.context import Context, once, refuse, unquantised
from edge.lower.graph import Node
from edge.lower.images import Window, image, out_view, window
from edge.lower.requants import requant
from edge.lower.symbols import Coded, Grid, Known, Pending, Real, Symbol, Weights, whole
from edge.program import Conv, Dense, FloatConv, FloatDense, Floats, Int8s, Int32s, bounds
from edge.quantize.portable import combined
from firnline.errors import HandshakeError


@dataclass(frozen=True, eq=False)
class _Parts:
    """A layer's constants, output channels first.

    Attributes:
        weights: Integers or float32, [channels, ...].
        bias: As the graph holds it; None where there is none.
        scale: float32 [channels] of integer weights, else None.
    """

    weights: NDArray[Any]
    bias: Known | Weights | None
    scale: Floats | None

    @property
    def real_weights(self) -> Floats:
        """Weights in float32."""
        weights = self.weights.astype(np.float32)
        if self.scale is None:
            return weights
        return np.asarray(weights * self.scale.reshape(-1, *[1] * (weights.ndim - 1)))

    @property
    def real_bias(self) -> Floats:
        """Biases in float32."""
        if self.bias is None:
            return np.zeros(len(self.weights), np.float32)
        return np.asarray(self.bias.array, np.float32).reshape(-1)


def dense(context: Context, node: Node) -> Symbol:
    """Gemm, or MatMul with constant weights."""
    gemm = node.operator == "Gemm"
    if gemm:
        _plain_gemm(node)
    rows_last = bool(gemm and node.attributes.get("transB", 0))
    parts = _parts(context, node, 2 if gemm else None, 0 if rows_last else 1)
    if parts.weights.ndim != 2:
        refuse(node, f"weights of {parts.weights.ndim} axes", "use weights of two axes")
    source = context.symbols[node.inputs[0]]
    shape = context.graph.shape(node.outputs[0])
    if not isinstance(source, Coded) or parts.scale is None:
        given = context.builder.real(source, node.name)
        return _float_dense(context, node, given, parts, shape)

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        given, weights, rows = _absorbed(context, source, parts.weights)
        output = context.int8(made, (*rows, len(weights)), grid)
        return _dense(context, node, given, weights, parts, (grid, low, high), output, shape)

    @once
    def real() -> Real:
        given, weights, rows = _absorbed(context, source, parts.weights)
        output = context.builder.value(node.outputs[0], (*rows, len(weights)), "float32")
        made = _dense(context, node, given, weights, parts, None, output, shape)
        return Real(made.name, made.places)

    return Pending(shape, coded, real)


def _dense(
    context: Context,
    node: Node,
    given: str,
    weights: Int8s,
    parts: _Parts,
    how: tuple[Grid, int, int] | None,
    output: str,
    shape: tuple[int, ...],
) -> Coded:
    builder = context.builder
    value = builder.values[given]
    bias = _integer_bias(node, parts, value.scale)
    name = builder.name(node.name)
    scale = parts.scale if parts.scale is not None else np.ones(1, np.float32)
    product = np.asarray(np.float32(value.scale) * scale, np.float32)
    step = Dense(name, (given,), output, weights, bias, None, product)
    least, most = _reach(node, step, value.zero)
    if how is not None:
        grid, low, high = how
        scales = combined(value.scale, scale, grid.scale)
        made = requant(scales, grid, low, high, least, most)
        step = Dense(name, (given,), output, weights, bias, made)
    builder.add(step)
    return Coded(output, whole(output, shape))


def _absorbed(
    context: Context, source: Coded, weights: NDArray[Any]
) -> tuple[str, Int8s, tuple[int, ...]]:
    """The input as it lies, and weights whose columns are in that order.

    Returns:
        The input's name, the weights, and the axes of rows.
    """
    builder = context.builder
    size = builder.values[source.name].size
    if len(source.shape) != 1:
        rows = source.shape[:-1]
        flat = (int(np.prod(rows)), source.shape[-1])
        return builder.laid(source, flat), weights.astype(np.int8), (flat[0],)
    places = source.places
    if len(np.unique(places)) != places.size:
        return builder.standard(source), weights.astype(np.int8), ()
    spread = np.zeros((len(weights), size), np.int8)
    spread[:, places] = weights
    return builder.reshaped(source.name, (size,)), spread, ()


def _float_dense(
    context: Context, node: Node, source: Real, parts: _Parts, shape: tuple[int, ...]
) -> Real:
    builder = context.builder
    rows = source.shape[:-1]
    wanted = (int(np.prod(rows)), source.shape[-1]) if rows else source.shape
    given = builder.laid(source, wanted)
    made = builder.value(node.outputs[0], (*wanted[:-1], len(parts.weights)), "float32")
    name = builder.name(node.name)
    builder.add(FloatDense(name, (given,), made, parts.real_weights, parts.real_bias))
    return Real(made, whole(made, shape))


def conv(context: Context, node: Node) -> Symbol:
    """Conv of a series or an image."""
    parts = _parts(context, node, 2, 0)
    if parts.weights.ndim not in (3, 4):
        refuse(node, f"{parts.weights.ndim - 2} axes", "use Conv over one or two axes")
    if parts.weights.ndim == 3:
        parts = _Parts(parts.weights[:, :, None], parts.bias, parts.scale)
    parts = _Parts(
        np.ascontiguousarray(parts.weights.transpose(0, 2, 3, 1)), parts.bias, parts.scale
    )
    source = context.symbols[node.inputs[0]]
    shape = context.graph.shape(node.outputs[0])
    given_shape = context.graph.shape(node.inputs[0])
    size = parts.weights.shape[1], parts.weights.shape[2]
    seen = window(node, given_shape, shape, size)
    groups = int(node.attributes.get("group", 1))
    _fitting(node, parts.weights.shape, given_shape[0], groups)
    if not isinstance(source, Coded) or parts.scale is None:
        given = context.builder.real(source, node.name)
        return _float_conv(context, node, given, parts, seen, groups, shape)

    def coded(grid: Grid, low: int, high: int, made: str) -> Coded:
        return _conv(context, node, source, parts, seen, groups, (grid, low, high), made, shape)

    real = once(
        lambda: _float_conv(
            context, node, context.builder.real(source, node.name), parts, seen, groups, shape
        )
    )
    return Pending(shape, coded, real)


def _conv(
    context: Context,
    node: Node,
    source: Coded,
    parts: _Parts,
    seen: Window,
    groups: int,
    how: tuple[Grid, int, int],
    wanted: str,
    shape: tuple[int, ...],
) -> Coded:
    builder = context.builder
    grid, low, high = how
    given = image(builder, source)
    value = builder.values[given]
    weights: Int8s = parts.weights.astype(np.int8)
    scale = parts.scale if parts.scale is not None else np.ones(1, np.float32)
    made = context.int8(wanted, (*seen.out, len(weights)), grid)
    bias = _integer_bias(node, parts, value.scale)
    # The zero point is among the inputs, so that padding leads to nothing beyond their reach.
    least, most = _reach(node, Dense("", (), "", weights, bias, None), value.zero)
    scales = combined(value.scale, scale, grid.scale)
    factors = requant(scales, grid, low, high, least, most)
    builder.add(
        Conv(
            builder.name(node.name),
            (given,),
            made,
            weights,
            bias,
            factors,
            seen.stride,
            seen.dilation,
            seen.pad,
            groups,
        )
    )
    return Coded(made, out_view(seen, len(weights), shape))


def _float_conv(
    context: Context,
    node: Node,
    source: Real,
    parts: _Parts,
    seen: Window,
    groups: int,
    shape: tuple[int, ...],
) -> Real:
    builder = context.builder
    given = image(builder, source)
    made = builder.value(node.outputs[0], (*seen.out, len(parts.weights)), "float32")
    builder.add(
        FloatConv(
            builder.name(node.name),
            (given,),
            made,
            parts.real_weights,
            parts.real_bias,
            seen.stride,
            seen.dilation,
            seen.pad,
            groups,
        )
    )
    return Real(made, out_view(seen, len(parts.weights), shape))


def _fitting(node: Node, weights: tuple[int, ...], channels: int, groups: int) -> None:
    """Refuse weights [out, KH, KW, C // groups] of other sizes than the node and its input say."""
    kernel = tuple(int(size) for size in node.attributes.get("kernel_shape", weights[1:3]))
    found = weights[1:3] if len(kernel) == 2 else weights[2:3]
    if groups < 1 or channels != weights[3] * groups or weights[0] % groups or kernel != found:
        refuse(
            node,
            f"weights of {weights[3]} channels and window {list(found)} for {channels} channels, "
            f"{groups} groups and window {list(kernel)}",
            "export the model anew",
        )


def _plain_gemm(node: Node) -> None:
    factors = node.attributes.get("alpha", 1.0), node.attributes.get("beta", 1.0)
    if factors != (1.0, 1.0) or node.attributes.get("transA", 0):
        refuse(node, "alpha, beta or transA", "fold them into the weights: only transB is taken")


def _parts(context: Context, node: Node, bias: int | None, channels: int) -> _Parts:
    """A layer's constants; `channels` is the axis of the output's channels in its weights."""
    symbol = context.symbols[node.inputs[1]]
    if not isinstance(symbol, Known | Weights):
        refuse(node, "weights that are computed", "make the second input constant")
    held = context.symbols[node.inputs[bias]] if bias and node.input(bias) else None
    if held is not None and not isinstance(held, Known | Weights):
        refuse(node, "a bias that is computed", "make the third input constant")
    if isinstance(symbol, Known):
        weights = np.moveaxis(symbol.array, channels, 0) if symbol.array.ndim > 1 else symbol.array
        return _Parts(weights, held, None)
    where = f"weights of node {node.name!r}"
    if symbol.stored.dtype != np.int8:
        unquantised(where, f"{symbol.stored.dtype} weights")
    if symbol.zero:
        unquantised(where, f"zero point {symbol.zero}")
    if symbol.stored.min(initial=0) < -127:
        unquantised(where, "weights of -128")
    if symbol.scale.size > 1 and symbol.axis != channels:
        unquantised(where, f"scales along axis {symbol.axis}, not along the output's channels")
    weights = np.ascontiguousarray(np.moveaxis(symbol.stored, channels, 0))
    scale = np.broadcast_to(symbol.scale, (len(weights),)).astype(np.float32)
    return _Parts(weights, held, scale)


def _integer_bias(node: Node, parts: _Parts, x_scale: float) -> Int32s:
    channels = len(parts.weights)
    if parts.bias is None:
        return np.zeros(channels, np.int32)
    where = f"bias of node {node.name!r}"
    if not isinstance(parts.bias, Weights) or parts.bias.stored.dtype != np.int32:
        unquantised(where, "a bias that is not int32")
    if parts.bias.zero:
        unquantised(where, f"zero point {parts.bias.zero}")
    scale = np.broadcast_to(parts.bias.scale, (channels,))
    wanted = np.float32(x_scale) * (parts.scale if parts.scale is not None else np.float32(1))
    if not np.allclose(scale, wanted, rtol=1e-5, atol=0):
        unquantised(where, "a bias at another scale than the input's times the weights'")
    return np.asarray(np.broadcast_to(parts.bias.stored.reshape(-1), (channels,)), np.int32)


def _reach(node: Node, step: Dense, zero: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    least, most = bounds(step, zero)
    if least.min() < -(2**31) or most.max() >= 2**31:
        raise HandshakeError(
            "E26",
            found=f"accumulators from {least.min()} to {most.max()}, beyond int32",
            where=f"node {node.name!r}",
            mend="split the layer's inputs, or use smaller weights and biases",
        )
    return least, most
