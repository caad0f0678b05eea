"""Sums of leaves that are exact in any order, and thresholds that split float32 exactly."""

import numpy as np
from numpy.typing import NDArray

from edge.program import Floats, Trees

EXACT = 1 << 24
"""Every integer up to here is a float32."""

_LEAST_EXPONENT = -100


def at_most(thresholds: NDArray[np.floating]) -> Floats:
    """The greatest float32 that is not above each threshold: x <= it exactly where x <= threshold.

    Args:
        thresholds: Of any shape and width.
    """
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    return _lowered(rounded, rounded > thresholds)


def below(thresholds: NDArray[np.floating]) -> Floats:
    """A float32 for each threshold: x <= it exactly where x < threshold; NaN where nothing is."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
    lowered = _lowered(rounded, rounded >= thresholds)
    return np.where(thresholds == -np.inf, np.float32(np.nan), lowered)


def unit(step: Trees) -> float | None:
    """The power of two whose multiples all sums are, where float32 holds every one of them exactly.

    Then the sum is the same in any order and in integers; None where it is not so.
    """
    values = np.concatenate([step.leaf[step.feature < 0].ravel(), step.base])
    if not np.isfinite(values).all() or (np.signbit(step.base) & (step.base == 0)).any():
        return None
    found = values[values != 0].astype(np.float64)
    if not found.size:
        return 1.0
    mantissa, exponent = np.frexp(np.abs(found))
    whole = (mantissa * EXACT).astype(np.int64)
    zeros = np.log2((whole & -whole).astype(np.float64)).astype(np.int64)
    least = int((exponent - 24 + zeros).min())
    made = float(np.ldexp(1.0, least))
    fits = least >= _LEAST_EXPONENT and greatest_sum(step) <= EXACT * made
    return made if fits else None


def greatest_sum(step: Trees) -> float:
    """What no partial sum of any output passes, either way."""
    most = np.abs(step.base).astype(np.float64)
    for nodes in nodes_of_trees(step):
        most = most + np.abs(step.leaf[nodes]).max(axis=0)
    return float(most.max())


def nodes_of_trees(step: Trees) -> list[list[int]]:
    """Nodes of every tree, a node before its left and that before its right child."""
    return [_preorder(step, int(root)) for root in step.roots]


def _preorder(step: Trees, root: int) -> list[int]:
    order, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if step.feature[node] >= 0:
            waiting += [int(step.right[node]), int(step.left[node])]
    return order


def _lowered(rounded: Floats, where: NDArray[np.bool_]) -> Floats:
    return np.where(where, np.nextafter(rounded, np.float32(-np.inf)), rounded)
