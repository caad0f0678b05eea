"""Which nodes compute in int8, which stay float, and which values are quantised between them.

Before the first layer and after the last one a graph is float. Between layers, operators that have
an integer form take int8; elementwise ones after a value that was kept in float stay float; any
other is refused by name.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.quantize.graph import Net, attribute, node_like
from edge.quantize.linear import is_layer, is_preprocess
from edge.quantize.pooling import MOVING
from firnline.contracts.quantize import Quantize
from firnline.errors import EvidenceError, HandshakeError

_BOUNDS = ("Relu", "Clip")
_IN_TAIL = (*MOVING, *_BOUNDS, "AveragePool", "GlobalAveragePool", "Add", "Concat")
_BY_TABLE = ("Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "HardSwish", "Elu", "Softmax")
INTEGER = (*_IN_TAIL, *_BY_TABLE)
"""Operators beside layers that have an integer form."""

FLOAT = (
    "Abs", "And", "Cast", "Div", "Equal", "Exp", "Gather", "Greater", "GreaterOrEqual", "Identity",
    "IsNaN", "Less", "LessOrEqual", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Sign", "Slice", "Split", "Sqrt", "Sub",
    "Where",
)  # fmt: skip
"""Further ones that may stand between layers in float, as in a score that a layer reads."""

_INSTEAD = {
    "LSTM": "a stack of dilated Conv layers",
    "GRU": "a stack of dilated Conv layers",
    "RNN": "a stack of dilated Conv layers",
    "LayerNormalization": "BatchNormalization, which goes into the layer before it",
    "InstanceNormalization": "BatchNormalization, which goes into the layer before it",
    "GroupNormalization": "BatchNormalization, which goes into the layer before it",
    "LRN": "BatchNormalization, which goes into the layer before it",
    "ConvTranspose": "Conv, with the upsampling in the layer's channels and a Reshape",
    "Resize": "Conv with a stride on the way down, and a Gemm on the way up",
    "Upsample": "Conv with a stride on the way down, and a Gemm on the way up",
    "MatMul": "Gemm with constant weights",
    "Gemm": "Gemm with constant weights and bias, and transA = 0",
    "Conv": "Conv of one or two dimensions with constant weights",
    "Einsum": "Gemm with constant weights",
    "Erf": "Relu or HardSwish in the place of Gelu",
    "Gelu": "Relu or HardSwish",
    "Softplus": "Relu",
    "Mish": "HardSwish",
    "PRelu": "LeakyRelu",
    "Add": "a bias in the layer before, or a sum of two values of one shape",
    "Concat": "values that layers make, not constants",
    "Mul": "factors in the weights of the layer before, or Add in the place of a gate",
    "Div": "factors in the weights of the layer before",
    "Sub": "Add, with the sign in the weights of the layer before",
    "Gather": "Gemm with weights that pick columns",
    "Slice": "Gemm with weights that pick columns",
    "Split": "two layers, each with its own outputs",
    "Selu": "Relu",
}


@dataclass(frozen=True)
class Plan:
    """What is quantised.

    Attributes:
        net: The graph without the Relu and Clip nodes that a quantised value holds.
        layers: Names of the layers in int8, in order.
        integer: Names of all nodes in int8, the layers among them.
        values: Values that are int8, in the order they are made.
        bounds: What a Relu or Clip that is gone left of a value: least and greatest.
        islands: Names of the nodes between layers that stay float.
    """

    net: Net
    layers: tuple[str, ...]
    integer: frozenset[str]
    values: tuple[str, ...]
    bounds: dict[str, tuple[float, float]]
    islands: tuple[str, ...]


def plan(net: Net, how: Quantize) -> Plan:
    """Decide what is quantised.

    Args:
        net: A graph that `edge.quantize.prepare` made.
        how: Which layers stay float, and whether outputs that float nodes read do.

    Raises:
        HandshakeError: E10, a node between layers has no integer form; E13, `float_layers` names
            no layer of the graph.
        EvidenceError: E2, there is no layer to quantise.
    """
    layers = _chosen(net, how)
    reach = _Reach.of(net)
    integer, kept = _integer(net, how, set(layers), reach)
    net, bounds = _without_bounds(net, integer, kept)
    islands = _islands(net, integer, kept, reach)
    values: dict[str, None] = {}
    for node in net.nodes:
        if node.name in integer:
            values |= dict.fromkeys(net.values_of(node))
            values |= dict.fromkeys(node.output[:1] if node.output[0] not in kept else ())
    ordered = tuple(name for name in (net.input, *net.makers()) if name in values)
    there = frozenset(node.name for node in net.nodes if node.name in integer)
    return Plan(net, tuple(layers), there, ordered, bounds, islands)


def layers_of(net: Net) -> list[str]:
    """Names of the layers that can be quantised, in order."""
    return [node.name for node in net.nodes if is_layer(net, node)]


def _chosen(net: Net, how: Quantize) -> list[str]:
    found = layers_of(net)
    unknown = [name for name in how.float_layers if name not in found]
    if unknown:
        raise HandshakeError(
            "E13",
            found=f"float_layers names {', '.join(unknown)}",
            where="[quantize] of the manifest",
            mend=f"name layers of the graph: {', '.join(found) or 'there are none'}",
        )
    chosen = [name for name in found if name not in how.float_layers]
    if not chosen:
        raise EvidenceError(
            "E2",
            found="no Gemm, MatMul or Conv with constant weights",
            where="the float graph",
            mend="write the stages' layers as Gemm or Conv, or release the ensemble in float",
        )
    return chosen


@dataclass(frozen=True)
class _Reach:
    """Nodes that have a layer somewhere before them, and those that have one after them."""

    after: frozenset[str]
    before: frozenset[str]

    @classmethod
    def of(cls, net: Net) -> "_Reach":
        layers = set(layers_of(net))
        made: set[str] = set()
        after: set[str] = set()
        for node in net.nodes:
            if made.intersection(node.input):
                after.add(node.name)
            if node.name in layers or node.name in after:
                made.update(node.output)
        read: set[str] = set()
        before: set[str] = set()
        for node in reversed(net.nodes):
            if read.intersection(node.output):
                before.add(node.name)
            if node.name in layers or node.name in before:
                read.update(net.values_of(node))
        return cls(frozenset(after), frozenset(before))

    def between(self, node: Any) -> bool:
        """Whether layers are on both sides."""
        return node.name in self.after and node.name in self.before


def _integer(net: Net, how: Quantize, layers: set[str], reach: _Reach) -> tuple[set[str], set[str]]:
    """Names of nodes in int8, and the outputs of such nodes that stay float all the same."""
    # What a sum or Concat may have beside int8 values: these are quantised for it.
    joined = {name for node in net.nodes if node.name in layers for name in net.values_of(node)}
    integer, kept, known = set(layers), set(), set()
    for node in net.nodes:
        if node.name in layers:
            if how.float_outputs and _read_in_float(net, node.output[0], layers, reach):
                kept.add(node.output[0])
            else:
                known.add(node.output[0])
            continue
        read = set(net.values_of(node))
        rest = read - known
        several = node.op_type in ("Add", "Concat")
        if is_layer(net, node) or (node.op_type in _BOUNDS and read <= joined - known):
            joined.add(node.output[0])
        elif (
            read & known
            and (not rest or (several and rest <= joined))
            and _has_integer_form(net, node, reach)
        ):
            integer.add(node.name)
            known.add(node.output[0])
    return integer | _moved_before(net, integer, layers), kept


def _has_integer_form(net: Net, node: Any, reach: _Reach) -> bool:
    allowed = INTEGER if reach.between(node) else _IN_TAIL
    if node.op_type not in allowed or is_preprocess(node) or any(node.output[1:]):
        return False
    if node.op_type in ("Add", "Concat"):
        shapes = {net.shapes.get(name) for name in node.input}
        fixed = any(name in net.constants for name in node.input)
        return not fixed and (node.op_type == "Concat" or len(shapes) == 1)
    if node.op_type == "Softmax":
        rank = len(net.shapes[node.input[0]])
        return bool(attribute(node, "axis", -1) % rank == rank - 1)
    return all(name in net.constants for name in node.input[1:] if name)


def _read_in_float(net: Net, value: str, layers: set[str], reach: _Reach) -> bool:
    """Whether anything but integer nodes reads a layer's output, past the Relu it may have."""
    if value in net.outputs:
        return True
    for node in net.readers().get(value, []):
        if node.op_type in _BOUNDS and _has_integer_form(net, node, reach):
            if _read_in_float(net, node.output[0], layers, reach):
                return True
        elif node.name not in layers and not (
            reach.between(node) and _has_integer_form(net, node, reach)
        ):
            return True
    return False


