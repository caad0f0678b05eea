"""Kernels: how a layer is laid out in flash and called in C, one module a family of cores.

A family packs the layers it is good at; what it leaves (`None`) `edge.mcu.kernels.portable` takes.
Whatever the packing, the bytes that come out are those of `edge.program`.
"""

from dataclasses import dataclass
from typing import Protocol

from edge.program import Conv, Dense, Value

ALIGNMENT = 16
"""Bytes. Every buffer begins on such a boundary, and as far as the next one may be read."""


def padded(size: int, multiple: int = ALIGNMENT) -> int:
    """The least multiple that is not less than a size."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Operand:
    """A value as C sees it.

    Attributes:
        expression: A pointer to its first element, such as `ctx->arena + 128`; its type is that of
            the value's dtype (const for inputs). Aligned to `ALIGNMENT`; bytes past its end, up to
            the next boundary, may be read and hold anything.
        value: Shape, dtype, scale and zero.
    """

    expression: str
    value: Value


@dataclass(frozen=True)
class Emitted:
    """C for one layer.

    Attributes:
        data: Definitions of its constants: `static const` arrays, names beginning with the prefix.
        call: Statements that compute it, inside a block of the run function. `scratch` is a
            `void *` there, aligned to `ALIGNMENT`, valid when `scratch_bytes` is not 0.
        headers: Files under edge/mcu/c that hold the kernels, in the order to include them.
        scratch_bytes: Working memory needed during the call.
    """

    data: str
    call: str
    headers: tuple[str, ...]
    scratch_bytes: int = 0


class Kernels(Protocol):
    """A family of cores."""

    def dense(self, prefix: str, layer: Dense, x: Operand, y: Operand) -> Emitted | None:
        """C for a dense layer, or None to leave it to portable C."""
        ...

    def conv(self, prefix: str, layer: Conv, x: Operand, y: Operand) -> Emitted | None:
        """C for a convolution, or None to leave it to portable C."""
        ...
