"""A graph for an NPU compiler, before it becomes a flatbuffer: tensors, nodes, nothing of a tool.

The writers of `edge.npu.tosa` and `edge.npu.tflite` make one from a program; the worker, which
runs in the NPU tools' own environment, serialises it. It travels as JSON and an .npz of constants.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Constant = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor.

    Attributes:
        name: Unique in the plan.
        shape: With the batch axis, which is 1.
        dtype: `int8`, `int32`, or `shape` (TOSA's own type for the sizes that an operator takes).
        data: Its elements, when it is constant.
        scale: Real value of one step, by channel or once; empty where the format needs none.
        zero: Zero point.
        axis: Axis of the channels that `scale` goes along.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    data: Constant | None = None
    scale: tuple[float, ...] = ()
    zero: int = 0
    axis: int = 0


@dataclass(frozen=True)
class Node:
    """One operator of the format.

    Attributes:
        name: The program's operation that it serves.
        kind: As the format spells it, such as `CONV2D`.
        inputs: Names of tensors.
        outputs: Names of tensors.
        options: What the format's attribute takes: arguments in order for TOSA (names of its
            enumerations as `DType.INT32`), fields by name for TFLite.
        version: Of the operator, for TFLite.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Sequence[Any] | Mapping[str, Any] = ()
    version: int = 1


@dataclass
class Plan:
    """A graph that grows node by node.

    Attributes:
        name: Of the program.
        inputs: Names of its input tensors, in order.
        outputs: Names of its output tensors, in order.
        tensors: Every tensor by name, in the order they were added.
        nodes: In an order in which they can run.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)

    def tensor(self, tensor: Tensor) -> str:
        """Add a tensor; its name."""
        self.tensors[tensor.name] = tensor
        return tensor.name

    def constant(self, name: str, data: Constant, **described: Any) -> str:
        """Add a constant with the shape and dtype of its elements; its name."""
        kind = described.pop("dtype", data.dtype.name)
        return self.tensor(Tensor(name, tuple(data.shape), kind, data, **described))

    def node(
        self,
        name: str,
        kind: str,
        inputs: Sequence[str],
        output: str,
        options: Sequence[Any] | Mapping[str, Any] = (),
        version: int = 1,
    ) -> None:
        """Add an operator with one output."""
        self.nodes.append(Node(name, kind, tuple(inputs), (output,), options, version))

    def save(self, folder: Path, stem: str) -> tuple[str, str]:
        """Write the plan as `stem`.json and `stem`.npz.

        Returns:
            Both paths, for a step of `edge.npu.process`.
        """
        constants = {
            f"c{place}": tensor.data
            for place, tensor in enumerate(self.tensors.values())
            if tensor.data is not None
        }
        document = {
            "name": self.name,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "tensors": [
                {
                    "name": tensor.name,
                    "shape": tensor.shape,
                    "dtype": tensor.dtype,
                    "data": f"c{place}" if tensor.data is not None else None,
                    "scale": tensor.scale,
                    "zero": tensor.zero,
                    "axis": tensor.axis,
                }
                for place, tensor in enumerate(self.tensors.values())
            ],
            "nodes": [vars(node) for node in self.nodes],
        }
        described, held = folder / f"{stem}.json", folder / f"{stem}.npz"
        described.write_text(json.dumps(document), encoding="utf-8")
        np.savez(held, **constants)  # type: ignore[arg-type]
        return str(described), str(held)
