"""The integer reference: a program computed in NumPy, to the bit. Golden vectors come from here."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge.program import (
    Add,
    ArgMax,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Dequantize,
    FloatBinary,
    FloatConcat,
    FloatConv,
    FloatDense,
    FloatGather,
    FloatImpute,
    FloatPool,
    FloatReduce,
    FloatSoftmax,
    FloatUnary,
    MaxPool,
    Operation,
    Program,
    Quantize,
    Reshape,
    Softmax,
    Table,
    Transpose,
    Trees,
)
from edge.reference import floating, integer
from firnline.errors import HandshakeError

Array: TypeAlias = NDArray[np.generic]

_ELEMENTS = 1 << 22
"""Elements of all values that are computed at once; bounds memory, changes nothing else."""


def run(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of a program for any number of rows.

    Args:
        program: What to compute.
        inputs: Every input by name, [rows, *its shape], of its dtype.

    Returns:
        Every output by name, [rows, *its shape].

    Raises:
        HandshakeError: E25, an input is missing, or has another shape or dtype.
    """
    return _run(program, inputs, program.outputs)


def trace(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every value of a program by name, [rows, *its shape]: as `run`, for finding a difference."""
    return _run(program, inputs, tuple(program.values))


def _run(
    program: Program, inputs: Mapping[str, Array], wanted: tuple[str, ...]
) -> dict[str, Array]:
    rows = _rows(program, inputs)
    widest = max(_size(program, step) for step in program.operations) if program.operations else 1
    part = max(1, _ELEMENTS // widest)
    parts: dict[str, list[Array]] = {name: [] for name in wanted}
    for begin in range(0, max(rows, 1), part):
        known: dict[str, Any] = {
            name: np.asarray(inputs[name])[begin : begin + part] for name in program.inputs
        }
        for step in program.operations:
            shape = program.values[step.output].shape
            made = _computed(program, step, [known[name] for name in step.inputs])
            known[step.output] = made.reshape(-1, *shape) if rows else _empty(program, step.output)
        for name in wanted:
            parts[name].append(known[name])
    return {name: np.concatenate(made) for name, made in parts.items()}


def _computed(program: Program, step: Operation, x: list[Any]) -> Any:
    """One operation on [rows, *shape] arrays."""
    made = program.values[step.output]
    given = program.values[step.inputs[0]]
    match step:
        case Dense():
            return integer.dense(step, x[0], given)
        case Conv():
            return integer.conv(step, x[0], given)
        case Quantize():
            return integer.quantize(step, x[0], made)
        case Dequantize():
            return integer.dequantize(step, x[0], given)
        case MaxPool():
            return integer.max_pool(step, x[0])
        case AveragePool():
            return integer.average_pool(step, x[0], given, made)
        case Add():
            return integer.add(step, x[0], x[1])
        case Softmax():
            return integer.softmax(step, x[0], made)
        case Table():
            return step.table[x[0].astype(np.int16) + 128]
        case Concat():
            return np.concatenate(list(_through_tables(step, x)), axis=step.axis + 1)
        case _:
            return _moved(step, x) if not _is_float(step) else _floating(step, x)


def _moved(step: Operation, x: list[Any]) -> Any:
    """Operations on values of any dtype."""
    match step:
        case Reshape():
            return x[0]
        case Transpose():
            return x[0].transpose(0, *[axis + 1 for axis in step.order])
        case ArgMax():
            return floating.argmax(x[0])
    raise TypeError(type(step).__name__)


def _floating(step: Operation, x: list[Any]) -> Any:
    match step:
        case FloatBinary():
            return floating.binary(step, x)
        case FloatUnary():
            return floating.unary(step, x[0])
        case FloatImpute():
            return np.where(np.isnan(x[0]), step.fill, x[0])
        case FloatGather():
            return x[0][..., list(step.places)]
        case FloatDense():
            return floating.dense(step, x[0])
        case FloatConv():
            return floating.conv(step, x[0])
        case FloatPool():
            return floating.pool(step, x[0])
        case FloatReduce():
            return floating.reduce(step, x[0])
        case FloatSoftmax():
            return floating.softmax(x[0])
        case FloatConcat():
            return np.concatenate(x, axis=step.axis + 1)
        case Trees():
            return floating.trees(step, x[0])
    raise TypeError(type(step).__name__)


def _is_float(step: Operation) -> bool:
    return not isinstance(step, Reshape | Transpose | ArgMax)


def _through_tables(step: Concat, x: list[Any]) -> Iterator[Any]:
    for values, table in zip(x, step.tables, strict=True):
        yield values if table is None else table[values.astype(np.int16) + 128]


def _size(program: Program, step: Operation) -> int:
    """Elements an operation works on for one row, the copies of its windows included."""
    made = program.values[step.output]
    if isinstance(step, Conv | FloatConv):
        per_group = int(np.prod(step.weights.shape[1:3])) * program.values[step.inputs[0]].shape[2]
        return made.size // len(step.weights) * per_group + made.size
    return made.size + sum(program.values[name].size for name in step.inputs)


def _empty(program: Program, name: str) -> Array:
    value = program.values[name]
    return np.zeros((0, *value.shape), value.dtype)


def _rows(program: Program, inputs: Mapping[str, Array]) -> int:
    """How many rows all inputs have."""
    counts = set()
    for name in program.inputs:
        value = program.values[name]
        given = np.asarray(inputs[name]) if name in inputs else None
        if given is None or given.shape[1:] != value.shape or given.dtype != value.dtype:
            found = "missing" if given is None else f"{given.dtype} {list(given.shape)}"
            raise _misfit(f"is {found}", name, f"[rows, *{list(value.shape)}] of {value.dtype}")
        counts.add(len(given))
    if len(counts) > 1:
        raise _misfit(f"have {sorted(counts)} rows", ", ".join(program.inputs), "as many rows each")
    return counts.pop() if counts else 0


def _misfit(found: str, where: str, wanted: str) -> HandshakeError:
    return HandshakeError(
        "E25", found=f"input {found}", where=f"input {where}", mend=f"give it {wanted}"
    )
