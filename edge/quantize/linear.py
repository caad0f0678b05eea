"""Linear maps in one form: Gemm with transB and Conv, each with a bias, the weights constant."""

from typing import Any

import numpy as np
from onnx import helper

from edge.quantize.graph import Constant, Net, attribute, floats, node_like
from edge.quantize.rewrite import Rewrite, View

PREPROCESS = "preprocess"
"""Nodes with this among the parts of their name stay as they are, in float."""

LAYERS = ("Gemm", "Conv")


def is_preprocess(node: Any) -> bool:
    """Whether a node's name says that it belongs to the preprocessing."""
    return PREPROCESS in node.name.split("/")


def is_layer(net: Net, node: Any) -> bool:
    """Whether a node is a layer that can be quantised: in the form that these rules make."""
    if node.op_type not in LAYERS or is_preprocess(node) or len(node.input) != 3:
        return False
    weights, bias = (net.constants.get(name) for name in node.input[1:])
    if weights is None or bias is None or node.input[0] in net.constants:
        return False
    if node.op_type == "Gemm":
        return _plain_gemm(node) and bias.shape == weights.shape[:1]
    return weights.ndim in (3, 4) and "pads" in {item.name for item in node.attribute}


def gemm(view: View, node: Any) -> Rewrite | None:
    """Gemm and MatMul of [rows, K] by constant weights -> Gemm with weights [N, K], bias [N]."""
    if node.op_type not in ("Gemm", "MatMul") or is_preprocess(node) or is_layer(view.net, node):
        return None
    weights = view.constant(node.input[1])
    if weights is None or weights.ndim != 2 or attribute(node, "transA", 0):
        return None
    if node.input[0] in view.net.constants or len(view.shape(node.input[0])) != 2:
        return None
    weights = weights if attribute(node, "transB", 0) else weights.T
    bias: Constant | None = np.zeros(1)
    if len(node.input) > 2 and node.input[2]:
        bias = view.constant(node.input[2])
    if bias is None or bias.size not in (1, len(weights)):
        return None
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    constants = {
        view.fresh(f"{node.name}/weights"): floats(weights * np.float32(alpha)),
        view.fresh(f"{node.name}/bias"): floats(
            np.broadcast_to(bias.ravel() * np.float32(beta), len(weights))
        ),
    }
    read = [node.input[0], *constants]
    made = helper.make_node("Gemm", read, node.output, name=node.name, transB=1)
    return Rewrite((node.name,), (made,), constants)


def pointwise(view: View, node: Any) -> Rewrite | None:
    """MatMul of [rows, T, K] by constant weights -> Conv of window 1 between two Transposes.

    A bias that follows is taken along. Channels last, as programs are, the Transposes cancel.
    """
    if node.op_type != "MatMul" or is_preprocess(node) or node.input[0] in view.net.constants:
        return None
    weights = view.constant(node.input[1])
    if weights is None or weights.ndim != 2 or len(view.shape(node.input[0])) != 3:
        return None
    bias, last = np.zeros(weights.shape[1]), node
    reader = view.sole_reader(node.output[0])
    if reader is not None and reader.op_type == "Add" and not is_preprocess(reader):
        other = reader.input[int(reader.input[0] == node.output[0])]
        given = view.constant(other)
        if given is not None and (given.size == 1 or given.size == given.shape[-1] == len(bias)):
            bias, last = np.broadcast_to(given.ravel(), len(bias)), reader
    turned, made = view.fresh(f"{node.name}/columns"), view.fresh(f"{node.name}/made")
    constants = {
        view.fresh(f"{node.name}/weights"): floats(weights.T[:, :, None]),
        view.fresh(f"{node.name}/bias"): floats(bias),
    }
    nodes = (
        _turned(node.input[0], turned, f"{node.name}/before"),
        helper.make_node(
            "Conv", [turned, *constants], [made], name=node.name, kernel_shape=[1], pads=[0, 0]
        ),
        _turned(made, last.output[0], f"{node.name}/after"),
    )
    return Rewrite(tuple(dict.fromkeys((node.name, last.name))), nodes, constants)


def conv(view: View, node: Any) -> Rewrite | None:
    """Conv with explicit padding, that of a Pad before it included, and with a bias."""
    if node.op_type != "Conv" or is_preprocess(node) or is_layer(view.net, node):
        return None
    weights = view.constant(node.input[1])
    if weights is None or weights.ndim not in (3, 4):
        return None
    bias = floats(np.zeros(len(weights)))
    if len(node.input) > 2 and node.input[2]:
        given = view.constant(node.input[2])
        if given is None:
            return None
        bias = floats(given)
    constants = {
        view.fresh(f"{node.name}/weights"): floats(weights),
        view.fresh(f"{node.name}/bias"): bias,
    }
    pads = explicit_pads(view, node, weights.shape[2:])
    made = node_like(node, input=[node.input[0], *constants], auto_pad="NOTSET", pads=pads)
    return Rewrite((node.name,), (made,), constants)


def padded(view: View, node: Any) -> Rewrite | None:
    """A Pad with zeros along the image goes into the Conv that alone reads it."""
    if node.op_type != "Pad" or is_preprocess(node):
        return None
    reader = view.sole_reader(node.output[0])
    pads = view.constant(node.input[1])
    value = view.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if reader is None or not is_layer(view.net, reader) or reader.op_type != "Conv":
        return None
    plain = attribute(node, "mode", "constant") == "constant" and len(node.input) < 4
    if not plain or pads is None or value is None or value.any() or (pads < 0).any():
        return None
    begins, ends = np.split(pads, 2)
    if begins[:2].any() or ends[:2].any():
        return None
    given = np.array(attribute(reader, "pads", []))
    both = [*map(int, given + np.concatenate([begins[2:], ends[2:]]))]
    made = node_like(reader, input=[node.input[0], *reader.input[1:]], pads=both)
    return Rewrite((node.name, reader.name), (made,))


def explicit_pads(view: View, node: Any, kernel: tuple[int, ...]) -> list[int]:
    """Padding of a Conv or pool: before every axis, then after every axis."""
    axes = len(kernel)
    how = attribute(node, "auto_pad", "NOTSET")
    if how == "NOTSET":
        return list(attribute(node, "pads", [0] * 2 * axes))
    if how == "VALID":
        return [0] * 2 * axes
    strides = attribute(node, "strides", [1] * axes)
    dilations = attribute(node, "dilations", [1] * axes)
    before, after = [], []
    sizes = view.shape(node.input[0])[2:]
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        needed = (-(-size // stride) - 1) * stride + (width - 1) * dilation + 1
        total = max(needed - size, 0)
        small = total // 2
        before.append(small if how == "SAME_UPPER" else total - small)
        after.append(total - before[-1])
    return before + after


def _plain_gemm(node: Any) -> bool:
    wanted = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    given = {"transA": 0, "transB": 0, "alpha": 1.0, "beta": 1.0}
    return all(attribute(node, name, given[name]) == value for name, value in wanted.items())


def _turned(value: str, made: str, name: str) -> Any:
    return helper.make_node("Transpose", [value], [made], name=name, perm=[0, 2, 1])
