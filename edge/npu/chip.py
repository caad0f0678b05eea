"""What an Ethos-U cannot do, told before Vela is asked: those operations stay on the processor.

Vela refuses a whole TOSA graph for one operator that the chip lacks. The limits are those of
`vela --supported-ops-report` 5.2; an Ethos-U85 takes all of TOSA's integer profile, and has none.
"""

from collections.abc import Callable

import numpy as np

from edge.npu.exact import unfit
from edge.program import AveragePool, Conv, Dense, MaxPool, Operation, Program

_MOST_STRIDE = 3
_CONV = (64, 4096)
"""Greatest height and number of places of a kernel, dilation included."""
_POOL = (256, 65536)
_MOST_WEIGHT = 127 * 65536
"""Greatest sum of a channel's absolute weights."""


def unfit_on(accelerator: str) -> Callable[[Program, Operation], str | None]:
    """For `edge.npu.split.split`: why an operation cannot be on this NPU, or None.

    Args:
        accelerator: Vela's name of it, such as `ethos-u55-128`.
    """
    if "-u85-" in accelerator:
        return unfit

    def reason(program: Program, step: Operation) -> str | None:
        return unfit(program, step) or _beyond(step, accelerator)

    return reason


def _beyond(step: Operation, accelerator: str) -> str | None:
    """The limit of an Ethos-U55 or U65 that an operation passes."""
    if isinstance(step, Dense | Conv):
        flat = np.abs(step.weights.reshape(len(step.weights), -1).astype(np.int64))
        if int(flat.sum(1).max(initial=0)) > _MOST_WEIGHT:
            return f"the weights of a channel sum to more than {_MOST_WEIGHT:,} on {accelerator}"
    if isinstance(step, Dense) or not isinstance(step, Conv | AveragePool | MaxPool):
        return None
    if max(step.stride) > _MOST_STRIDE:
        return f"stride {max(step.stride)} is more than {_MOST_STRIDE} on {accelerator}"
    if isinstance(step, Conv):
        sizes = zip(step.weights.shape[1:3], step.dilation, strict=True)
        down, across = ((size - 1) * apart + 1 for size, apart in sizes)
    else:
        down, across = step.kernel
    height, places = _POOL if isinstance(step, MaxPool) else _CONV
    if down > height or down * across > places:
        limits = f"{height} high and {places} places"
        return f"a kernel of {down} x {across} is more than {limits} on {accelerator}"
    return None
