"""Preset `qdq-onnx`: the rules that vendors' converters agree on, each checked by itself.

A graph that keeps them all is read by the tools for QNN, RKNN and ST parts alike; each rule comes
from one of them failing, or falling back to float, without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edge.npu.qdq_graph import LAYERS, PAIR, Graph, label, load

MOST_OPSET = 17
_TOLERANCE = 1e-6
"""Relative, of a bias's scale: two float32 roundings."""
_BOUNDS = ("Relu", "Clip")


@dataclass(frozen=True)
class Rule:
    """One rule and how a graph stands to it.

    Attributes:
        rule: Its name.
        good: Whether the graph keeps it.
        about: What it asks.
        where: Nodes or values that break it.
    """

    rule: str
    good: bool
    about: str
    where: tuple[str, ...]


def check(model: bytes) -> tuple[Rule, ...]:
    """Hold a QDQ graph to every rule.

    Args:
        model: ONNX bytes.

    Raises:
        HandshakeError: E53, it is no ONNX.
    """
    graph = load(model)
    found = ((name, about, tuple(look(graph))) for name, (about, look) in _RULES.items())
    return tuple(Rule(name, not where, about, where) for name, about, where in found)


def static(model: bytes) -> bytes:
    """The same graph with a batch of 1 wherever its inputs leave the batch open.

    Args:
        model: ONNX bytes.

    Returns:
        ONNX bytes with every shape inferred anew.

    Raises:
        HandshakeError: E53, it is no ONNX.
    """
    found = load(model).model
    for value in (*found.graph.input, *found.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_value = 1
    del found.graph.value_info[:]
    made = onnx.shape_inference.infer_shapes(found, strict_mode=True, data_prop=True)
    return bytes(made.SerializeToString(deterministic=True))


def _open_shapes(graph: Graph) -> list[str]:
    inferred = onnx.shape_inference.infer_shapes(graph.model, data_prop=True).graph
    ends = (*inferred.input, *inferred.output)
    sizes = {
        value.name: [
            size.dim_value if size.HasField("dim_value") else None
            for size in value.type.tensor_type.shape.dim
        ]
        for value in (*ends, *inferred.value_info)
    }
    made = [name for node in graph.nodes for name in node.output if name]
    open_ones = [name for name in dict.fromkeys(made) if None in sizes.get(name, [None])]
    batches = [value.name for value in ends if sizes[value.name][:1] not in ([], [1])]
    return list(dict.fromkeys((*batches, *open_ones)))


def _opsets(graph: Graph) -> list[str]:
    return [
        f"{item.domain or 'default'} {item.version}"
        for item in graph.model.opset_import
        if item.domain not in ("", "ai.onnx") or item.version > MOST_OPSET
    ] + [label(node) for node in graph.nodes if node.domain not in ("", "ai.onnx")]


def _weights(graph: Graph) -> list[str]:
    return [label(node) for node in graph.layers() if not _whole_weights(graph, node)]


def _whole_weights(graph: Graph, node: Any) -> bool:
    held = graph.dequantised(node.input[1])
    stored = None if held is None else graph.constants.get(held.stored)
    if held is None or stored is None or stored.dtype != np.int8:
        return False
    axis = _channel_axis(node)
    along = held.scale.size == stored.shape[axis] and held.axis % stored.ndim == axis
    return along and not np.any(held.zero) and bool(stored.min() >= -127)


def _channel_axis(node: Any) -> int:
    """Axis of a layer's weights that its output channels lie on."""
    if node.op_type == "Conv":
        return 0
    turned = any(item.name == "transB" and item.i for item in node.attribute)
    return 0 if node.op_type == "Gemm" and turned else 1


def _activations(graph: Graph) -> list[str]:
    broken = []
    for node in graph.nodes:
        if node.op_type not in PAIR or node.input[0] in graph.constants:
            continue
        zero = graph.constants.get(node.input[2]) if len(node.input) > 2 else None
        scale = graph.constants.get(node.input[1])
        whole = zero is not None and zero.dtype in (np.int8, np.uint8) and zero.size == 1
        if not whole or scale is None or scale.size != 1:
            broken.append(label(node))
    return broken


def _batch_norms(graph: Graph) -> list[str]:
    return [label(node) for node in graph.nodes if node.op_type == "BatchNormalization"]


def _loose_activations(graph: Graph) -> list[str]:
    """Relu or Clip right after a layer, or between its Q and DQ: they belong into the Q."""
    broken = []
    for node in graph.nodes:
        if node.op_type not in _BOUNDS:
            continue
        maker = graph.makers.get(node.input[0])
        while maker is not None and maker.op_type in PAIR:
            maker = graph.makers.get(maker.input[0])
        if maker is not None and maker.op_type in LAYERS:
            broken.append(label(node))
    return broken


def _biases(graph: Graph) -> list[str]:
    broken = []
    for node in graph.layers():
        if len(node.input) < 3 or not node.input[2]:
            continue
        x, w, b = (graph.dequantised(name) for name in node.input[:3])
        stored = None if b is None else graph.constants.get(b.stored)
        if x is None or w is None or b is None or stored is None or stored.dtype != np.int32:
            broken.append(label(node))
            continue
        wanted = x.scale.astype(np.float64) * w.scale.astype(np.float64)
        if (
            np.any(b.zero)
            or b.scale.size not in (1, wanted.size)
            or np.any(np.abs(b.scale - wanted) > _TOLERANCE * wanted)
        ):
            broken.append(label(node))
    return broken


def _unpaired(graph: Graph) -> list[str]:
    """Nodes after a Q and before another that read or make float outside of a pair."""
    after = _reached(graph, forwards=True)
    before = _reached(graph, forwards=False)
    broken = []
    for node in graph.nodes:
        layer = node.op_type in LAYERS
        between = id(node) in after and id(node) in before
        if node.op_type in PAIR or not (between or layer):
            continue
        # A layer's weights and bias are the business of rules of their own.
        read = [name for name in (node.input[:1] if layer else node.input) if name]
        loose = [
            name for name in read if name not in graph.constants and graph.dequantised(name) is None
        ]
        makes = [reader for name in node.output for reader in graph.readers(name)]
        unread = any(reader.op_type != "QuantizeLinear" for reader in makes)
        if loose or (unread and not graph.outputs.intersection(node.output)):
            broken.append(label(node))
    return broken


def _reached(graph: Graph, *, forwards: bool) -> set[int]:
    """Nodes that a Q of an activation leads to, or that lead to one."""
    found: set[int] = set()
    names: set[str] = set()
    for node in graph.nodes if forwards else reversed(graph.nodes):
        ends = (node.input, node.output) if forwards else (node.output, node.input)
        if names.intersection(ends[0]):
            found.add(id(node))
            names.update(ends[1])
        if node.op_type == "QuantizeLinear":
            names.update(ends[1])
    return found


_RULES: dict[str, tuple[str, Callable[[Graph], list[str]]]] = {
    "static-shapes": ("every shape is known and the batch is 1", _open_shapes),
    "opset": (f"the default domain alone, at most opset {MOST_OPSET}", _opsets),
    "weights": ("int8 in [-127, 127], zero point 0, a scale for every output channel", _weights),
    "activations": ("int8 or uint8 with one scale and zero point", _activations),
    "batch-norm": ("folded into the layer before it", _batch_norms),
    "relu": ("Relu and Clip after a layer are bounds of its Q, no nodes", _loose_activations),
    "bias": ("int32, zero point 0, at the scale of the input times that of the weights", _biases),
    "pairs": ("what lies between two Qs reads from a DQ and gives to a Q", _unpaired),
}
