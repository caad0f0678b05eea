"""A float graph as the quantiser works on it: nodes, constants and static shapes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 8

Shape = tuple[int, ...]
Constant = NDArray[Any]


@dataclass(frozen=True)
class Net:
    """A float graph with one input.

    Attributes:
        name: Name of the graph.
        nodes: ONNX nodes in an order in which they can run, each with a name of its own.
        constants: Every constant by name.
        input: Name of the input, float32.
        outputs: Names of the outputs, in order.
        shapes: Shape of every value, with a batch axis of 1 in front.
        types: ONNX element type of every value.
        batch: Name of the batch axis; empty where the graph takes one row only.
        opset: Version of the default domain.
    """

    name: str
    nodes: tuple[Any, ...]
    constants: Mapping[str, Constant]
    input: str
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    types: Mapping[str, int]
    batch: str
    opset: int

    def makers(self) -> dict[str, Any]:
        """Value -> node that makes it."""
        return {name: node for node in self.nodes for name in node.output if name}

    def readers(self) -> dict[str, list[Any]]:
        """Value -> nodes that read it, in order, each once."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def values_of(self, node: Any) -> list[str]:
        """What a node reads beside constants."""
        return [name for name in node.input if name and name not in self.constants]

    def with_nodes(
        self, nodes: Iterable[Any], constants: Mapping[str, Constant] | None = None
    ) -> "Net":
        """The same graph of other nodes; constants that nobody reads are dropped."""
        kept = tuple(nodes)
        known = {**self.constants, **(constants or {})}
        read = {name for node in kept for name in node.input}
        used = {name: value for name, value in known.items() if name in read}
        return replace(self, nodes=kept, constants=used)


def model_of(
    net: Net, *, inputs: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> Any:
    """The graph as an ONNX ModelProto: one opset, no producer, no documentation.

    Args:
        net: The graph; its nodes are copied.
        inputs: Values to take instead of its own input.
        outputs: Values to give instead of its own outputs.
    """
    graph = helper.make_graph(
        [_copied(node) for node in net.nodes],
        net.name,
        [_info(net, name) for name in ([net.input] if inputs is None else inputs)],
        [_info(net, name) for name in (net.outputs if outputs is None else outputs)],
        [numpy_helper.from_array(value, name) for name, value in net.constants.items()],
    )
    return helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", net.opset)],
        ir_version=IR_VERSION,
        producer_name="",
    )


def serialised(model: Any) -> bytes:
    """Bytes of a model; equal models give equal bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def part(net: Net, given: Iterable[str], wanted: Iterable[str]) -> Net:
    """Only the nodes between the given values and the wanted ones."""
    stop = {*given, *net.constants}
    makers, needed, queue = net.makers(), set(), [name for name in wanted if name not in stop]
    while queue:
        name = queue.pop()
        node = makers.get(name)
        if node is None or node.name in needed:
            continue
        needed.add(node.name)
        queue += [read for read in node.input if read and read not in stop]
    return net.with_nodes(node for node in net.nodes if node.name in needed)


def attribute(node: Any, name: str, default: Any) -> Any:
    """An attribute's value: int, float, text or list."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def node_like(node: Any, **changes: Any) -> Any:
    """A copy of a node with other `op_type`, `name`, `input` or `output`, or other attributes."""
    made = _copied(node)
    for name, value in changes.items():
        if name in ("op_type", "name"):
            setattr(made, name, value)
        elif name in ("input", "output"):
            getattr(made, name)[:] = value
        else:
            kept = [item for item in made.attribute if item.name != name]
            del made.attribute[:]
            made.attribute.extend([*kept, helper.make_attribute(name, value)])
    return made


def unused(name: str, taken: Iterable[str]) -> str:
    """A name that nothing has yet."""
    known = set(taken)
    return next(
        tried
        for tried in (name, *(f"{name}.{place}" for place in range(len(known) + 1)))
        if tried not in known
    )


def _info(net: Net, name: str) -> Any:
    shape: list[int | str] = list(net.shapes[name])
    if net.batch and shape and shape[0] == 1:
        shape[0] = net.batch
    return helper.make_tensor_value_info(name, net.types.get(name, TensorProto.FLOAT), shape)


def _copied(node: Any) -> Any:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made


def floats(value: Constant) -> NDArray[np.float32]:
    """A constant as contiguous float32."""
    return np.ascontiguousarray(value, dtype=np.float32)
