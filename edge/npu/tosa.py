"""Program -> TOSA 1.0: every int8 operation as operators that are specified to the bit.

A layer is a CONV2D and a RESCALE with single rounding, `(acc * multiplier + 2**(shift - 1)) >>
shift`: the very integers that the program's requantisation is proved with. What has no exact form
is refused with its reason; `edge.npu.split` leaves it to the processor.
Specification: TOSA 1.0, https://www.mlplatform.org/tosa/tosa_spec.html
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from edge.npu.exact import add_factors, pooling, unfit
from edge.npu.image import window
from edge.npu.plan import Plan, Tensor
from edge.npu.tosa_layers import convolve, narrow, rescale, take
from edge.program import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Dense,
    MaxPool,
    Operation,
    Program,
    Reshape,
    Table,
    Transpose,
    Value,
)
from firnline.errors import HandshakeError

_LEAST_SHIFT = 9
"""Least shift that RESCALE has for nine-bit values; as much more in the factor undoes it."""
_ONE = 1 << 30
"""A factor for RESCALE that stands for 1 once its shift is 30 greater."""


def plan(program: Program) -> Plan:
    """The whole program as a TOSA graph of batch 1.

    Values are at least four-dimensional: [K] is [1, 1, 1, K], an image [H, W, C] [1, H, W, C].

    Args:
        program: Of int8 operations only.

    Raises:
        HandshakeError: E50, an operation has no exact form; by its name and why.
    """
    graph = Plan(program.name, program.inputs, program.outputs)
    for name in program.inputs:
        graph.tensor(Tensor(name, shape(program.values[name])))
    for step in program.operations:
        reason = unfit(program, step)
        if reason is not None:
            raise HandshakeError(
                "E50",
                found=reason,
                where=f"operation {step.name!r}",
                mend="leave it to the processor beside the NPU, or quantise with firnline",
            )
        _WRITERS[type(step)](graph, program, step)
    return graph


def shape(value: Value) -> tuple[int, ...]:
    """Shape of a value in the graph: at least four-dimensional, the batch of 1 first."""
    return (1,) * max(1, 4 - len(value.shape)) + value.shape


def _axis(value: Value, axis: int) -> int:
    """An axis of a value, as the graph counts it."""
    return axis + len(shape(value)) - len(value.shape)


def _dense(graph: Plan, program: Program, step: Dense) -> None:
    """A layer over [K] or [rows, K] is a convolution with a kernel of one place."""
    assert step.requant is not None  # noqa: S101 - `unfit` has seen that the result is int8
    source = program.values[step.inputs[0]]
    kernel = np.ascontiguousarray(step.weights[:, None, None, :])
    layer = Conv(step.name, step.inputs, step.output, kernel, step.bias, step.requant)
    convolve(graph, layer, shape(source), source.zero, shape(program.values[step.output]))


def _conv(graph: Plan, program: Program, step: Conv) -> None:
    source = program.values[step.inputs[0]]
    convolve(graph, step, shape(source), source.zero, shape(program.values[step.output]))


def _average(graph: Plan, program: Program, step: AveragePool) -> None:
    _conv(graph, program, pooling(program, step))


def _greatest(graph: Plan, program: Program, step: MaxPool) -> None:
    source = shape(program.values[step.inputs[0]])
    fitted = window((source[1], source[2]), step.kernel, step.stride, (1, 1), step.pad)
    read = step.inputs[0]
    if fitted.kept != source[1:3]:
        size = (1, *fitted.kept, source[3])
        read = take(graph, step.name, read, f"{step.output}@reached", (0, 0, 0, 0), size)
    top, left, bottom, right = fitted.pad
    options = [step.kernel, step.stride, [top, bottom, left, right], "NanPropagationMode.PROPAGATE"]
    _node(graph, program, step, "MAX_POOL2D", [read], options)


def _add(graph: Plan, program: Program, step: Add) -> None:
    """Both sides times their factor in int32, added, shifted down once."""
    found = add_factors(program, step)
    assert found is not None  # noqa: S101 - `unfit` has looked
    made = program.values[step.output]
    sides: list[str] = []
    for side, factor in zip(("left", "right"), (found.left, found.right), strict=True):
        source = program.values[step.inputs[len(sides)]]
        scaled = Tensor(f"{step.output}@{side}", shape(source), "int32")
        # int8 less its zero point, times the factor: exact, nothing is shifted away.
        exact = factor << _LEAST_SHIFT
        rescale(graph, step.name, source.name, scaled, exact, _LEAST_SHIFT, (source.zero, 0))
        sides.append(scaled.name)
    sums = graph.tensor(Tensor(f"{step.output}@sums", shape(made), "int32"))
    graph.node(step.name, "ADD", sides, sums)
    if found.rest:
        rest = np.full((1,) * len(shape(made)), found.rest, np.int32)
        whole = graph.tensor(Tensor(f"{step.output}@sums and rest", shape(made), "int32"))
        graph.node(step.name, "ADD", [sums, graph.constant(f"{step.output}@rest", rest)], whole)
        sums = whole
    bounds = (made.zero, step.low, step.high)
    narrow(graph, step.name, sums, step.output, _ONE, found.shift + 30, bounds)


def _table(graph: Plan, program: Program, step: Table) -> None:
    held = graph.constant(f"{step.output}@table", step.table)
    _node(graph, program, step, "TABLE", [step.inputs[0], held])


def _concat(graph: Plan, program: Program, step: Concat) -> None:
    sides = []
    for place, (name, table) in enumerate(zip(step.inputs, step.tables, strict=True)):
        if table is None:
            sides.append(name)
            continue
        held = graph.constant(f"{step.output}@table{place}", table)
        side = graph.tensor(Tensor(f"{step.output}@side{place}", shape(program.values[name])))
        graph.node(step.name, "TABLE", [name, held], side)
        sides.append(side)
    axis = _axis(program.values[step.output], step.axis)
    _node(graph, program, step, "CONCAT", sides, [axis])


def _reshape(graph: Plan, program: Program, step: Reshape) -> None:
    sizes = np.array(shape(program.values[step.output]), np.int64)
    held = graph.constant(f"{step.output}@shape", sizes, dtype="shape")
    _node(graph, program, step, "RESHAPE", [step.inputs[0], held])


def _transpose(graph: Plan, program: Program, step: Transpose) -> None:
    first = _axis(program.values[step.output], 0)
    order = [*range(first), *(first + axis for axis in step.order)]
    _node(graph, program, step, "TRANSPOSE", [step.inputs[0]], [order])


def _node(
    graph: Plan,
    program: Program,
    step: Operation,
    kind: str,
    inputs: list[str],
    options: list[Any] | None = None,
) -> None:
    """An operator whose output is the operation's own."""
    graph.tensor(Tensor(step.output, shape(program.values[step.output])))
    graph.node(step.name, kind, inputs, step.output, options or [])


_WRITERS: dict[type[Operation], Callable[[Plan, Program, Any], None]] = {
    Add: _add,
    AveragePool: _average,
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    MaxPool: _greatest,
    Reshape: _reshape,
    Table: _table,
    Transpose: _transpose,
}
