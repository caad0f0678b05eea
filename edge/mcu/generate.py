"""A program as self-contained C99: one source, one header, and the kernels it needs.

The run function computes the operations in order, each in a block of its own whose `x`, `y` and
`scratch` point into the caller's arrays or into the context's arena. Dense layers and convolutions
are packed for the family of cores; everything else, and what the family leaves, is portable C.
"""

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.mcu import emit_floating, emit_identity, emit_integer, emit_trees, memory
from edge.mcu.emit import emit
from edge.mcu.emit_entry import entry
from edge.mcu.emit_header import header, ports, signature
from edge.mcu.emit_requant import by_integers
from edge.mcu.emit_text import C_TYPES, constant_bytes, number, program_name, words
from edge.mcu.kernels import Emitted, Kernels, Operand
from edge.mcu.kernels.portable import KERNELS as PORTABLE
from edge.program import AveragePool, Conv, Dense, Operation, Program, Reshape, Value, macs
from edge.reference import floats
from firnline.errors import DeliveryError, HandshakeError

FAMILIES = ("portable", "m0", "m3", "dsp", "mve", "rv32")
SOURCES = Path(__file__).parent / "c"
CONSTANTS = "firnline_float_constants.h"
"""The header that is printed from `edge.reference.floats`."""

LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"
"""Of the kernels; what is generated from a model is its owner's."""

_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
_REGISTERED = (emit_floating, emit_integer, emit_trees)


@dataclass(frozen=True)
class Layer:
    """One operation as generated.

    Attributes:
        mark: Its name in the C, and of the symbol that marks its code (`FIRNLINE_MARKS`).
        name: Its node in the graph.
        kind: The class of operation.
        macs: Multiply-accumulates.
        constant_bytes: Of its weights and tables in flash, as packed.
        arena_offset: Where its result begins in the arena; -1 when it is an output.
        live_bytes: Of the arena in use while it is computed.
        scratch_bytes: Of these, its own working memory.
    """

    mark: str
    name: str
    kind: str
    macs: int
    constant_bytes: int
    arena_offset: int
    live_bytes: int
    scratch_bytes: int


@dataclass(frozen=True)
class Project:
    """Generated C.

    Attributes:
        name: Of the model.
        family: Of the cores its kernels are for.
        files: Text by name: the header, the source, the kernels, and `entry.c` for the runners.
        arena_bytes: RAM that a context takes.
        layers: In the order of computation.
        identity: Of its constants, as they must lie in flash.
    """

    name: str
    family: str
    files: dict[str, str]
    arena_bytes: int
    layers: tuple[Layer, ...]
    identity: emit_identity.Identity


def generate(program: Program, family: str, versions: Mapping[str, str] | None = None) -> Project:
    """C for a program.

    Args:
        program: What to compute.
        family: Of cores, one of `FAMILIES`.
        versions: Strings for the header: feature versions, digests, `classes`, `threshold`.

    Raises:
        DeliveryError: [E32] there is no such family.
        HandshakeError: [E30], [E31], [E37] an operation that no kernel computes; [E33] a layer
            whose accumulator may pass 32 bits; [E34] a name that C does not take; [E36] a version
            that cannot be printed.
    """
    chosen = _kernels(family)
    _check(program)
    emitted = [
        _emitted(program, chosen, index, step) for index, step in enumerate(program.operations)
    ]
    plan = memory.plan(program, [one.scratch_bytes for one in emitted])
    headers = tuple(dict.fromkeys(name for one in emitted for name in one.headers))
    if plan.copies:
        headers = tuple(dict.fromkeys((*headers, "firnline_portable_move.h")))
    source = _source(program, emitted, plan, headers)
    constants = emit_identity.tables(source)
    files = {
        f"{program.name}.h": header(program, family, plan.arena_bytes, versions or {}),
        f"{program.name}.c": f"{source}\n{emit_identity.definition(program.name, constants)}",
        **_kernel_files(headers),
        "entry.c": entry(program),
    }
    layers = tuple(
        _layer(program, plan, index, one) for index, one in enumerate(emitted) if one.call
    )
    identity = emit_identity.identity(constants)
    return Project(program.name, family, files, max(plan.arena_bytes, 16), layers, identity)


def _kernels(family: str) -> Kernels:
    if family not in FAMILIES:
        raise DeliveryError(
            "E32",
            found=f"`{family}`",
            where="family of cores",
            mend=f"name one of {', '.join(FAMILIES)}",
        )
    found: Kernels = importlib.import_module(f"edge.mcu.kernels.{family}").KERNELS
    return found


def _check(program: Program) -> None:
    if program_name(program.name) != program.name:
        raise HandshakeError(
            "E34",
            found=f"`{program.name}`",
            where="name of the program",
            mend=f"give a C identifier of its own, such as `{program_name(program.name)}`",
        )
    for step in program.operations:
        if not isinstance(step, Dense | Conv):
            continue
        weights = np.abs(step.weights.reshape(len(step.weights), -1).astype(np.int64)).sum(1)
        greatest = int((np.abs(step.bias.astype(np.int64)) + 256 * weights).max())
        if greatest >= 2**31:
            raise HandshakeError(
                "E33",
                found=f"an accumulator that may reach {greatest}",
                where=f"node {step.name}",
                mend="split the layer, or see why its bias is so large beside its weights",
            )


