"""Writing the quantised graph: a pair of Q and DQ at every int8 value, layers of integers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from edge.quantize.graph import Constant, Net, Shape, floats, node_like, unused
from edge.quantize.grids import Grid
from edge.quantize.linear import is_layer
from edge.quantize.plan import Plan
from edge.quantize.weights import Packed


def placed(plan: Plan, grids: Mapping[str, Grid], packed: Mapping[str, Packed]) -> Net:
    """The graph with Q and DQ nodes.

    Every int8 value is made by a Q and read from its DQ, by float nodes too. An output of the
    graph keeps its name.

    Args:
        plan: What is quantised.
        grids: Scale and zero of every int8 value.
        packed: Layers by name; those that are not there keep float weights.
    """
    writer = _Writer(plan, grids)
    if plan.net.input in grids:
        writer.pair(plan.net.input, plan.net.input)
    for node in plan.net.nodes:
        if node.name in packed:
            writer.layer(node, packed[node.name])
        elif is_layer(plan.net, node) and node.name not in plan.layers:
            writer.float_layer(node)
        else:
            writer.node(node)
    return writer.net()


def real(plan: Plan, value: str) -> str:
    """Name of an int8 value as its DQ gives it: an output of the graph has its own."""
    maker = plan.net.makers().get(value)
    made = maker is not None and maker.name in plan.integer
    if made and value in plan.net.outputs:
        return value
    return unused(f"{value}/real", _values(plan.net))


def _values(net: Net) -> set[str]:
    """Names of all values and constants, which none of what is written may have."""
    return {net.input, *net.constants, *net.makers()}


class _Writer:
    def __init__(self, plan: Plan, grids: Mapping[str, Grid]) -> None:
        self._plan, self._grids = plan, grids
        self._made = {
            name for node in plan.net.nodes if node.name in plan.integer for name in node.output
        }
        self._taken = _values(plan.net)
        self._names = {node.name for node in plan.net.nodes}
        self._stored_names: set[str] = set()
        self._nodes: list[Any] = []
        self._constants: dict[str, Constant] = dict(plan.net.constants)
        self._shapes: dict[str, Shape] = dict(plan.net.shapes)

    def net(self) -> Net:
        """What was written."""
        net = self._plan.net.with_nodes(self._nodes, self._constants)
        return replace(net, shapes=self._shapes)

    def node(self, node: Any) -> None:
        """A node as it is, reading dequantised values."""
        self._node(node, [self._read(name) for name in node.input])

    def layer(self, node: Any, packed: Packed) -> None:
        """A layer whose weights and bias come out of DQ nodes."""
        names = [self._read(node.input[0])]
        names.append(self._stored(node, 1, packed.weights, packed.scales))
        names.append(self._stored(node, 2, packed.bias, packed.bias_scales))
        self._node(node, names)

    def float_layer(self, node: Any) -> None:
        """A layer that stays float: its weights and bias negated, and its result negated again.

        The same but for the sign of a zero. ONNX Runtime would quantise the weights of a float
        layer between DQ and Q by itself, with one scale for all of them; with Neg it does not.
        """
        names = [self._value(name, "negated") for name in node.input[1:]]
        for name, given in zip(names, node.input[1:], strict=True):
            self._constants[name] = -floats(self._plan.net.constants[given])
        turned = self._value(node.output[0], "negated")
        self._shapes[turned] = self._shapes[node.output[0]]
        read = [self._read(node.input[0]), *names]
        self._nodes.append(node_like(node, input=read, output=[turned]))
        name = self._name(node.name, "negate")
        negate = helper.make_node("Neg", [turned], node.output, name=name)
        self._node(negate, [turned])

    def _value(self, name: str, part: str) -> str:
        return unused(f"{name}/{part}", self._taken)

    def _name(self, name: str, part: str) -> str:
        return unused(f"{name}/{part}", self._names)

    def _stored(self, node: Any, place: int, value: Constant, scales: NDArray[np.float32]) -> str:
        """A constant of integers with zero point 0, by channel where it has several scales."""
        name = node.input[place]
        if name in self._stored_names:
            # Two layers may share what they hold in float; their integers are their own.
            name = f"{node.name}/{name}"
        self._stored_names.add(name)
        by_channel = len(scales) > 1
        shape = scales.shape if by_channel else ()
        parts: dict[str, Constant] = {
            self._value(name, "int"): value,
            self._value(name, "scale"): scales.reshape(shape),
            self._value(name, "zero"): np.zeros(shape, value.dtype),
        }
        self._constants |= parts
        axis = {"axis": 0} if by_channel else {}
        made, named = self._value(name, "real"), self._name(name, "dequantize")
        self._nodes.append(
            helper.make_node("DequantizeLinear", list(parts), [made], name=named, **axis)
        )
        return made

    def _node(self, node: Any, read: Sequence[str]) -> None:
        names = [
            self._value(name, "float") if self._is_output(name) else name for name in node.output
        ]
        self._shapes |= {
            made: self._shapes[name]
            for made, name in zip(names, node.output, strict=True)
            if name in self._shapes
        }
        self._nodes.append(node_like(node, input=read, output=names))
        for made, name in zip(names, node.output, strict=True):
            if name in self._grids:
                self.pair(made, name)

    def _read(self, name: str) -> str:
        return self._dequantized(name) if name in self._grids else name

    def _dequantized(self, name: str) -> str:
        return name if self._is_output(name) else self._value(name, "real")

    def _is_output(self, name: str) -> bool:
        """Whether a value made in int8 is an output of the graph, so that its DQ has its name."""
        return name in self._grids and name in self._made and name in self._plan.net.outputs

    def pair(self, source: str, name: str) -> None:
        """Q and DQ of a value that `source` holds in float."""
        grid = self._grids[name]
        stored, made = self._value(name, "int8"), self._dequantized(name)
        scale, zero = self._value(name, "scale"), self._value(name, "zero")
        self._constants[scale] = np.array(grid.scale, np.float32)
        self._constants[zero] = np.array(grid.zero, np.int8)
        self._shapes[made] = self._shapes[name]
        read, write = [source, scale, zero], [stored, scale, zero]
        for kind, given, output, part in (
            ("QuantizeLinear", read, stored, "quantize"),
            ("DequantizeLinear", write, made, "dequantize"),
        ):
            named = self._name(name, part)
            self._nodes.append(helper.make_node(kind, given, [output], name=named))
