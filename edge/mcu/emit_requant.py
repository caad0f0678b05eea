"""Requantisation in C: integers where they are proven, the float definition elsewhere."""

import numpy as np
from numpy.typing import NDArray

from edge.mcu.emit_text import array, record
from edge.program import Requant


def by_integers(requant: Requant) -> bool:
    """Whether every channel has a multiplier that is proven."""
    return bool(requant.exact.all())


def _shared(values: NDArray[np.generic]) -> tuple[NDArray[np.generic], int]:
    """One element for all channels where they are equal, and the step from channel to channel."""
    flat = values.reshape(-1)
    return (flat[:1], 0) if (flat == flat[0]).all() else (flat, 1)


def emit(prefix: str, requant: Requant) -> tuple[str, str]:
    """Arrays of the factors, and the `firnline_requant` called `<prefix>_requant`.

    Args:
        prefix: What the names begin with.
        requant: How accumulators become int8.

    Returns:
        Definitions, and the expression of a pointer to the structure.
    """
    if by_integers(requant):
        factor, factor_step = _shared(requant.multiplier)
        shift, shift_step = _shared(requant.shift)
        data = array(f"{prefix}_multiplier", factor) + array(f"{prefix}_shift", shift)
        fields = {"multiplier": f"{prefix}_multiplier", "shift": f"{prefix}_shift", "scale": "NULL"}
    else:
        factor, factor_step = _shared(requant.scale)
        shift_step = 0
        data = array(f"{prefix}_scale", factor)
        fields = {"multiplier": "NULL", "shift": "NULL", "scale": f"{prefix}_scale"}
    fields |= {
        "factor_step": f"{factor_step}u",
        "shift_step": f"{shift_step}u",
        "zero": str(requant.zero),
        "low": str(requant.low),
        "high": str(requant.high),
    }
    data += record("firnline_requant", f"{prefix}_requant", fields)
    return data, f"&{prefix}_requant"
