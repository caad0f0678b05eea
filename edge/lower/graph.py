"""An ONNX graph as lowering reads it: checked, every shape known, constants apart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge.lower.scalers import spelt_out
from firnline.errors import HandshakeError

Array = NDArray[Any]
Shape = tuple[int, ...]

OPSETS = range(13, 22)
"""Of the default domain; before 13, Softmax and ReduceSum mean something else."""

TREES = "ai.onnx.ml"
"""The domain of trees."""

_MOST_ELEMENTS = 1 << 26
_PLAIN_CONSTANTS = ("value", "value_float", "value_floats", "value_int", "value_ints")


@dataclass(frozen=True)
class Node:
    """One node.

    Attributes:
        operator: Such as `Gemm`.
        name: Its own name, or that of what it makes.
        inputs: Names of values; empty where an optional one is left out.
        outputs: Names of values.
        attributes: As Python values; strings are bytes.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def input(self, place: int) -> str:
        """Name of an input, empty if it is left out."""
        return self.inputs[place] if place < len(self.inputs) else ""


@dataclass(frozen=True)
class Graph:
    """A graph whose batch axis is one row.

    Attributes:
        nodes: In an order in which they can run.
        constants: Initializers and what `Constant` nodes hold.
        inputs: Name -> element type of ONNX, initializers aside.
        outputs: Names.
        shapes: Of every value that is not constant, batch axis included: its first, which is 1.
        opset: Of the default domain.
    """

    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    inputs: dict[str, int]
    outputs: tuple[str, ...]
    shapes: dict[str, Shape]
    opset: int

    def shape(self, name: str) -> Shape:
        """Shape without the batch axis.

        Raises:
            HandshakeError: E22, it is not known, its first axis is not the batch, or it has no
                elements or more than any target holds.
        """
        shape = self.shapes.get(name)
        if shape is None:
            raise _shapeless(name, "no shape that can be inferred")
        if not shape or shape[0] != 1:
            raise _shapeless(name, f"shape {list(shape)} for one row, so no batch axis in front")
        if not 0 < math.prod(shape) <= _MOST_ELEMENTS:
            raise _shapeless(name, f"shape {list(shape)}: no elements, or over {_MOST_ELEMENTS:,}")
        return shape[1:]

    def readers(self, name: str) -> list[Node]:
        """Nodes that read a value."""
        return [node for node in self.nodes if name in node.inputs]


def read(model: bytes) -> Graph:
    """Read a model for one row.

    Raises:
        HandshakeError: E22, shapes are not static beside the batch axis; E23, the model cannot be
            read, or needs another opset or domain.
    """
    try:
        loaded = onnx.load_from_string(model)
    except Exception as error:  # onnx raises several unrelated kinds here.
        raise _unreadable(f"no valid ONNX model: {error}") from error
    opset = _opset(loaded)
    if len(loaded.graph.sparse_initializer):
        raise _unreadable("sparse constants")
    spelt_out(loaded.graph)
    known = {item.name for item in loaded.graph.initializer}
    given = [item for item in loaded.graph.input if item.name not in known]
    for item in given:
        _one_row(item)
    for item in loaded.graph.output:
        if item.type.HasField("tensor_type"):
            item.type.tensor_type.ClearField("shape")
    del loaded.graph.value_info[:]
    try:
        loaded = onnx.shape_inference.infer_shapes(loaded, strict_mode=True, data_prop=True)
        onnx.checker.check_model(loaded)
    except Exception as error:  # As above.
        raise _unreadable(f"types or shapes do not fit together: {error}") from error
    graph = loaded.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = _constant(node)
        else:
            nodes.append(_node(node))
    described = [*graph.input, *graph.value_info, *graph.output]
    return Graph(
        nodes=tuple(nodes),
        constants=constants,
        inputs={item.name: item.type.tensor_type.elem_type for item in given},
        outputs=tuple(item.name for item in graph.output),
        shapes={item.name: shape for item in described if (shape := _shape(item)) is not None},
        opset=opset,
    )


def _opset(model: Any) -> int:
    found = {item.domain or "ai.onnx": item.version for item in model.opset_import}
    used = {node.domain or "ai.onnx" for node in model.graph.node}
    if others := sorted(used - {"ai.onnx", TREES}):
        raise _unreadable(f"operators of the domains {', '.join(others)}")
    for item in model.opset_import:
        if item.domain == TREES:
            # Trees of version 1 mean the same in 3, which also tells their shapes.
            item.version = max(item.version, 3)
    opset = int(found.get("ai.onnx", 0))
    if opset not in OPSETS:
        raise _unreadable(f"opset {opset}")
    return opset


def _one_row(item: Any) -> None:
    """Make the first axis of a graph's input 1, if it is free."""
    axes = item.type.tensor_type.shape.dim
    if not axes:
        raise _shapeless(item.name, "no axes")
    if not axes[0].dim_value:
        axes[0].dim_value = 1
    free = [place for place, axis in enumerate(axes) if not axis.dim_value]
    if free or axes[0].dim_value != 1:
        shape = [axis.dim_value or axis.dim_param or "?" for axis in axes]
        raise _shapeless(item.name, f"shape {shape}")


def _shape(item: Any) -> Shape | None:
    kind = item.type.tensor_type
    if not kind.HasField("shape") or any(not axis.HasField("dim_value") for axis in kind.shape.dim):
        return None
    return tuple(int(axis.dim_value) for axis in kind.shape.dim)


def _node(node: Any) -> Node:
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    name = node.name or node.output[0]
    return Node(node.op_type, name, tuple(node.input), tuple(node.output), attributes)


def _constant(node: Any) -> Array:
    held = node.attribute[0]
    if held.name not in _PLAIN_CONSTANTS:
        raise _unreadable(f"constant {node.output[0]} given by {held.name}")
    value = helper.get_attribute_value(held)
    if held.name == "value":
        return np.asarray(numpy_helper.to_array(value))
    kind = np.float32 if "float" in held.name else np.int64
    return np.asarray(value, kind)


def element_type(kind: int) -> str:
    """Name of an ONNX element type, such as `FLOAT`."""
    return str(TensorProto.DataType.Name(kind))


def _shapeless(name: str, found: str) -> HandshakeError:
    return HandshakeError(
        "E22",
        found=found,
        where=f"value {name!r}",
        mend="give every input a static shape whose first axis is the batch, free or 1, and let "
        "no node mix that axis with others",
    )


def _unreadable(found: str) -> HandshakeError:
    return HandshakeError(
        "E23",
        found=found,
        where="the ONNX model",
        mend=f"export it with opset {OPSETS[0]} to {OPSETS[-1]} and operators of the default "
        f"domain alone (trees: {TREES}), not optimised by ONNX Runtime",
    )
