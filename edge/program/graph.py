"""A whole program, what it multiplies, and the bounds of its accumulators."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.program.floating import FloatConv, FloatDense
from edge.program.integer import Conv, Dense
from edge.program.values import Operation, Requant, Value

Parameter: TypeAlias = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Program:
    """A model as every target computes it.

    Attributes:
        name: A C identifier.
        inputs: Names of its inputs, in order.
        outputs: Names of its outputs, in order.
        values: Every value by name: inputs first, then in the order they are made.
        operations: In an order in which they can run.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: dict[str, Value]
    operations: tuple[Operation, ...]

    def readers(self, name: str) -> Iterator[Operation]:
        """Operations that read a value."""
        return (step for step in self.operations if name in step.inputs)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference, of integer and float layers."""
        return sum(macs(self, step) for step in self.operations)


def macs(program: Program, step: Operation) -> int:
    """Multiply-accumulates of one operation."""
    made = program.values[step.output]
    if isinstance(step, Dense | FloatDense):
        return made.size * int(step.weights.shape[1])
    if isinstance(step, Conv | FloatConv):
        return made.size * int(np.prod(step.weights.shape[1:]))
    return 0


def parameters(step: Operation) -> dict[str, Parameter]:
    """Every array an operation holds, by field; those of its requantisation as `requant.field`."""
    found: dict[str, Parameter] = {}
    for item in fields(step):
        value = getattr(step, item.name)
        if isinstance(value, np.ndarray):
            found[item.name] = value
        elif isinstance(value, Requant):
            for part in ("scale", "multiplier", "shift", "exact"):
                found[f"requant.{part}"] = getattr(value, part)
    return found


def bounds(step: Dense | Conv, zero: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Least and greatest accumulator of every channel, for inputs in [-128, 127].

    Args:
        step: The layer.
        zero: Zero point of its input.

    Returns:
        Two int64 [channels].
    """
    weights = step.weights.reshape(len(step.weights), -1).astype(np.int64)
    low, high = -128 - zero, 127 - zero
    positive, negative = np.maximum(weights, 0).sum(1), np.minimum(weights, 0).sum(1)
    bias = step.bias.astype(np.int64)
    return bias + positive * low + negative * high, bias + positive * high + negative * low
