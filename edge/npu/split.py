"""Program -> parts for the processor and parts for the NPU, in the order they run.

An ensemble alternates: normalisation in float, int8 layers, a residual in float, int8 layers
again. Every part is a program of its own, so that the C generator makes the processor's and a
compiler the NPU's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from edge.npu.exact import unfit
from edge.program import AveragePool, Conv, Dense, MaxPool, Operation, Program
from firnline.errors import HandshakeError

_WORK = (Conv, Dense, AveragePool, MaxPool)
"""An NPU part without any of these would only move bytes to and fro."""

Place = Literal["cpu", "npu"]


@dataclass(frozen=True, eq=False)
class Part:
    """Operations that run in one go, in one place.

    Attributes:
        place: Where.
        program: Its inputs are what the outside or earlier parts made, its outputs what the
            outside or later parts read.
    """

    place: Place
    program: Program


@dataclass(frozen=True, eq=False)
class Split:
    """A program in parts.

    Attributes:
        parts: In the order they run, processor and NPU by turns.
        kept: int8 operations that stay on the processor -> why.
    """

    parts: tuple[Part, ...]
    kept: Mapping[str, str]

    @property
    def bodies(self) -> tuple[Program, ...]:
        """The NPU's parts."""
        return tuple(part.program for part in self.parts if part.place == "npu")


def split(program: Program, reason: Callable[[Program, Operation], str | None] = unfit) -> Split:
    """Part a program into as few turns of processor and NPU as its wiring allows.

    Args:
        program: Whole.
        reason: Why an operation cannot be on the NPU, or None.

    Raises:
        HandshakeError: E51, nothing of it can be on the NPU; every reason is named.
    """
    kept = {step.name: why for step in program.operations if (why := reason(program, step))}
    fit = {step.output for step in program.operations if step.name not in kept}
    while True:
        turns = _turns(program, fit)
        idle = _idle(program, turns)
        if not idle:
            break
        for step in program.operations:
            if step.output in idle:
                kept[step.name] = "no layer beside it in its part: only bytes would move"
        fit -= idle
    if not fit:
        reasons = "; ".join(f"{name}: {why}" for name, why in kept.items())
        raise HandshakeError(
            "E51",
            found=f"nothing can run on the NPU: {reasons}",
            where=f"program {program.name!r}",
            mend="export it for a microcontroller target, or quantise its layers",
        )
    count = max(turns.values()) + 1
    groups = [
        [step for step in program.operations if turns[step.output] == turn] for turn in range(count)
    ]
    parts = tuple(
        Part("npu" if turn % 2 else "cpu", _program(program, turn, steps))
        for turn, steps in enumerate(groups)
        if steps
    )
    return Split(parts, {name: why for name, why in kept.items() if _int8(program, name)})


def _turns(program: Program, fit: set[str]) -> dict[str, int]:
    """Turn of every operation by its output; even turns are the processor's, odd the NPU's."""
    turns: dict[str, int] = {}
    for step in program.operations:
        first = max((turns.get(name, 0) for name in step.inputs), default=0)
        turns[step.output] = first + (first % 2 != (step.output in fit))
    return turns


def _idle(program: Program, turns: Mapping[str, int]) -> set[str]:
    """Outputs of NPU turns that hold no work."""
    working = {
        turns[step.output]
        for step in program.operations
        if turns[step.output] % 2 and isinstance(step, _WORK)
    }
    return {output for output, turn in turns.items() if turn % 2 and turn not in working}


def _program(whole: Program, turn: int, steps: list[Operation]) -> Program:
    """Operations of a turn as a program; only what crosses its edge is input or output."""
    made = {step.output for step in steps}
    read = {name for step in steps for name in step.inputs} - made
    inside = {step.name for step in steps}
    wanted = {
        name for step in whole.operations if step.name not in inside for name in step.inputs
    } | set(whole.outputs)
    inputs = tuple(name for name in whole.values if name in read)
    outputs = tuple(name for name in whole.values if name in made & wanted)
    values = {name: whole.values[name] for name in (*inputs, *(step.output for step in steps))}
    return Program(f"{whole.name}_{turn}", inputs, outputs, values, tuple(steps))


def _int8(program: Program, name: str) -> bool:
    """Whether an operation computes on int8 alone, so that an NPU might have been expected."""
    step = next(step for step in program.operations if step.name == name)
    return all(program.values[value].dtype == "int8" for value in (*step.inputs, step.output))
