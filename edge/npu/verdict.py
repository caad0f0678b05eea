"""Whether an NPU is worth it for a model, against the vector unit of the core beside it.

A dense layer at batch 1 reads every weight for one multiplication: the multipliers wait for
memory, and an M55's vectors, at 16 an instruction, are as fast. Convolutions read a weight once for
many places. Energy is not told: nothing here knows it.
"""

from dataclasses import dataclass

from edge.npu.vela import Compiled
from edge.program import Conv, Dense, Program, macs

GAIN = 1.5
"""Instructions of the core over cycles of the NPU, below which nothing is gained: a core needs at
least a cycle an instruction, and waking the NPU costs some thousand cycles that Vela leaves out."""
_REUSE = 4.0
"""Multiplications a weight, below which memory sets the pace."""


@dataclass(frozen=True)
class Verdict:
    """What the NPU does for a model.

    Attributes:
        gains: Whether it is worth it; None when the core's instructions are not known.
        ratio: Instructions of the core over cycles of the NPU, for the same layers; None likewise.
        macs_per_cycle: What the NPU reaches.
        weight_bound: Share of the multiplications in layers that use a weight less than 4 times.
        text: The same in words.
    """

    gains: bool | None
    ratio: float | None
    macs_per_cycle: float
    weight_bound: float
    text: str


def verdict(program: Program, compiled: Compiled, instructions: int | None = None) -> Verdict:
    """Judge a compiled NPU part.

    Args:
        program: The part.
        compiled: What Vela made of it.
        instructions: Of a Cortex-M55 for the same part, one inference, where they were counted.
    """
    bound = _weight_bound(program)
    reached = program.macs / max(compiled.cycles, 1)
    pace = f"{reached:.1f} of {_peak(compiled)} MACs a cycle on the {compiled.accelerator}"
    reason = f"{bound:.0%} of them in layers that use a weight less than {_REUSE:g} times"
    if instructions is None:
        text = f"{pace}, {reason}"
        return Verdict(None, None, reached, bound, text)
    ratio = instructions / max(compiled.cycles, 1)
    gains = ratio >= GAIN
    said = (
        f"the NPU takes {compiled.cycles:,} cycles, a Cortex-M55 {instructions:,} instructions: "
        + (f"{ratio:.1f} times fewer" if gains else "the NPU gains nothing over the M55's vectors")
    )
    return Verdict(gains, ratio, reached, bound, f"{said}; {pace}, {reason}")


def _weight_bound(program: Program) -> float:
    """Share of multiplications in layers that read a weight for few of them."""
    layers = [step for step in program.operations if isinstance(step, Conv | Dense)]
    total = sum(macs(program, step) for step in layers)
    few = sum(
        macs(program, step) for step in layers if macs(program, step) < _REUSE * step.weights.size
    )
    return few / total if total else 0.0


def _peak(compiled: Compiled) -> int:
    """Multiplications a cycle that the accelerator's name tells."""
    return int(compiled.accelerator.rpartition("-")[2])
