"""A program as people and registries see it: a readable record, and a digest of all it computes."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from edge.program import Operation, Parameter, Program, Requant, Value, macs, parameters


def document(program: Program) -> dict[str, Any]:
    """A program in plain types, for JSON: structure, sizes and digests, no parameters.

    Returns:
        `name`, `digest`, `inputs`, `outputs`, `macs` of one inference, `parameter_bytes`, `values`
        and `operations`, both in the program's order. Every parameter has its dtype, shape and
        sha256.
    """
    return {
        "name": program.name,
        "digest": digest(program),
        "inputs": list(program.inputs),
        "outputs": list(program.outputs),
        "macs": program.macs,
        "parameter_bytes": sum(
            array.nbytes for step in program.operations for _, array in _arrays(step)
        ),
        "values": [_value(value) for value in program.values.values()],
        "operations": [_operation(program, step) for step in program.operations],
    }


def digest(program: Program) -> str:
    """sha256 over a program's structure and every parameter, 64 hex digits.

    Equal for two programs exactly if they have the same values, operations and parameters in the
    same order; neither the machine's byte order nor how arrays lie in memory changes it.
    """
    structure = {
        "name": program.name,
        "inputs": list(program.inputs),
        "outputs": list(program.outputs),
        "values": [_value(value) for value in program.values.values()],
        "operations": [_structure(step) for step in program.operations],
    }
    found = hashlib.sha256(json.dumps(structure, sort_keys=True, allow_nan=False).encode())
    for step in program.operations:
        for _, array in _arrays(step):
            found.update(_bytes(array))
    return found.hexdigest()


def _operation(program: Program, step: Operation) -> dict[str, Any]:
    return {**_structure(step), "macs": macs(program, step)}


def _structure(step: Operation) -> dict[str, Any]:
    """An operation without the contents of its arrays."""
    arrays = {
        name: {"dtype": array.dtype.name, "shape": list(array.shape), "sha256": _sha256(array)}
        for name, array in _arrays(step)
    }
    plain: dict[str, Any] = {}
    for item in fields(step):
        value = getattr(step, item.name)
        if isinstance(value, Requant):
            plain |= {"zero": value.zero, "low": value.low, "high": value.high}
        elif item.name not in ("name", "inputs", "output") and not isinstance(value, np.ndarray):
            plain[item.name] = _plain(value)
    return {
        "operation": type(step).__name__,
        "name": step.name,
        "inputs": list(step.inputs),
        "output": step.output,
        **plain,
        "parameters": arrays,
    }


def _arrays(step: Operation) -> Iterator[tuple[str, Parameter]]:
    """Every array of an operation, those in tuples too, by a name of its own."""
    yield from parameters(step).items()
    for item in fields(step):
        value = getattr(step, item.name)
        if isinstance(value, tuple):
            for place, part in enumerate(value):
                if isinstance(part, np.ndarray):
                    yield f"{item.name}.{place}", part


def _plain(value: Any) -> Any:
    """A field in JSON's types; JSON holds a float64 exactly."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, tuple):
        return [None if isinstance(part, np.ndarray) else _plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _value(value: Value) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": value.name,
        "shape": list(value.shape),
        "dtype": value.dtype,
        "bytes": value.bytes,
    }
    if value.dtype == "int8":
        made |= {"scale": value.scale, "zero": value.zero}
    return made


def _sha256(array: Parameter) -> str:
    return hashlib.sha256(_bytes(array)).hexdigest()


def _bytes(array: Parameter) -> bytes:
    """Row-major, little-endian."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