def _moved_before(net: Net, integer: set[str], layers: set[str]) -> set[str]:
    """Nodes before a layer that only move the input's elements: they may as well move int8."""
    found: set[str] = set()
    readers = net.readers()
    for node in reversed(net.nodes):
        if node.op_type not in MOVING or is_preprocess(node) or node.name in integer:
            continue
        names = {reader.name for reader in readers.get(node.output[0], [])}
        free = node.output[0] not in net.outputs and not any(node.output[1:])
        if names and names <= integer | found and free:
            found.add(node.name)
    return found


def _without_bounds(
    net: Net, integer: set[str], kept: set[str]
) -> tuple[Net, dict[str, tuple[float, float]]]:
    """Take out a Relu or Clip of int8 whose input is computed anew: its Q holds the bounds."""
    readers = net.readers()
    bounds: dict[str, tuple[float, float]] = {}
    computed: dict[str, str] = {}
    renamed: dict[str, str] = {}
    gone = set()
    for node in net.nodes:
        if node.name not in integer:
            continue
        value = node.input[0]
        alone = len(readers[value]) == 1 and value not in net.outputs
        if node.op_type in _BOUNDS and value in computed and alone:
            gone.add(node.name)
            renamed[computed[value]] = node.output[0]
            computed[node.output[0]] = computed[value]
            low, high = bounds.pop(value, (-np.inf, np.inf))
            least, most = limits(net, node)
            bounds[node.output[0]] = (max(low, least), min(high, most))
        elif node.op_type not in MOVING and node.output[0] not in kept:
            computed[node.output[0]] = node.output[0]
    nodes = [
        node_like(node, output=[renamed.get(name, name) for name in node.output])
        for node in net.nodes
        if node.name not in gone
    ]
    return net.with_nodes(nodes), bounds


