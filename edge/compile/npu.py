"""Arm Ethos-U: TOSA and .tflite of our own, compiled by Vela; C for what stays on the core.

NPU parts are proved in the TOSA reference model, the specification's arithmetic; the core's parts
run in its emulator. The compiled command stream itself needs the chip, which no emulator that can
be had here models: the proof says what ran.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.compile import Artifact, Ran
from edge.compile.mcu import rows_of, tools_for, values_of
from edge.decide import SCORE
from edge.export.model import Model
from edge.mcu.generate import Project, generate
from edge.mcu.project import package
from edge.mcu.tools import Image, build, core
from edge.mcu.tools import run as run_image
from edge.npu.chip import unfit_on
from edge.npu.parts import parts as describe
from edge.npu.parts import readme
from edge.npu.proof import Body, Rows, bodies, execute
from edge.npu.split import Split, split
from edge.npu.vela import Compiled, compile_model
from edge.npu.verdict import verdict
from edge.program import Program
from edge.toolchains import environment
from firnline import __version__
from firnline.contracts.target import Npu, Profile
from firnline.errors import DeliveryError

EXACT = True
_VECTOR_CORE = "cortex-m55"
_ROW = 1


@dataclass(frozen=True)
class _Built:
    """What `run` needs of a build.

    Attributes:
        parts: Of the program.
        bodies: The NPU's, as files.
        images: Part's name -> the core's binary of it.
    """

    parts: Split
    bodies: tuple[Body, ...]
    images: Mapping[str, Image]


def ready(profile: Profile) -> None:
    """See that the NPU tools, and the compiler and emulator of the core beside it, are here.

    Raises:
        DeliveryError: E61 or E42, one of them is not.
    """
    environment("npu")
    tools_for(_chip(profile).host, "zig", profile.name)


def compile(model: Model, profile: Profile, folder: Path) -> Artifact:
    """Split the program, write and compile the NPU's parts, generate the core's.

    Raises:
        HandshakeError: E50, an operation has no exact form.
        DeliveryError: E60 to E65, of the NPU tools.
    """
    chip = _chip(profile)
    parts = split(model.program, unfit_on(chip.accelerator))
    made = bodies(parts)
    compiled = [_compiled(body, chip) for body in made]
    projects, images = _host(parts, chip, model.versions, folder)
    arenas = sum(project.arena_bytes for project in projects.values())
    flash = sum(image.flash_bytes for image in images.values())
    chosen = [choices[chip.path] for choices in compiled]
    return Artifact(
        files=_files(model.name, parts, made, chosen, projects),
        toolchain=_versions(chosen, images),
        figures={
            "flash_bytes": flash + sum(one.flash_bytes for one in chosen),
            "ram_bytes": arenas + max((one.sram_bytes for one in chosen), default=0),
            "sram_bytes": max((one.sram_bytes for one in chosen), default=0),
            "dram_bytes": sum(one.dram_bytes for one in chosen),
            "npu_flash_bytes": sum(one.flash_bytes for one in chosen),
            "cycles": sum(one.cycles for one in chosen),
            "npu_cycles": sum(one.npu_cycles for one in chosen),
            **_other_paths(compiled),
            "npu_operators_percent": _share(chosen),
        },
        layers=tuple(_row(layer) for one in chosen for layer in one.layers),
        notes=_notes(parts, made, chosen),
        built=_Built(parts, made, images),
    )


def run(artifact: Artifact, model: Model, profile: Profile) -> Ran:
    """Run the parts in turn, the NPU's in the TOSA reference model, the core's in its emulator."""
    built: _Built = artifact.built
    runners: dict[str, None] = {}
    instructions: list[float] = []
    stacks = [0]

    def on_core(program: Program, given: Rows) -> Rows:
        found = run_image(built.images[program.name], rows_of(program, given))
        runners[found.runner] = None
        instructions.append(sum(found.instructions) / len(found.instructions))
        stacks.append(found.stack_bytes)
        return values_of(program, found.outputs)

    executed = execute(built.parts, built.bodies, model.inputs, on_core)
    notes = []
    for proof in executed.proofs:
        for runner, differ in proof.differ.items():
            version = proof.versions[runner]
            if runner == "tosa-reference":
                runners[f"{runner} {version}"] = None
            else:
                notes.append(
                    f"{proof.part} in {runner} {version}: {differ:,} of {proof.outputs:,} bytes "
                    "differ from the reference"
                )
    values = {name: rows for name, rows in executed.values.items() if name not in model.inputs}
    return Ran(
        runner=", ".join(runners),
        values=values,
        scores=values[SCORE][:, 0] if model.rule else None,
        figures={
            "instructions": round(sum(instructions)) if instructions else None,
            "stack_bytes": max(stacks),
            "ram_bytes": int(artifact.figures["ram_bytes"] or 0) + max(stacks),
        },
        notes=tuple(notes),
    )


def _chip(profile: Profile) -> Npu:
    if profile.npu is None:
        raise ValueError(f"target {profile.name} has no [npu]")
    return profile.npu


def _compiled(body: Body, chip: Npu) -> dict[str, Compiled]:
    """A part by every format that holds it; the profile's own must."""
    if chip.path not in body.models:
        raise DeliveryError(
            "E6",
            found=body.refused,
            where=f"{body.program.name} as {chip.path}",
            mend='set path = "tosa" under [npu] of the profile',
        )
    return {form: compile_model(model, chip) for form, model in body.models.items()}


