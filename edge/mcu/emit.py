"""C for every operation: a kernel call, its constants, and the headers that hold the kernel."""

from collections.abc import Sequence
from functools import singledispatch

from edge.mcu.kernels import Emitted, Operand
from edge.program import Operation
from firnline.errors import HandshakeError


@singledispatch
def emit(step: Operation, prefix: str, inputs: Sequence[Operand], y: Operand) -> Emitted:
    """C for one operation; `emit_integer` and `emit_floating` register one function a class.

    Dense layers and convolutions are not here: they are the kernels' of a family of cores.

    Args:
        step: The operation.
        prefix: What the names of its constants begin with.
        inputs: The values it reads, in order.
        y: The value it makes.

    Raises:
        HandshakeError: [E30] no kernel computes such an operation; [E31] its values have more axes
            than the kernels walk; [E37] its trees are too large for the kernel's nodes.
    """
    del prefix, inputs, y
    raise unsupported(step, "no C kernel computes it")


def unsupported(step: Operation, why: str) -> HandshakeError:
    """The refusal of an operation, by name."""
    return HandshakeError(
        "E30",
        found=f"{type(step).__name__}: {why}",
        where=f"node {step.name}",
        mend="leave that operation out of the outputs chosen for the target, or take it out of the "
        "float graph",
    )
