"""From the order elements lie in to the order they are needed in: one transposition, if any."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from edge.lower.symbols import Places

_FEW = 4
"""Axes of which all orders are tried."""


@dataclass(frozen=True)
class Move:
    """A transposition.

    Attributes:
        shape: What the source is reshaped to first.
        order: As in `edge.program.Transpose`; (0,) where nothing moves.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]


def move(places: Places, given: tuple[int, ...]) -> Move | None:
    """The transposition that brings elements into the order of `places`.

    Args:
        places: Where each wanted element is in the source, in the wanted order.
        given: Shape of the source; kept where its own axes will do.

    Returns:
        None when no transposition of all elements does it.
    """
    wanted = places.ravel()
    source = np.arange(int(np.prod(given, dtype=np.int64)))
    if wanted.size != source.size:
        return None
    if len(given) <= _FEW:
        for order in permutations(range(len(given))):
            if np.array_equal(source.reshape(given).transpose(order).ravel(), wanted):
                return Move(given, order)
    axes = _axes(wanted)
    if axes is None:
        return None
    by_stride = sorted(range(len(axes)), key=lambda axis: -axes[axis][1])
    shape = tuple(axes[axis][0] for axis in by_stride)
    strides = tuple(int(np.prod(shape[place + 1 :], dtype=np.int64)) for place in range(len(shape)))
    if strides != tuple(axes[axis][1] for axis in by_stride):
        return None
    return Move(shape or (1,), tuple(by_stride.index(axis) for axis in range(len(axes))) or (0,))


def _axes(wanted: Places) -> list[tuple[int, int]] | None:
    """Lengths and strides, outermost first, that step through the places; None if none do."""
    found: list[tuple[int, int]] = []
    bases = wanted
    while bases.size > 1:
        stride = int(bases[1] - bases[0])
        even = np.diff(bases) == stride
        length = bases.size if even.all() else int(even.argmin()) + 1
        if stride <= 0 or bases.size % length:
            return None
        blocks = bases.reshape(-1, length)
        if not (blocks == blocks[:, :1] + stride * np.arange(length)).all():
            return None
        found.append((length, stride))
        bases = blocks[:, 0]
    return found[::-1] if bases[0] == 0 else None
