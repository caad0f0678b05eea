"""Microcontrollers: C of our own, compiled for the core and run in an emulator."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.compile import Artifact, Ran
from edge.decide import SCORE
from edge.export.model import Model
from edge.mcu.generate import Layer, Project, generate
from edge.mcu.project import package
from edge.mcu.project_vectors import Vectors
from edge.mcu.tools import Image, Toolchain, build, core, needs
from edge.mcu.tools import run as run_image
from edge.program import Program
from firnline.contracts.target import Build, Profile
from firnline.errors import DeliveryError

EXACT = True
_VERSION = "1.0.0"
"""What package managers are told; which model it is, its header and digests tell."""
_TESTED_ROWS = 4
"""Windows that the self test holds in flash; all of them lie in vectors/."""

_DTYPES: dict[str, Any] = {"float32": "<f4", "int8": "i1", "int32": "<i4"}


def ready(profile: Profile) -> None:
    """See that the compiler and the emulator are here.

    Raises:
        DeliveryError: E42, one of them is not.
    """
    settings = _settings(profile)
    tools_for(settings.core, settings.toolchain, profile.name)


def tools_for(name: str, toolchain: Toolchain, target: str) -> None:
    """See that a core's compiler and emulator are here.

    Raises:
        DeliveryError: E42, one of them is not.
    """
    for need in needs(core(name), toolchain):
        if need.mend:
            raise DeliveryError("E42", found=need.found, where=f"target {target}", mend=need.mend)


def compile(model: Model, profile: Profile, folder: Path) -> Artifact:
    """Generate the C project, and build it with its harness to know what it takes."""
    settings = _settings(profile)
    target = core(settings.core)
    project = generate(model.program, target.family, model.versions)
    image = build(target, project.files, folder, settings.toolchain)
    name, _, version = image.toolchain.partition(" ")
    packed = package(model.program, project, _VERSION, _self_test(model))
    return Artifact(
        files={path: text.encode() for path, text in packed.items()},
        toolchain={name: version},
        figures={
            "flash_bytes": image.flash_bytes,
            "code_bytes": image.text_bytes,
            "weight_bytes": image.rodata_bytes,
            "arena_bytes": project.arena_bytes,
        },
        layers=tuple(_row(layer) for layer in project.layers),
        built=_Built(image, project, settings),
        identity=project.identity.sha256,
    )


def run(artifact: Artifact, model: Model, profile: Profile) -> Ran:
    """Run every window in the emulator; instructions are counted exactly, cycles are not known."""
    built: _Built = artifact.built
    rows = rows_of(model.program, model.inputs)
    found = run_image(built.image, rows)
    values = values_of(model.program, found.outputs)
    scores = values[SCORE][:, 0] if model.rule else None
    # The harness keeps the context static; the inputs and outputs are the caller's.
    ram = artifact.figures["arena_bytes"]
    return Ran(
        runner=found.runner,
        values=values,
        scores=scores,
        figures={
            "instructions": round(float(np.mean(found.instructions))),
            "instructions_most": max(found.instructions),
            "stack_bytes": found.stack_bytes,
            "ram_bytes": int(ram or 0) + found.stack_bytes,
        },
        layers=_by_layer(built, rows[:1]),
    )


@dataclass(frozen=True)
class _Built:
    """What `run` needs of a build."""

    image: Image
    project: Project
    settings: Build


def _self_test(model: Model) -> Vectors:
    """A few of the proof's windows, with which the device can test itself."""
    program, rows = model.program, slice(0, _TESTED_ROWS)
    return Vectors(
        {name: np.asarray(model.inputs[name])[rows] for name in program.inputs},
        {name: np.asarray(model.golden[name])[rows] for name in program.outputs},
    )


def _row(layer: Layer) -> dict[str, Any]:
    """A layer for the report."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "macs": layer.macs,
        "weight_bytes": layer.constant_bytes,
        "live_bytes": layer.live_bytes,
        "scratch_bytes": layer.scratch_bytes,
    }


def _by_layer(built: _Built, row: NDArray[np.uint8]) -> dict[str, int]:
    """Operation -> instructions of one inference.

    From a build of its own, as the marks between layers can keep the compiler from a shortcut.
    """
    with tempfile.TemporaryDirectory() as folder:
        target, files = core(built.settings.core), built.project.files
        marked = build(
            target, files, Path(folder), built.settings.toolchain, defines=("FIRNLINE_MARKS",)
        )
        counted = run_image(marked, row).layers
    names = {layer.mark: layer.name for layer in built.project.layers}
    return {names[mark]: count for mark, count in counted.items() if mark in names}


def rows_of(program: Program, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """Inputs [rows, *shape] by name as the bytes of each row, uint8 [rows, bytes]."""
    parts = []
    for name in program.inputs:
        value = program.values[name]
        array = np.ascontiguousarray(inputs[name], dtype=_DTYPES[value.dtype])
        parts.append(array.reshape(len(array), -1).view(np.uint8))
    return np.concatenate(parts, axis=1)


def values_of(program: Program, rows: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Outputs [rows, *shape] by name, from the bytes of each row."""
    found: dict[str, NDArray[Any]] = {}
    place = 0
    for name in program.outputs:
        value = program.values[name]
        part = np.ascontiguousarray(rows[:, place : place + value.bytes])
        found[name] = part.view(_DTYPES[value.dtype]).reshape(len(rows), *value.shape)
        place += value.bytes
    return found


def _settings(profile: Profile) -> Build:
    if profile.build is None:
        raise ValueError(f"target {profile.name} has no [build]")
    return profile.build
