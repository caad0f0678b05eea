"""Least and greatest value of every activation, from the calibration rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.quantize.graph import Net
from edge.quantize.plan import Plan, limits
from edge.quantize.session import batches
from firnline.contracts.quantize import Quantize
from firnline.errors import EvidenceError

BINS = 4096
_LEVELS = 256
_CUTS = 24

Floats = NDArray[np.float32]
Range = tuple[float, float]
Counts = NDArray[np.int64]


def ranges(net: Net, plan: Plan, calibration: Floats, how: Quantize) -> dict[str, Range]:
    """The range of every value that is int8, zero within it.

    Args:
        net: The float graph, Relu and Clip still in it.
        plan: What is quantised.
        calibration: Rows, [rows, *shape of the input].
        how: Where ranges come from.

    Raises:
        EvidenceError: E14, a value is not finite on the calibration rows.
    """
    given = {net.input: calibration}
    found = _extremes(net, plan.values, given)
    if how.ranges in ("percentile", "entropy"):
        counts = _histograms(net, found, given)
        inner = entropy_range if how.ranges == "entropy" else percentile_range
        found = {name: inner(counts[name], found[name], how.percentile) for name in found}
    declared = _clips(net) if how.ranges == "clip" else {}
    return {
        name: _with_zero(*declared.get(name, found[name]), plan.bounds.get(name))
        for name in plan.values
    }


def percentile_range(counts: Counts, extremes: Range, percentile: float) -> Range:
    """The inner share of a histogram, as much being cut off below as above.

    Args:
        counts: Values in each bin, [bins].
        extremes: Least and greatest value, the ends of the histogram.
        percentile: The share that stays, in percent.
    """
    low, high = extremes
    edges = np.linspace(low, high, len(counts) + 1)
    share = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    outside = (100 - percentile) / 200
    first = int(np.searchsorted(share, outside, side="right")) - 1
    last = int(np.searchsorted(share, 1 - outside, side="left"))
    return float(edges[first]), float(edges[last])


def entropy_range(counts: Counts, extremes: Range, percentile: float = 100.0) -> Range:
    """The range whose 256 levels lose least of what a histogram tells (relative entropy).

    Each end is cut on its own, as far as 3/4 of the way to zero; what lies outside counts to the
    last level inside, as it saturates there (Migacz 2017, 8-bit inference with TensorRT).

    Args:
        counts: Values in each bin, [bins].
        extremes: Least and greatest value, the ends of the histogram.
        percentile: Not used here.
    """
    low, high = extremes
    edges = np.linspace(low, high, len(counts) + 1)
    nought = int(np.clip(np.searchsorted(edges, 0.0), 0, len(counts)))
    lasts = [len(counts) - (len(counts) - nought) * cut * 3 // (4 * _CUTS) for cut in range(_CUTS)]
    last = min(lasts, key=lambda end: (_loss(counts, 0, end), -end))
    firsts = [nought * cut * 3 // (4 * _CUTS) for cut in range(_CUTS)]
    first = min(firsts, key=lambda begin: (_loss(counts, begin, last), begin))
    return float(edges[first]), float(edges[last])


def _loss(counts: Counts, begin: int, end: int) -> float:
    """Relative entropy of a histogram and its 256 levels between two bins."""
    if end - begin < _LEVELS:
        return np.inf
    kept = counts[begin:end].astype(np.float64)
    saturated = kept.copy()
    saturated[0] += counts[:begin].sum()
    saturated[-1] += counts[end:].sum()
    level = np.arange(end - begin) * _LEVELS // (end - begin)
    filled = kept > 0
    sums = np.bincount(level, kept, _LEVELS)
    bins = np.maximum(np.bincount(level, filled, _LEVELS), 1)
    told = np.where(filled, (sums / bins)[level], 0.0)
    there = saturated > 0
    if not told.any():
        return np.inf
    told = np.where(there, np.maximum(told, 1e-9 * told.sum()), told)
    true, said = saturated[there] / saturated.sum(), told[there] / told.sum()
    return float((true * np.log(true / said)).sum())


def _extremes(net: Net, names: tuple[str, ...], given: Mapping[str, Floats]) -> dict[str, Range]:
    low = dict.fromkeys(names, np.inf)
    high = dict.fromkeys(names, -np.inf)
    for found in batches(net, given, names):
        for name, value in found.items():
            low[name] = min(low[name], float(value.min()))
            high[name] = max(high[name], float(value.max()))
            if not np.isfinite(value).all():
                raise _not_finite(name)
    return {name: (low[name], high[name]) for name in names}


def _not_finite(name: str) -> EvidenceError:
    return EvidenceError(
        "E14",
        found="NaN or infinity on a calibration row, which int8 cannot hold",
        where=f"value {name} of the float graph",
        mend="fill missing values in the graph, before the first layer, and clip to a finite range",
    )


def _histograms(
    net: Net, extremes: Mapping[str, Range], given: Mapping[str, Floats]
) -> dict[str, Counts]:
    counts = {name: np.zeros(BINS, np.int64) for name in extremes}
    for found in batches(net, given, tuple(extremes)):
        for name, value in found.items():
            low, high = extremes[name]
            most = max(high, low + max(abs(low), 1e-20) * 1e-6)
            # In float64, in which the bins of a value that hardly changes still differ.
            counts[name] += np.histogram(value.astype(np.float64), BINS, (low, most))[0]
    return counts


def _clips(net: Net) -> dict[str, Range]:
    """Value -> bounds of the Clip that makes it, where both are finite constants."""
    found = {}
    for node in net.nodes:
        fixed = all(name in net.constants for name in node.input[1:] if name)
        if node.op_type == "Clip" and fixed and np.isfinite(limits(net, node)).all():
            found[node.output[0]] = limits(net, node)
    return found


def _with_zero(low: float, high: float, bounds: Range | None) -> Range:
    """A range widened to zero, which padding is, and kept within what a Relu or Clip left."""
    least, most = bounds or (-np.inf, np.inf)
    low, high = max(low, least), min(high, most)
    return min(low, 0.0), max(high, 0.0)


__all__: list[Any] = ["BINS", "entropy_range", "percentile_range", "ranges"]
