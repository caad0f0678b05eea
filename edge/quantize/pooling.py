"""Pools and sums in the forms that integer programs know, and Relu before what it commutes with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

from edge.quantize.graph import attribute, node_like
from edge.quantize.linear import explicit_pads, is_preprocess
from edge.quantize.rewrite import Rewrite, View

MOVING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze")
"""Operators that pick or move elements: the result has the scale of what goes in."""


def pool(view: View, node: Any) -> Rewrite | None:
    """Pools with explicit padding; the global greatest value as a pool over the whole image."""
    if node.op_type == "GlobalMaxPool":
        size = list(view.shape(node.input[0])[2:])
        made = helper.make_node(
            "MaxPool", node.input, node.output, name=node.name, kernel_shape=size
        )
        return Rewrite((node.name,), (made,))
    if node.op_type not in ("MaxPool", "AveragePool"):
        return None
    if attribute(node, "auto_pad", "NOTSET") == "NOTSET":
        return None
    pads = explicit_pads(view, node, tuple(attribute(node, "kernel_shape", [])))
    return Rewrite((node.name,), (node_like(node, auto_pad="NOTSET", pads=pads),))


def rounded_up(node: Any, image: Sequence[int]) -> list[int]:
    """Padding that makes as many windows as a pool's `ceil_mode` does.

    Each begins on the image or before it. ONNX's own inference also counts one that begins
    behind it; runtimes and frameworks do not.

    Args:
        node: The pool.
        image: Sizes of its input's axes behind the channels.
    """
    kernel = attribute(node, "kernel_shape", [])
    axes = len(kernel)
    made = list(attribute(node, "pads", [0] * 2 * axes))
    strides = attribute(node, "strides", [1] * axes)
    dilations = attribute(node, "dilations", [1] * axes)
    for axis, size in enumerate(image):
        span = (kernel[axis] - 1) * dilations[axis] + 1
        before, stride = made[axis], strides[axis]
        count = -(-(size + before + made[axes + axis] - span) // stride) + 1
        count -= (count - 1) * stride >= size + before
        made[axes + axis] = max((count - 1) * stride + span - size - before, 0)
    return made


def mean(view: View, node: Any) -> Rewrite | None:
    """ReduceMean over an image's places -> GlobalAveragePool, and a Reshape if axes are dropped."""
    rank = len(view.shape(node.input[0]))
    if node.op_type != "ReduceMean" or is_preprocess(node) or rank not in (3, 4):
        return None
    axes = attribute(node, "axes", None)
    if axes is None or sorted(axis % rank for axis in axes) != list(range(2, rank)):
        return None
    if attribute(node, "keepdims", 1):
        made = helper.make_node("GlobalAveragePool", node.input, node.output, name=node.name)
        return Rewrite((node.name,), (made,))
    pooled, shape = view.fresh(f"{node.name}/pooled"), view.fresh(f"{node.name}/shape")
    nodes = (
        helper.make_node("GlobalAveragePool", node.input, [pooled], name=node.name),
        helper.make_node("Reshape", [pooled, shape], node.output, name=f"{node.name}/flat"),
    )
    channels = view.shape(node.input[0])[1]
    return Rewrite((node.name,), nodes, {shape: np.array([0, channels], np.int64)})


def total(view: View, node: Any) -> Rewrite | None:
    """Sum of several values -> Add of two, one after the other."""
    if node.op_type != "Sum" or len(node.input) < 2:
        return None
    nodes, left = [], node.input[0]
    for place, right in enumerate(node.input[1:], start=2):
        last = place == len(node.input)
        made = node.output[0] if last else view.fresh(f"{node.name}/{place}")
        name = node.name if last else f"{node.name}/{place}"
        nodes.append(helper.make_node("Add", [left, right], [made], name=name))
        left = made
    return Rewrite((node.name,), tuple(nodes))


def dropout(view: View, node: Any) -> Rewrite | None:
    """Dropout whose mask nobody reads does nothing."""
    if node.op_type != "Dropout" or any(view.readers(name) for name in node.output[1:]):
        return None
    reader = view.sole_reader(node.output[0])
    if reader is None:
        return None
    read = [node.input[0] if name == node.output[0] else name for name in reader.input]
    return Rewrite((node.name, reader.name), (node_like(reader, input=read),))


def bounded_first(view: View, node: Any) -> Rewrite | None:
    """A Relu or Clip before the pool or move that it followed: the same values.

    There the Q of the layer before can hold its bounds.
    """
    if node.op_type not in MOVING or is_preprocess(node):
        return None
    reader = view.sole_reader(node.output[0])
    if reader is None or reader.op_type not in ("Relu", "Clip") or is_preprocess(reader):
        return None
    if any(name not in view.net.constants for name in reader.input[1:] if name):
        return None
    first = node_like(reader, input=[node.input[0], *reader.input[1:]], output=node.output[:1])
    then = node_like(node, input=[node.output[0], *node.input[1:]], output=reader.output)
    return Rewrite((node.name, reader.name), (first, then))