def _emitted(program: Program, chosen: Kernels, index: int, step: Operation) -> Emitted:
    prefix = f"layer{index}"
    inputs = [
        Operand(name, program.values[value])
        for name, value in zip(_locals(step), step.inputs, strict=True)
    ]
    y = Operand("y", program.values[step.output])
    if isinstance(step, Dense):
        return chosen.dense(prefix, step, inputs[0], y) or PORTABLE.dense(
            prefix, step, inputs[0], y
        )
    if isinstance(step, Reshape):
        return Emitted("", "", ())  # it shares its input's memory
    if isinstance(step, Conv):
        return chosen.conv(prefix, step, inputs[0], y) or PORTABLE.conv(prefix, step, inputs[0], y)
    return emit(step, prefix, inputs, y)


def _locals(step: Operation) -> list[str]:
    return ["x"] if len(step.inputs) == 1 else [f"x{place}" for place in range(len(step.inputs))]


def _source(
    program: Program, emitted: list[Emitted], plan: memory.Plan, headers: tuple[str, ...]
) -> str:
    inputs, outputs = ports(program)
    inexact = any(
        isinstance(step, Dense | Conv | AveragePool)
        and step.requant is not None
        and not by_integers(step.requant)
        for step in program.operations
    )
    includes = "\n".join(f'#include "{name}"' for name in ("firnline_base.h", *headers))
    data = "\n".join(
        f"/* {_title(program, index)} */\n{one.data}"
        for index, one in enumerate(emitted)
        if one.data
    )
    blocks = [_block(program, plan, index, one) for index, one in enumerate(emitted) if one.call]
    body = "\n".join(blocks)
    for place, name in plan.copies:
        both = f"{_pointer(program, plan, name)}, {outputs[place].parameter}"
        body += f"    firnline_copy({both}, {program.values[name].bytes}u);\n"
    return f"""\
/* Generated by firnline; do not edit. The interface is in {program.name}.h. */
#define FIRNLINE_FLOAT_REQUANT {int(inexact)}
{includes}
#include "{program.name}.h"

{data}
{signature(program.name, inputs, outputs)}
{{
    (void)ctx;
{body}}}
"""


def _block(program: Program, plan: memory.Plan, index: int, one: Emitted) -> str:
    """One operation inside the run function."""
    step = program.operations[index]
    lines = [f"{{ /* {_title(program, index)} */"]
    for local, name in zip(_locals(step), step.inputs, strict=True):
        kind = C_TYPES[program.values[name].dtype]
        lines.append(f"    const {kind} *const {local} = {_pointer(program, plan, name)};")
    made = C_TYPES[program.values[step.output].dtype]
    lines.append(f"    {made} *const y = {_pointer(program, plan, step.output)};")
    if one.scratch_bytes:
        lines.append(f"    void *const scratch = &ctx->arena[{plan.scratch[index]}];")
    lines.append(f"    FIRNLINE_LAYER(layer{index});")
    lines += [f"    {line}" if line else "" for line in one.call.splitlines()]
    return "".join(f"    {line}\n" if line else "\n" for line in [*lines, "}"])


def _title(program: Program, index: int) -> str:
    step = program.operations[index]
    shapes = ", ".join(_shape(program.values[name]) for name in step.inputs)
    made = _shape(program.values[step.output])
    return words(f"layer{index}: {type(step).__name__} {step.name}, {shapes} to {made}")


def _shape(value: Value) -> str:
    return "x".join(map(str, value.shape)) or "1"


def _pointer(program: Program, plan: memory.Plan, name: str) -> str:
    """Expression of a pointer to a value's first element."""
    inputs, outputs = ports(program)
    home, kind = plan.homes[name], C_TYPES[program.values[name].dtype]
    if home.kind == "arena":
        place = f"&ctx->arena[{home.place}]"
        return f"({kind} *){place}" if kind == "int8_t" else f"({kind} *)(void *){place}"
    port = (inputs if home.kind == "input" else outputs)[home.place]
    if port.value.dtype == program.values[name].dtype:
        return port.parameter
    return f"({kind} *)(void *){port.parameter}"


def _kernel_files(headers: tuple[str, ...]) -> dict[str, str]:
    """The headers and those they include, by name."""
    found: dict[str, str] = {}
    waiting = ["firnline_base.h", *headers]
    while waiting:
        name = waiting.pop(0)
        if name in found:
            continue
        text = _constants() if name == CONSTANTS else (SOURCES / name).read_text("utf-8")
        found[name] = LICENCE + text
        waiting += _INCLUDE.findall(text)
    return found


def _constants() -> str:
    """The constants of exp, sigmoid and tanh as macros."""
    lines = [
        f"#define FIRNLINE_{name} {number(getattr(floats, name))}"
        for name in (
            "LOG2E",
            "LN2_HIGH",
            "LN2_LOW",
            "ROUND",
            "EXP_GREATEST",
            "EXP_LEAST",
            "TANH_CURVES",
            "TANH_FLAT",
        )
    ]
    for name in ("EXP_POLYNOMIAL", "TANH_POLYNOMIAL"):
        inner = ", ".join(number(value) for value in getattr(floats, name))
        lines.append(f"#define FIRNLINE_{name} \\\n    {{{inner}}}")
    text = "\n".join(lines)
    return f"""\
/* The constants of firnline_float_math.h: polynomials from the constant term upwards. */
#ifndef FIRNLINE_FLOAT_CONSTANTS_H
#define FIRNLINE_FLOAT_CONSTANTS_H

{text}

#endif
"""


def _layer(program: Program, plan: memory.Plan, index: int, one: Emitted) -> Layer:
    step = program.operations[index]
    home = plan.homes[step.output]
    return Layer(
        mark=f"layer{index}",
        name=step.name,
        kind=type(step).__name__,
        macs=macs(program, step),
        constant_bytes=constant_bytes(one.data),
        arena_offset=home.place if home.kind == "arena" else -1,
        live_bytes=plan.live[index],
        scratch_bytes=one.scratch_bytes,
    )