def limits(net: Net, node: Any) -> tuple[float, float]:
    """Least and greatest value that a Relu or Clip lets through."""
    if node.op_type == "Relu":
        return 0.0, np.inf
    given = [*node.input[1:], "", ""][:2]
    low, high = (
        float(net.constants[name].item()) if name else default
        for name, default in zip(given, (-np.inf, np.inf), strict=True)
    )
    return low, high


def _islands(net: Net, integer: set[str], kept: set[str], reach: _Reach) -> tuple[str, ...]:
    found = []
    stored = {name for node in net.nodes if node.name in integer for name in node.output} - kept
    for node in net.nodes:
        if node.name in integer or is_layer(net, node) or is_preprocess(node):
            continue
        if not reach.between(node):
            continue
        if node.op_type not in (*FLOAT, *INTEGER) or stored.issuperset(net.values_of(node)):
            raise _refused(node)
        found.append(node.name)
    return tuple(found)


def _refused(node: Any) -> HandshakeError:
    instead = _INSTEAD.get(node.op_type, f"one of {', '.join(sorted(INTEGER))}")
    return HandshakeError(
        "E10",
        found=f"operator {node.op_type} between layers, which has no integer form as it stands",
        where=f"node {node.name} of the float graph",
        mend=f"use {instead}, or move it before the first layer or after the last; or set "
        "`float_outputs`, where it only scores what a layer gives",
    )
