"""Writing the quantised graph: a pair of Q and DQ at every int8 value, layers of integers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from edge.quantize.graph import Constant, Net, Shape, floats, node_like
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
    return value if made and value in plan.net.outputs else f"{value}/real"


class _Writer:
    def __init__(self, plan: Plan, grids: Mapping[str, Grid]) -> None:
        self._plan, self._grids = plan, grids
        self._made = {
            name for node in plan.net.nodes if node.name in plan.integer for name in node.output
        }
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
        names.append(self._stored(node.input[1], packed.weights, packed.scales))
        names.append(self._stored(node.input[2], packed.bias, packed.bias_scales))
        self._node(node, names)

    def float_layer(self, node: Any) -> None:
        """A layer that stays float: its weights and bias negated, and its result negated again.

        The same but for the sign of a zero. ONNX Runtime would quantise the weights of a float
        layer between DQ and Q by itself, with one scale for all of them; with Neg it does not.
        """
        names = [f"{name}/negated" for name in node.input[1:]]
        for name, given in zip(names, node.input[1:], strict=True):
            self._constants[name] = -floats(self._plan.net.constants[given])
        turned = f"{node.output[0]}/negated"
        self._shapes[turned] = self._shapes[node.output[0]]
        read = [self._read(node.input[0]), *names]
        self._nodes.append(node_like(node, input=read, output=[turned]))
        negate = helper.make_node("Neg", [turned], node.output, name=f"{node.name}/negate")
        self._node(negate, [turned])

    def _stored(self, name: str, value: Constant, scales: NDArray[np.float32]) -> str:
        """A constant of integers with zero point 0, by channel where it has several scales."""
        by_channel = len(scales) > 1
        shape = scales.shape if by_channel else ()
        parts: dict[str, Constant] = {
            f"{name}/int": value,
            f"{name}/scale": scales.reshape(shape),
            f"{name}/zero": np.zeros(shape, value.dtype),
        }
        self._constants |= parts
        axis = {"axis": 0} if by_channel else {}
        made = f"{name}/real"
        self._nodes.append(
            helper.make_node(
                "DequantizeLinear", list(parts), [made], name=f"{name}/dequantize", **axis
            )
        )
        return made

    def _node(self, node: Any, read: Sequence[str]) -> None:
        names = [f"{name}/float" if self._is_output(name) else name for name in node.output]
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
        return name if self._is_output(name) else f"{name}/real"

    def _is_output(self, name: str) -> bool:
        """Whether a value made in int8 is an output of the graph, so that its DQ has its name."""
        return name in self._grids and name in self._made and name in self._plan.net.outputs

    def pair(self, source: str, name: str) -> None:
        """Q and DQ of a value that `source` holds in float."""
        grid = self._grids[name]
        stored, made = f"{name}/int8", self._dequantized(name)
        scale, zero = f"{name}/scale", f"{name}/zero"
        self._constants[scale] = np.array(grid.scale, np.float32)
        self._constants[zero] = np.array(grid.zero, np.int8)
        self._shapes[made] = self._shapes[name]
        read, write = [source, scale, zero], [stored, scale, zero]
        self._nodes += [
            helper.make_node("QuantizeLinear", read, [stored], name=f"{name}/quantize"),
            helper.make_node("DequantizeLinear", write, [made], name=f"{name}/dequantize"),
        ]
