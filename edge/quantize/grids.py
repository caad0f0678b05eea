"""Scale and zero point of every int8 value, shared where an operator only moves elements."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.quantize.graph import Net, attribute
from edge.quantize.plan import Plan
from edge.quantize.pooling import MOVING
from edge.quantize.portable import portable
from edge.quantize.ranges import Range

_FIXED = {
    "Sigmoid": (1 / 256, -128),
    "Softmax": (1 / 256, -128),
    "Tanh": (1 / 128, 0),
}
"""Operators whose results have a range of their own, whatever the rows."""

_LEAST_RANGE = 1e-20
_MOST_STEPS = 512
_LEAST_COUNT = 4


@dataclass(frozen=True)
class Grid:
    """Where int8 values lie: real = scale * (stored - zero).

    Attributes:
        scale: A float32.
        zero: In [-128, 127].
    """

    scale: float
    zero: int

    @property
    def low(self) -> float:
        """The least real value."""
        return self.scale * (-128 - self.zero)

    @classmethod
    def over(cls, low: float, high: float) -> "Grid":
        """The 256 levels of a range that holds zero."""
        if high - low < _LEAST_RANGE:
            return cls(1.0, 0)
        scale = np.float32((high - low) / 255)
        return cls(float(scale), int(np.clip(np.rint(-128 - low / float(scale)), -128, 127)))


def grids(plan: Plan, found: Mapping[str, Range]) -> dict[str, Grid]:
    """Scale and zero of every int8 value.

    What only moves elements has the scale of its input. Inputs that a Concat alone reads have the
    Concat's, so that it only moves elements too. The scale of an averaging pool is moved by some
    float32 steps until its requantisation has integers.

    Args:
        plan: What is quantised.
        found: Range of every value.
    """
    root = _Groups(plan)
    spans = dict(found)
    for node in plan.net.nodes:
        if node.op_type == "Concat" and node.name in plan.integer:
            _unite(plan, root, spans, node)
    made: dict[str, Grid] = {}
    makers = plan.net.makers()
    for name in plan.values:
        group = root.of(name)
        if group in made:
            made[name] = made[group]
            continue
        maker = makers.get(group)
        if maker is not None and maker.name in plan.integer and maker.op_type in _FIXED:
            made[group] = Grid(*_FIXED[maker.op_type])
        elif maker is not None and maker.name in plan.integer and "AveragePool" in maker.op_type:
            made[group] = _pooled(plan.net, maker, made[maker.input[0]], Grid.over(*spans[group]))
        else:
            made[group] = Grid.over(*spans[group])
        made[name] = made[group]
    return made


class _Groups:
    """Values that share a scale; every group is known by its first value."""

    def __init__(self, plan: Plan) -> None:
        self._before: dict[str, str] = {}
        for node in plan.net.nodes:
            if node.op_type in MOVING and node.name in plan.integer:
                self._before[node.output[0]] = node.input[0]

    def of(self, name: str) -> str:
        """The first value of a value's group."""
        while name in self._before:
            name = self._before[name]
        return name

    def members(self, plan: Plan, group: str) -> list[str]:
        """All values of a group."""
        return [name for name in plan.values if self.of(name) == group]

    def join(self, group: str, other: str) -> None:
        """Make a group part of another one."""
        if group != other:
            self._before[group] = other


def _unite(plan: Plan, root: _Groups, spans: dict[str, Range], node: Any) -> None:
    """Give a Concat's inputs the scale of its output, where nothing else reads them."""
    made = root.of(node.output[0])
    readers, makers = plan.net.readers(), plan.net.makers()
    parts = [root.of(name) for name in node.input]
    low = min(spans[name][0] for name in (made, *parts))
    high = max(spans[name][1] for name in (made, *parts))
    for group in dict.fromkeys(parts):
        members = root.members(plan, group)
        moving = {
            reader.name
            for name in members
            for reader in readers.get(name, [])
            if reader.op_type in MOVING and reader.name in plan.integer
        }
        others = {reader.name for name in members for reader in readers.get(name, [])} - moving
        maker = makers.get(group)
        fixed = maker is not None and maker.op_type in (*_FIXED, "AveragePool", "GlobalAveragePool")
        bounded = any(_clips_more(plan, name, low, high) for name in members)
        given = any(name in plan.net.outputs for name in members)
        if others == {node.name} and not (fixed or bounded or given):
            root.join(group, made)
    spans[made] = (low, high)


def _clips_more(plan: Plan, name: str, low: float, high: float) -> bool:
    """Whether a Relu or Clip that is gone would let less through than a range holds."""
    least, most = plan.bounds.get(name, (-np.inf, np.inf))
    return low < least or high > most


def _pooled(net: Net, node: Any, given: Grid, wanted: Grid) -> Grid:
    """The grid next to a wanted one whose factor from the sum of a window has integers."""
    window = attribute(node, "kernel_shape", list(net.shapes[node.input[0]][2:]))
    count = int(np.prod(window))
    # From a sum of 4 on, a scale not finer than the input's keeps the factor below 1/4: a shift
    # of 33 or more has a multiplier for it.
    least = max(wanted.scale, given.scale) if count >= _LEAST_COUNT else wanted.scale
    steps = np.arange(_MOST_STEPS, dtype=np.int32)
    scales = (np.array([least], np.float32).view(np.int32) + steps).view(np.float32)
    factors = np.float32(given.scale) / (scales * np.float32(count))
    low, high = count * (-128 - given.zero), count * (127 - given.zero)
    for scale, factor in zip(scales, factors, strict=True):
        zero = int(np.clip(np.rint(-128 - wanted.low / float(scale)), -128, 127))
        if portable(float(factor), zero, low, high) is not None:
            return Grid(float(scale), zero)
    return wanted
