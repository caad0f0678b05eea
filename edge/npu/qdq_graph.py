"""A QDQ ONNX graph as the rules look at it: who makes a value, who reads it, what is constant."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from firnline.errors import HandshakeError

LAYERS = ("Conv", "Gemm", "MatMul")
PAIR = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Scaled:
    """A value behind a DequantizeLinear.

    Attributes:
        stored: Name of what it reads.
        scale: float32, by channel or one.
        zero: Zero points, as wide as the scale.
        axis: Of the channels.
    """

    stored: str
    scale: NDArray[Any]
    zero: NDArray[Any]
    axis: int


@dataclass(frozen=True, eq=False)
class Graph:
    """A model, with its wiring by name.

    Attributes:
        model: As loaded.
    """

    model: Any

    @cached_property
    def nodes(self) -> list[Any]:
        """Every node, those without a name called by what they make."""
        return list(self.model.graph.node)

    @cached_property
    def constants(self) -> dict[str, NDArray[Any]]:
        """Initialisers by name."""
        return {item.name: numpy_helper.to_array(item) for item in self.model.graph.initializer}

    @cached_property
    def makers(self) -> dict[str, Any]:
        """Value -> node that makes it."""
        return {name: node for node in self.nodes for name in node.output}

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Names of the graph's outputs."""
        return frozenset(item.name for item in self.model.graph.output)

    def readers(self, name: str) -> list[Any]:
        """Nodes that read a value."""
        return [node for node in self.nodes if name in node.input]

    def layers(self) -> Iterator[Any]:
        """Convolutions and matrix products with constant weights."""
        for node in self.nodes:
            held = self.dequantised(node.input[1]) if node.op_type in LAYERS else None
            if node.op_type in LAYERS and (
                node.input[1] in self.constants or (held and held.stored in self.constants)
            ):
                yield node

    def dequantised(self, name: str) -> Scaled | None:
        """What a value is behind, when a DequantizeLinear with constant scale makes it."""
        node = self.makers.get(name)
        if node is None or node.op_type != "DequantizeLinear":
            return None
        scale = self.constants.get(node.input[1])
        if scale is None:
            return None
        zero = np.zeros(scale.shape, np.int8)
        if len(node.input) > 2:
            zero = self.constants.get(node.input[2], zero)
        axis = next((item.i for item in node.attribute if item.name == "axis"), 1)
        return Scaled(node.input[0], np.atleast_1d(scale), np.atleast_1d(zero), axis)


def load(model: bytes) -> Graph:
    """Read a model.

    Raises:
        HandshakeError: E53, it is no ONNX.
    """
    try:
        found = onnx.load_from_string(model)
        onnx.checker.check_model(found)
    except Exception as error:  # protobuf and the checker raise types of their own
        raise HandshakeError(
            "E53",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            where="the QDQ graph",
            mend="give a valid ONNX model with its weights inside",
        ) from error
    return Graph(found)


def label(node: Any) -> str:
    """How a person finds a node: its operator and its name, or what it makes."""
    return f"{node.op_type} {node.name or node.output[0]}"
