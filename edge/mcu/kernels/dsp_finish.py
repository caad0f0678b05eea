"""How the kernels for Cortex-M4, M7 and M33 turn sums into int8, and when their way is exact."""

from dataclasses import dataclass

import numpy as np

from edge.mcu.emit_text import braces
from edge.mcu.kernels import Operand
from edge.mcu.kernels.dsp_pack import MOST_SUM
from edge.mcu.kernels.layers import Longs, one_shift
from edge.program import Requant

_WORD_BITS = 32
_PAIR_BITS = 8  # sums of rows B come multiplied by 2 to this


@dataclass(frozen=True)
class Loop:
    """An unrolled loop that is entered so that its last turn is the last one needed.

    Attributes:
        unrolled: Turns that are written out.
        step_bytes: Of code of one turn.
    """

    unrolled: int
    step_bytes: int

    def entry(self, turns: int) -> int:
        """Bytes from its beginning to where it is entered, and 1 for the Thumb bit."""
        first = (turns - 1) % self.unrolled + 1
        return (self.unrolled - first) * self.step_bytes + 1


@dataclass(frozen=True)
class Finish:
    """How a fast kernel turns sums into int8, with one shift for all rows.

    Attributes:
        multiplier: int64 [rows].
        shift: Of the high word of a product.
        zero: Of the result.
    """

    multiplier: Longs
    shift: int
    zero: int

    def fields(self, loop: Loop, turns: int, x_bytes: int) -> str:
        """Initialiser of a `firnline_dsp_finish`.

        Args:
            loop: Of the kernel.
            turns: To go through it.
            x_bytes: That the kernel's pointer to x moves in all of them.
        """
        made = {
            "x_bytes": f"{x_bytes}u",
            "add_a": str(self.added(0)),
            "add_b": str(self.added(_PAIR_BITS)),
            "shift_a": f"{self.shift}u",
            "shift_b": f"{self.shift + _PAIR_BITS}u",
            "entry": f"{loop.entry(turns)}u",
        }
        return braces(made)

    def added(self, bits: int) -> int:
        """Half a unit of the result and its zero point, for sums multiplied by 2**bits."""
        return (1 << (self.shift + bits - 1)) + (self.zero << (self.shift + bits))


def finish(requant: Requant, low: Longs, high: Longs) -> Finish | None:
    """The fast finish of rows whose sums lie in [low, high]; None where it would not be exact.

    Args:
        requant: Of the layer.
        low: Least sum of every row, [groups, rows of one]: rows A and B in turn.
        high: Greatest sum of every row.
    """
    shared = one_shift(requant)
    if shared is None:
        return None
    multiplier = np.broadcast_to(shared[0], low.size)
    found = Finish(multiplier, shared[1] - _WORD_BITS, requant.zero)
    if low[:, 1::2].min(initial=0) < -MOST_SUM or high[:, 1::2].max(initial=0) >= MOST_SUM:
        return None
    factors = multiplier.reshape(low.shape)
    for first, bits in ((0, 0), (1, _PAIR_BITS)):
        added = found.added(bits)
        for sums in (low[:, first::2], high[:, first::2]):
            words = (sums * factors[:, first::2] >> (_WORD_BITS - bits)) + added
            if np.abs(words).max(initial=abs(added)) >= 2 ** (_WORD_BITS - 1):
                return None
    return found


def clip(requant: Requant, y: Operand) -> str:
    """The call that clips a result to what a folded Relu or Clip leaves, where that is needed."""
    if (requant.low, requant.high) == (-128, 127):
        return ""
    limits = f"{requant.low}, {requant.high}"
    return f"\nfirnline_dsp_clip({y.expression}, {y.value.size}u, {limits});"
