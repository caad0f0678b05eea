"""What is exported: a float graph, its int8 graph, the program both stand for, and vectors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edge import reference
from edge.decide import FAULT, FLAGGED, SCORE, with_decision
from edge.lower import lower
from edge.mcu.emit_text import program_name
from edge.parity_run import score as run_onnx
from edge.program import Program, Quantize
from firnline.contracts.quantize import Parity
from firnline.digest import bytes_digest, digest
from firnline.errors import ContractError
from firnline.evidence.scores import DecisionRule

Io = Literal["int8", "float32"]
VECTORS = 1024
"""Windows a proof is made on, where there are as many."""


@dataclass(frozen=True)
class Model:
    """A model on its way to targets.

    Attributes:
        name: A C identifier.
        float_model: The float ONNX.
        int8_model: The QDQ ONNX of the same inputs and outputs.
        program: What every target computes.
        vectors: float32 [rows, *input]: windows to prove it on.
        inputs: The same as the program takes them.
        golden: Every value of the program on them, by the integer reference.
        exact: The float graph's outputs on them.
        labels: Shape [rows]; empty text where unknown.
        rule: What makes a decision of its outputs; None for a model without one.
        limits: How far it may lie from float.
        versions: Name -> version or digest, told in the C header.
    """

    name: str
    float_model: bytes
    int8_model: bytes
    program: Program
    vectors: NDArray[np.float32]
    inputs: Mapping[str, NDArray[Any]]
    golden: Mapping[str, NDArray[Any]]
    exact: Mapping[str, NDArray[Any]]
    labels: NDArray[np.str_]
    rule: DecisionRule | None
    limits: Parity
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def digests(self) -> dict[str, str]:
        """sha256 of what a proof is bound to, the artifact aside."""
        from edge.document import digest as program_digest

        outputs = {name: _array_digest(self.golden[name]) for name in self.program.outputs}
        return {
            "onnx": bytes_digest(self.int8_model),
            "program": program_digest(self.program),
            "vectors": _array_digest(self.vectors),
            "golden": digest(outputs),
        }


def of_ensemble(
    name: str,
    models: tuple[bytes, bytes],
    vectors: NDArray[np.float32],
    labels: NDArray[np.str_],
    rule: DecisionRule,
    limits: Parity,
    versions: Mapping[str, str],
) -> Model:
    """An ensemble, whose device computes the deciding output, the score and the decision.

    Args:
        name: The ensemble's.
        models: Float and int8 graph, both with `features` in and the decision among the outputs
            (see `edge.decide`).
        vectors: float32 [rows, columns]; NaN where a feature is missing.
        labels: Shape [rows]; empty text where unknown.
        rule: From outputs to scores and decisions.
        limits: The manifest's `[parity]`.
        versions: What the C header tells of features and stages.

    Raises:
        HandshakeError: E20 to E26, as `edge.lower.lower`.
        ContractError: E9, a window has a NaN where int8 begins.
    """
    wanted = [rule.output, SCORE, FLAGGED] + ([FAULT] if rule.classes else [])
    program = lower(models[1], identifier(name), outputs=wanted, io="float32")
    return _model(name, models, program, vectors, labels, rule, limits, versions)


def of_onnx(
    name: str,
    models: tuple[bytes, bytes],
    vectors: NDArray[np.float32],
    io: Io = "int8",
) -> Model:
    """Any model of one input, without a decision rule.

    Args:
        name: What the C calls it.
        models: Float and int8 graph.
        vectors: float32 [rows, *input].
        io: Whether the device is handed int8 values, or floats.

    Raises:
        HandshakeError: E20 to E26, as `edge.lower.lower`.
        ContractError: E9, a window has a NaN where int8 begins.
    """
    program = lower(models[1], identifier(name), io=io)
    labels = np.full(len(vectors), "", dtype="<U1")
    return _model(name, models, program, vectors, labels, None, Parity(), {})


def decided(models: tuple[bytes, bytes], rule: DecisionRule) -> tuple[bytes, bytes]:
    """Both graphs with the decision among their outputs."""
    return with_decision(models[0], rule), with_decision(models[1], rule)


def identifier(name: str) -> str:
    """A C identifier of a name: lower case, everything else an underscore, no word of C's."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return program_name(plain if plain[:1].isalpha() else f"model_{plain}")


def input_name(model: bytes) -> str:
    """The one input of a graph, constants aside."""
    graph = onnx.load_from_string(model).graph
    constants = {constant.name for constant in graph.initializer}
    return next(str(given.name) for given in graph.input if given.name not in constants)


def _model(
    name: str,
    models: tuple[bytes, bytes],
    program: Program,
    vectors: NDArray[np.float32],
    labels: NDArray[np.str_],
    rule: DecisionRule | None,
    limits: Parity,
    versions: Mapping[str, str],
) -> Model:
    inputs = {program.inputs[0]: _as_taken(program, vectors)}
    with np.errstate(invalid="ignore"):
        golden = reference.trace(program, inputs)
    for step in program.operations:
        if isinstance(step, Quantize):
            _refuse_missing(golden[step.inputs[0]], f"value {step.inputs[0]!r} of {program.name}")
    return Model(
        name=identifier(name),
        float_model=models[0],
        int8_model=models[1],
        program=program,
        vectors=vectors,
        inputs=inputs,
        golden=golden,
        exact=run_onnx(models[0], vectors),
        labels=labels,
        rule=rule,
        limits=limits,
        versions=versions,
    )


def _as_taken(program: Program, vectors: NDArray[np.float32]) -> NDArray[Any]:
    """Float windows as the program takes them: in int8 where it asks for that.

    Raises:
        ContractError: E9, a missing value for an int8 input.
    """
    value = program.values[program.inputs[0]]
    rows = vectors.reshape(len(vectors), *value.shape) if value.dtype == "float32" else vectors
    if value.dtype != "int8":
        return rows
    _refuse_missing(rows, f"input {program.inputs[0]!r} of {program.name}")
    quotient = (rows / np.float32(value.scale)).astype(np.float32)
    stored: NDArray[np.int8] = np.clip(np.rint(quotient) + value.zero, -128, 127).astype(np.int8)
    return stored.reshape(len(rows), *value.shape)


def _refuse_missing(rows: NDArray[Any], where: str) -> None:
    """Refuse windows with a NaN where int8 begins, as no int8 value is one."""
    missing = np.argwhere(np.isnan(rows))
    if len(missing):
        raise ContractError(
            "E9",
            found=f"NaN in window {int(missing[0, 0])} where it is to be int8",
            where=where,
            mend="leave such windows out, or fill missing values in the graph, before the first "
            "layer, and hand the device floats (--io float32)",
        )


def _array_digest(array: NDArray[Any]) -> str:
    flat = np.ascontiguousarray(array)
    return digest([str(flat.dtype), list(flat.shape), bytes_digest(flat.tobytes())])