def _host(
    parts: Split, chip: Npu, versions: Mapping[str, str], folder: Path
) -> tuple[dict[str, Project], dict[str, Image]]:
    """The core's parts as C, and as binaries."""
    target = core(chip.host)
    projects, images = {}, {}
    for part in parts.parts:
        name = part.program.name
        if part.place == "cpu":
            projects[name] = generate(part.program, target.family, versions)
            place = folder / name
            place.mkdir(parents=True)
            images[name] = build(target, projects[name].files, place)
    return projects, images


def _files(
    name: str,
    parts: Split,
    made: tuple[Body, ...],
    chosen: list[Compiled],
    projects: Mapping[str, Project],
) -> dict[str, bytes]:
    files = {
        f"{part.program.name}/{path}": text.encode()
        for part in parts.parts
        if part.place == "cpu"
        for path, text in package(part.program, projects[part.program.name], __version__).items()
    }
    turns = describe(parts)
    files["README.md"] = readme(name, turns).encode()
    files["parts.json"] = f"{json.dumps(turns, indent=2)}\n".encode()
    for body, compiled in zip(made, chosen, strict=True):
        files[f"{body.program.name}_vela.tflite"] = compiled.content
        files |= {
            f"{body.program.name}.{form}": model.content for form, model in body.models.items()
        }
    return files


def _versions(chosen: list[Compiled], images: Mapping[str, Image]) -> dict[str, str]:
    told = {"vela": chosen[0].version} if chosen else {}
    return told | dict(image.toolchain.split(" ", 1) for image in images.values())


def _other_paths(compiled: list[dict[str, Compiled]]) -> dict[str, int]:
    """Cycles and SRAM by format, where every part has it."""
    forms = set.intersection(*(set(choices) for choices in compiled)) if compiled else set()
    found = {}
    for form in sorted(forms):
        found[f"cycles_{form}"] = sum(choices[form].cycles for choices in compiled)
        found[f"sram_bytes_{form}"] = max(choices[form].sram_bytes for choices in compiled)
    return found


def _share(chosen: list[Compiled]) -> float:
    """Percent of the NPU parts' operators that Vela keeps on the NPU."""
    on = sum(layer.on_npu for one in chosen for layer in one.layers)
    off = sum(len(one.cpu_operators) for one in chosen)
    return round(100 * on / (on + off), 2) if on + off else 0.0


def _row(layer: Any) -> dict[str, Any]:
    return {
        "name": layer.name,
        "kind": layer.kind,
        "macs": layer.macs,
        "cycles": layer.cycles,
        "npu_cycles": layer.npu_cycles,
    }


def _notes(parts: Split, made: tuple[Body, ...], chosen: list[Compiled]) -> tuple[str, ...]:
    notes = [f"{name} stays on the core: {why}" for name, why in parts.kept.items()]
    for body, compiled in zip(made, chosen, strict=True):
        judged = verdict(body.program, compiled, _vector_instructions(body.program))
        notes.append(f"{body.program.name}: {judged.text}")
        notes += [f"{name} is left to the core by Vela" for name in compiled.cpu_operators]
        if body.refused:
            notes.append(f"{body.program.name} has no .tflite: {body.refused}")
    notes.append(
        "the NPU's parts are proved in the TOSA reference model; the compiled command stream has "
        "not run, as that takes the chip"
    )
    return tuple(notes)


def _vector_instructions(program: Program) -> int | None:
    """What a Cortex-M55 takes for the same part; None where it cannot be counted here."""
    target = core(_VECTOR_CORE)
    row = {name: np.zeros((_ROW, *program.values[name].shape), np.int8) for name in program.inputs}
    with tempfile.TemporaryDirectory() as folder:
        image = build(target, generate(program, target.family).files, Path(folder))
        try:
            return run_image(image, rows_of(program, row)).instructions[0]
        except DeliveryError as error:
            if error.code != "E42":
                raise
            return None
