"""A program as a file of a format, and the interpreters that run it."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.npu import tflite, tosa
from edge.npu.plan import Plan
from edge.npu.process import give_plan, give_rows, take_rows, work
from edge.program import Program

Format = Literal["tosa", "tflite"]
Runner = Literal["tosa-reference", "litert-xnnpack", "litert-reference"]

RUNNERS: dict[Format, tuple[Runner, ...]] = {
    "tosa": ("tosa-reference",),
    "tflite": ("litert-xnnpack", "litert-reference"),
}
"""What runs each format; only the first of TOSA is specified to the bit."""

PACKAGES: dict[Runner, str] = {
    "tosa-reference": "tosa-tools",
    "litert-xnnpack": "ai-edge-litert",
    "litert-reference": "ai-edge-litert",
}

Int8Rows = Mapping[str, NDArray[np.int8]]


@dataclass(frozen=True)
class Model:
    """An int8 program in a compiler's format.

    Attributes:
        format: Which.
        content: The file.
        operations: Tensor of the file -> the program's operation that makes it.
    """

    format: Format
    content: bytes
    operations: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """What an interpreter made of rows.

    Attributes:
        runner: Which.
        version: Of its package.
        outputs: Name -> int8 [rows, *shape].
    """

    runner: Runner
    version: str
    outputs: dict[str, NDArray[np.int8]]


def write(program: Program, form: Format) -> Model:
    """An int8 program as a file; the same program gives the same bytes.

    Raises:
        HandshakeError: E50 or E52, an operation that the format cannot hold.
        DeliveryError: E60, E61 or E63 of the NPU tools.
    """
    return serialise({form: plan(program, form)})[form]


def plan(program: Program, form: Format) -> Plan:
    """An int8 program as a graph of a format.

    Raises:
        HandshakeError: E50 or E52, an operation that the format cannot hold.
    """
    return tosa.plan(program) if form == "tosa" else tflite.plan(program)


def serialise(plans: Mapping[Format, Plan]) -> dict[Format, Model]:
    """Graphs as files, in one process.

    Raises:
        DeliveryError: E60, E61 or E63 of the NPU tools.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = {form: folder / f"model.{form}" for form in plans}
        steps = [
            {"do": f"write-{form}", **give_plan(folder, plans[form], form), "to": str(file)}
            for form, file in files.items()
        ]
        named = dict(zip(plans, (answer["names"] for answer in work(folder, steps)), strict=True))
        return {
            form: Model(form, file.read_bytes(), _makers(plans[form], named[form]))
            for form, file in files.items()
        }


def run(model: Model, program: Program, inputs: Int8Rows) -> list[Run]:
    """Rows through every interpreter of the model's format; see `run_all`."""
    return run_all([model], program, inputs)


def run_all(models: Iterable[Model], program: Program, inputs: Int8Rows) -> list[Run]:
    """Rows through every interpreter of the models' formats, in one process.

    Args:
        models: What `write` made of the program, a format each.
        program: For its shapes.
        inputs: Name -> int8 [rows, *shape].

    Raises:
        DeliveryError: E60, E61 or E63 of the NPU tools.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        steps: dict[Runner, dict[str, str]] = {}
        for model in models:
            file = folder / f"model.{model.format}"
            file.write_bytes(model.content)
            rows = [_shaped(model.format, program, name, inputs[name]) for name in program.inputs]
            given = give_rows(folder, f"{model.format}-rows", rows)
            for runner in RUNNERS[model.format]:
                steps[runner] = _step(runner, file, given, folder)
        packages = [PACKAGES[runner] for runner in steps]
        asked = {"do": "versions", "packages": packages}
        versions, *_ = work(folder, [asked, *steps.values()])
        return [
            Run(runner, versions[PACKAGES[runner]], _named(program, folder / f"{runner}.npz"))
            for runner in steps
        ]


def _makers(graph: Plan, names: Mapping[str, str]) -> dict[str, str]:
    """Tensor of the file -> operation of the program that makes it."""
    return {names[made]: node.name for node in graph.nodes for made in node.outputs}


def _step(runner: Runner, model: Path, given: str, folder: Path) -> dict[str, str]:
    tool, _, kernels = runner.partition("-")
    return {
        "do": "run-tosa" if tool == "tosa" else "run-tflite",
        "kernels": kernels,
        "model": str(model),
        "inputs": given,
        "to": str(folder / f"{runner}.npz"),
    }


def _shaped(form: Format, program: Program, name: str, rows: NDArray[np.int8]) -> NDArray[np.int8]:
    """Rows in the shape the graph reads them in, batch axis aside."""
    value = program.values[name]
    size = tosa.shape(value)[1:] if form == "tosa" else value.shape
    return rows.reshape(len(rows), *size)


def _named(program: Program, file: Path) -> dict[str, NDArray[np.int8]]:
    rows = zip(program.outputs, take_rows(file), strict=True)
    return {name: made.reshape(len(made), *program.values[name].shape) for name, made in rows}
