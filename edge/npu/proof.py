"""A split program run as it would be on the chip, and every NPU part held to the reference.

NPU parts run in the TOSA reference model, which says to the bit what an implementation must
compute; the .tflite form runs in LiteRT beside it. The compiled command stream itself cannot be
run without the chip, which the proof does not claim.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge import reference
from edge.npu.models import Format, Model, Runner, plan, run_all, serialise
from edge.npu.plan import Plan
from edge.npu.split import Split
from edge.program import Program
from firnline.errors import HandshakeError

Rows: TypeAlias = Mapping[str, NDArray[Any]]
Host: TypeAlias = Callable[[Program, Rows], Rows]


@dataclass(frozen=True)
class Body:
    """An NPU part in the formats that hold it.

    Attributes:
        program: The part.
        models: TOSA always, TFLite where it can.
        refused: Why there is no .tflite; empty when there is.
    """

    program: Program
    models: Mapping[Format, Model]
    refused: str


@dataclass(frozen=True)
class BodyProof:
    """What an NPU part's interpreters made of rows.

    Attributes:
        part: Name of the part.
        vectors: Rows run.
        outputs: Bytes compared, over all rows.
        differ: Runner -> bytes that differ from the reference; TOSA's must be 0.
        versions: Runner -> version of its package.
        sha256: Format -> digest of the file that ran.
        refused: Why no .tflite ran.
    """

    part: str
    vectors: int
    outputs: int
    differ: Mapping[Runner, int]
    versions: Mapping[Runner, str]
    sha256: Mapping[Format, str]
    refused: str

    @property
    def exact(self) -> bool:
        """Whether the specified form gives the reference's bytes."""
        return self.differ["tosa-reference"] == 0


@dataclass(frozen=True)
class Executed:
    """A whole program, processor and NPU by turns.

    Attributes:
        values: Every value that crossed a part's edge, outputs among them: name -> [rows, *shape].
        proofs: One an NPU part.
    """

    values: dict[str, NDArray[Any]]
    proofs: tuple[BodyProof, ...]


def bodies(split: Split) -> tuple[Body, ...]:
    """The NPU parts of a split program as files.

    Raises:
        HandshakeError: E50, a part holds what TOSA has no exact form for.
        DeliveryError: E60, E61 or E63 of the NPU tools.
    """
    made = []
    for program in split.bodies:
        plans: dict[Format, Plan] = {"tosa": plan(program, "tosa")}
        refused = ""
        try:
            plans["tflite"] = plan(program, "tflite")
        except HandshakeError as error:
            refused = f"{error.where}: {error.found}"
        made.append(Body(program, serialise(plans), refused))
    return tuple(made)


def execute(
    split: Split, made: tuple[Body, ...], inputs: Rows, host: Host = reference.run
) -> Executed:
    """Run a split program on rows: what an NPU part makes is what later parts read.

    Args:
        split: The parts.
        made: `bodies` of it.
        inputs: Every input of the whole program, name -> [rows, *shape].
        host: Computes the processor's parts; an emulator's may stand here.

    Raises:
        DeliveryError: E60, E61 or E63 of the NPU tools.
    """
    values: dict[str, NDArray[Any]] = dict(inputs)
    waiting, proofs = list(made), []
    for part in split.parts:
        given = {name: values[name] for name in part.program.inputs}
        if part.place == "cpu":
            values |= host(part.program, given)
            continue
        outputs, proof = _body(waiting.pop(0), given)
        values |= outputs
        proofs.append(proof)
    return Executed(values, tuple(proofs))


def _body(body: Body, given: Rows) -> tuple[dict[str, NDArray[np.int8]], BodyProof]:
    """One NPU part on rows: TOSA's outputs, and how all interpreters compare."""
    wanted = reference.run(body.program, given)
    runs = run_all(body.models.values(), body.program, given)
    differ = {
        found.runner: sum(
            int(np.count_nonzero(found.outputs[name] != wanted[name])) for name in wanted
        )
        for found in runs
    }
    proof = BodyProof(
        part=body.program.name,
        vectors=len(next(iter(given.values()))),
        outputs=sum(rows.size for rows in wanted.values()),
        differ=differ,
        versions={found.runner: found.version for found in runs},
        sha256={
            form: hashlib.sha256(model.content).hexdigest() for form, model in body.models.items()
        },
        refused=body.refused,
    )
    exact = next(found for found in runs if found.runner == "tosa-reference")
    return exact.outputs, proof
