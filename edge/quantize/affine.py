"""Batch normalisation, and products and sums with constants, go into the layer beside them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from edge.quantize.graph import Constant, attribute, floats, node_like
from edge.quantize.linear import is_layer, is_preprocess
from edge.quantize.rewrite import Rewrite, View

_FOLDED = ("Mul", "Div", "Add", "Sub", "BatchNormalization")

Vector = NDArray[np.float64]


def after_layer(view: View, node: Any) -> Rewrite | None:
    """A layer, then value * a + c by channel: its weights times a, its bias times a plus c."""
    if not is_layer(view.net, node):
        return None
    reader = view.sole_reader(node.output[0])
    if reader is None or reader.op_type not in _FOLDED or is_preprocess(reader):
        return None
    weights, bias = (floats(view.net.constants[name]) for name in node.input[1:])
    found = _affine(view, reader, node.output[0], len(bias))
    if found is None:
        return None
    factor, added = found
    by_channel = factor.reshape(-1, *[1] * (weights.ndim - 1))
    return _layer(view, node, weights * by_channel, bias * factor + added, reader)


def before_layers(view: View, node: Any) -> Rewrite | None:
    """BatchNormalization of [rows, K] read by Gemm alone: into the weights of that Gemm."""
    if node.op_type != "BatchNormalization" or len(view.shape(node.input[0])) != 2:
        return None
    reader = view.sole_reader(node.output[0])
    if reader is None or not is_layer(view.net, reader) or not _behind_layer(view, node):
        return None
    factor, added = _normalisation(view, node)
    weights, bias = (floats(view.net.constants[name]) for name in reader.input[1:])
    moved = node_like(reader, input=[node.input[0], *reader.input[1:]])
    return _layer(view, moved, weights * factor, bias + weights @ added, node)


def normalisation(view: View, node: Any) -> Rewrite | None:
    """A BatchNormalization that no layer takes: a depthwise Conv, or a product and a sum.

    Before the first layer it is preprocessing, so it stays float; between layers it is a layer.
    """
    if node.op_type != "BatchNormalization" or is_preprocess(node):
        return None
    factor, added = _normalisation(view, node)
    rank = len(view.shape(node.input[0]))
    if rank in (3, 4) and _behind_layer(view, node):
        constants = {
            view.fresh(f"{node.name}/weights"): floats(factor.reshape(-1, *[1] * (rank - 1))),
            view.fresh(f"{node.name}/bias"): floats(added),
        }
        made = helper.make_node(
            "Conv", [node.input[0], *constants], node.output[:1], name=node.name,
            group=len(factor), kernel_shape=[1] * (rank - 2), pads=[0] * (2 * rank - 4),
        )  # fmt: skip
        return Rewrite((node.name,), (made,), constants)
    shape = (1, -1, *[1] * (rank - 2))
    names = [view.fresh(f"{node.name}/{part}") for part in ("factor", "added", "product")]
    constants = dict(
        zip(names, (floats(factor.reshape(shape)), floats(added.reshape(shape))), strict=False)
    )
    nodes = (
        helper.make_node("Mul", [node.input[0], names[0]], names[2:], name=f"{node.name}/scale"),
        helper.make_node("Add", [names[2], names[1]], node.output[:1], name=node.name),
    )
    return Rewrite((node.name,), nodes, constants)


def _layer(view: View, node: Any, weights: Constant, bias: Constant, gone: Any) -> Rewrite:
    constants = {
        view.fresh(f"{node.name}/weights"): floats(weights),
        view.fresh(f"{node.name}/bias"): floats(bias),
    }
    follows = gone.input[0] == node.output[0] or node.output[0] in gone.input
    output = [gone.output[0]] if follows else list(node.output)
    made = node_like(node, input=[node.input[0], *constants], output=output)
    return Rewrite((node.name, gone.name), (made,), constants)


def _affine(view: View, node: Any, value: str, channels: int) -> tuple[Vector, Vector] | None:
    """Factor and summand by channel, float64 [channels]; None if it is no such thing."""
    if node.op_type == "BatchNormalization":
        return _normalisation(view, node)
    place = list(node.input).index(value)
    other = view.constant(node.input[1 - place]) if node.input[0] != node.input[1] else None
    given = None if other is None else _by_channel(other, len(view.shape(value)), channels)
    if given is None or (node.op_type == "Div" and place == 1):
        return None
    one, none = np.ones(channels), np.zeros(channels)
    if node.op_type == "Mul":
        return given, none
    if node.op_type == "Div":
        return None if (given == 0).any() else (1 / given, none)
    if node.op_type == "Add":
        return one, given
    return (one, -given) if place == 0 else (-one, given)


def _by_channel(constant: Constant, rank: int, channels: int) -> Vector | None:
    """A constant that broadcasts over a value [1, channels, ...] by channel alone."""
    if constant.ndim > rank:
        return None
    shape = (*[1] * (rank - constant.ndim), *constant.shape)
    if shape[1] not in (1, channels) or any(size != 1 for size in (shape[0], *shape[2:])):
        return None
    return np.broadcast_to(constant.ravel().astype(np.float64), channels)


def _normalisation(view: View, node: Any) -> tuple[Vector, Vector]:
    parts = [view.net.constants[name].astype(np.float64) for name in node.input[1:5]]
    scale, bias, mean, variance = parts
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return factor, bias - mean * factor


def _behind_layer(view: View, node: Any) -> bool:
    queue, seen = list(node.input), set()
    while queue:
        maker = view.maker(queue.pop())
        if maker is None or maker.name in seen:
            continue
        if is_layer(view.net, maker):
            return True
        seen.add(maker.name)
        queue += maker.input
    return False
