"""Whether offline store, online store and a fresh computation tell the same of the same windows.

| code | verdict | holds when |
|---|---|---|
| R1 | agree | at most `share` of the values differ, and at most `share` of the windows |
| R2 | skew | more do: a model would be served other values than it was trained on |
| R3 | not compared | there was no window to compare |

A value differs when any two of the three do: when one is null and another is not, or when they lie
further apart than `tolerance` times the greater of 1 and their magnitudes. The tolerance is so
absolute for values below 1 and relative above, as a pressure in pascals and a share of a window
need it (the mixed test of Python's PEP 485, with the absolute and the relative tolerance equal). A
training set holds 32-bit values, whose rounding of 6e-8 lies within it.

Training/serving skew is a cause of failure that no offline metric shows (Breck et al. 2017, The ML
Test Score, test Monitor 3).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from firnline.decision import Decision

KIND = "reconcile"
SOURCES = ("offline", "online", "fresh")


@dataclass(frozen=True)
class Limits:
    """What counts as skew.

    Attributes:
        tolerance: How far two values may lie apart, relative to the greater of 1 and their
            magnitudes.
        share: Greatest share of values, and of windows, that may differ.
    """

    tolerance: float = 1e-6
    share: float = 0.001


@dataclass(frozen=True)
class Aligned:
    """The same windows of one feature version, told by three sources.

    Attributes:
        reference: The version.
        features: Names of the columns.
        offline: Shape [windows, features]; NaN where there is no value.
        online: Likewise.
        fresh: Likewise.
    """

    reference: str
    features: tuple[str, ...]
    offline: NDArray[np.float64]
    online: NDArray[np.float64]
    fresh: NDArray[np.float64]

    def pairs(self) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
        """Each two of the sources, by name."""
        for one, other in combinations(SOURCES, 2):
            yield f"{one}_{other}", getattr(self, one), getattr(self, other)


def differing(
    one: NDArray[np.float64], other: NDArray[np.float64], tolerance: float
) -> NDArray[np.bool_]:
    """Where two sources differ.

    Args:
        one: Any shape; NaN is no value, and equal to no value.
        other: The same shape.
        tolerance: As `Limits.tolerance`.

    Example:
        >>> nan = float("nan")
        >>> differing(np.array([1e9, 0.0, nan, 1.0]), np.array([1e9 + 1, 1e-5, nan, nan]), 1e-6)
        array([False,  True, False,  True])
    """
    scale = np.maximum(1.0, np.maximum(np.abs(one), np.abs(other)))
    # Of two infinities the difference is no number; they are equal when they are the same.
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= tolerance * scale
    near &= np.isfinite(scale)
    apart: NDArray[np.bool_] = ~(near | (one == other) | (np.isnan(one) & np.isnan(other)))
    return apart


def judge(
    subject: str,
    compared: Sequence[Aligned],
    limits: Limits | None = None,
    *,
    inputs: Mapping[str, str] | None = None,
) -> Decision:
    """Decide on what three sources tell of windows.

    Args:
        subject: The ensemble's name.
        compared: One entry a feature version.
        limits: What counts as skew.
        inputs: Name -> digest of everything read.
    """
    limits = limits or Limits()
    windows = sum(len(each.offline) for each in compared)
    values = sum(each.offline.size for each in compared)
    pairs: dict[str, int] = {}
    by_feature: dict[str, int] = {}
    differ = off = 0
    for each in compared:
        found = np.zeros(each.offline.shape, np.bool_)
        for name, one, other in each.pairs():
            apart = differing(one, other, limits.tolerance)
            pairs[name] = pairs.get(name, 0) + int(apart.sum())
            found |= apart
        differ += int(found.sum())
        off += int(found.any(axis=1).sum())
        counts = found.sum(axis=0).tolist()
        by_feature |= {
            f"{each.reference}:{name}": count
            for name, count in zip(each.features, counts, strict=True)
        }
    verdict, rule = _verdict(windows, values, off, differ, limits)
    worst = max(by_feature, key=lambda name: by_feature[name], default=None)
    numbers: dict[str, float | int | str | bool | None] = {
        "windows": windows,
        "values": values,
        "windows_differing": off,
        "values_differing": differ,
        "windows_differing_share": off / windows if windows else None,
        "values_differing_share": differ / values if values else None,
        **{f"{name}_differing": count for name, count in pairs.items()},
        "worst_feature": worst if worst is not None and by_feature[worst] else None,
        "worst_feature_differing": by_feature[worst] if worst is not None else 0,
        "tolerance": limits.tolerance,
        "share_limit": limits.share,
    }
    return Decision(KIND, subject, verdict, _reason(rule, numbers), (rule,), numbers, inputs or {})


def _verdict(windows: int, values: int, off: int, differ: int, limits: Limits) -> tuple[str, str]:
    if not windows or not values:
        return "not compared", "R3"
    if off > limits.share * windows or differ > limits.share * values:
        return "skew", "R2"
    return "agree", "R1"


def _reason(rule: str, numbers: Mapping[str, float | int | str | bool | None]) -> str:
    if rule == "R3":
        return "there was no window to compare"
    tally = (
        f"{numbers['values_differing']:,} of {numbers['values']:,} values differ, in "
        f"{numbers['windows_differing']:,} of {numbers['windows']:,} windows"
    )
    if rule == "R1":
        return tally
    pair = max(
        ("offline_online", "offline_fresh", "online_fresh"),
        key=lambda name: int(numbers[f"{name}_differing"] or 0),
    )
    return (
        f"{tally}; most between {pair.replace('_', ' and ')}, and most of all in "
        f"{numbers['worst_feature']}"
    )
