"""Whether features have drifted from the training reference, and what to make of it.

| code | verdict | holds when |
|---|---|---|
| DR1 | stable | no feature reaches its limit |
| DR2 | drift | some do; a retrain is due when more than `retrain_features` do |
| DR3 | suspect | more than `suspect_share` do at once, or a feature lost its values |
| DR4 | not compared | no feature could be compared |

Weather and wear move a few features, a broken pipeline moves them all: DR3 says look there first.

The score is the population stability index over deciles of the reference,
PSI = sum over bins of (q - p) ln(q / p), with 0.1 moderate and 0.25 significant by convention
(Siddiqi 2006, Credit Risk Scorecards). Unlike a p-value it estimates one quantity, whatever the
number of rows; its small-sample bias, (bins - 1)(1/n + 1/m), is taken off (Yurdakul and
Naranjo 2020, J. Risk Model Validation 14:4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.decision import Decision

KIND = "drift"
BINS = 10
MODERATE = 0.1
SIGNIFICANT = 0.25
_HALF = 0.5
_SHOWN = 3


@dataclass(frozen=True)
class Limits:
    """What counts as drift.

    Attributes:
        psi: Least score of a significant shift.
        retrain_features: A retrain is due when more features than this drift.
        suspect_share: More than this share of features drifting at once points to a fault.
        missing_points: Change of the missing share that counts as drift, in percentage points.
    """

    psi: float = SIGNIFICANT
    retrain_features: int = 5
    suspect_share: float = 0.30
    missing_points: float = 5.0


@dataclass(frozen=True)
class Comparison:
    """Features now against their reference.

    Attributes:
        scores: Feature -> PSI, of what could be compared.
        limits: Feature -> its calibrated limit; `Limits.psi` where absent.
        not_compared: Feature -> why it has no score.
        missing_points: Feature -> change of its missing share, percentage points.
        lost: Features that have values in the reference and none now.
        reference_rows: Rows of the reference that were compared.
        current_rows: Rows compared with them.
    """

    scores: Mapping[str, float]
    limits: Mapping[str, float] = field(default_factory=dict)
    not_compared: Mapping[str, str] = field(default_factory=dict)
    missing_points: Mapping[str, float] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    reference_rows: int = 0
    current_rows: int = 0


def psi(reference: NDArray[Any], current: NDArray[Any], bins: int = BINS) -> float:
    """Population stability index of two samples of finite values, its bias taken off.

    A value that repeats over several quantiles, such as the zero of a door that stays shut, has
    a bin of its own. Half a count is added to each bin, so an empty one stays finite.

    Args:
        reference: Shape [n], n >= 1; its quantiles set the bins.
        current: Shape [m], m >= 1.
        bins: How many, where no value repeats.

    Returns:
        0 or more; 0 for equal shares.

    Example:
        >>> values = np.arange(1_000.0)
        >>> psi(values, values), round(psi(values, values + 200), 1)
        (0.0, 1.3)
    """
    edges = _edges(reference, bins)
    expected, found = _shares(reference, edges), _shares(current, edges)
    raw = float(np.sum((found - expected) * np.log(found / expected)))
    bias = len(edges) * (1 / len(reference) + 1 / len(current))
    return max(0.0, raw - bias)


def calibrated_limit(scores_between_references: Sequence[float], limit: float) -> float:
    """A feature's own limit: how far healthy periods lie from each other, if that is more.

    Args:
        scores_between_references: PSI of each period of the reference against the others.
        limit: The limit of a feature that is the same in all of them.
    """
    return max([limit, *scores_between_references])


def judge(
    subject: str,
    comparison: Comparison,
    limits: Limits | None = None,
    *,
    inputs: Mapping[str, str] | None = None,
) -> Decision:
    """Decide on a comparison.

    Args:
        subject: The ensemble's name.
        comparison: Scores and what could not be compared.
        limits: What counts as drift.
        inputs: Name -> digest of everything read.
    """
    limits = limits or Limits()
    drifted = drifting(comparison, limits)
    compared = len(comparison.scores)
    share = len(drifted) / compared if compared else 0.0
    verdict, rule, reason = _verdict(comparison, drifted, share, limits)
    worst = max(comparison.scores, key=lambda name: comparison.scores[name], default=None)
    numbers: dict[str, float | int | str | bool | None] = {
        "features_compared": compared,
        "features_not_compared": len(comparison.not_compared),
        "features_drifting": len(drifted),
        "features_moderate": sum(score >= MODERATE for score in comparison.scores.values()),
        "features_lost": len(comparison.lost),
        "drifting_share": round(share, 4),
        "worst_feature": worst,
        "worst_psi": comparison.scores[worst] if worst else None,
        "retrain_due": rule == "DR2" and len(drifted) > limits.retrain_features,
        "psi_limit": limits.psi,
        "suspect_share": limits.suspect_share,
        "reference_rows": comparison.reference_rows,
        "current_rows": comparison.current_rows,
    }
    return Decision(KIND, subject, verdict, reason, (rule,), numbers, inputs or {})


def drifting(comparison: Comparison, limits: Limits) -> tuple[str, ...]:
    """Features at or above their limit, or whose missing share moved; the worst first."""
    found = [
        name
        for name, score in comparison.scores.items()
        if score >= comparison.limits.get(name, limits.psi)
        or abs(comparison.missing_points.get(name, 0.0)) > limits.missing_points
    ]
    return tuple(sorted(found, key=lambda name: (-comparison.scores[name], name)))


def _verdict(
    comparison: Comparison, drifted: tuple[str, ...], share: float, limits: Limits
) -> tuple[str, str, str]:
    compared = len(comparison.scores)
    tally = f"{len(drifted)} of {compared} features drifted"
    if comparison.lost:
        names = _some(comparison.lost)
        return "suspect", "DR3", f"{names} lost all values; look at the pipeline before the world"
    if not compared:
        return "not compared", "DR4", "no feature has values in both samples"
    if share > limits.suspect_share:
        return "suspect", "DR3", (
            f"{tally}, more than {limits.suspect_share:.0%} at once: "
            f"look at the pipeline and the season before the model"
        )  # fmt: skip
    if drifted:
        return "drift", "DR2", f"{tally}: {_some(drifted)}"
    worst = max(comparison.scores.values())
    return (
        "stable",
        "DR1",
        (f"none of {compared} features passed its limit; the largest PSI is {worst:.3f}"),
    )


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _edges(reference: NDArray[Any], bins: int) -> NDArray[np.float64]:
    quantiles = np.quantile(np.asarray(reference, np.float64), np.arange(1, bins) / bins)
    edges, counts = np.unique(quantiles, return_counts=True)
    atoms = edges[counts > 1]
    low, high = np.min(reference), np.max(reference)
    if low == high:
        atoms = edges
    return np.unique(np.concatenate([edges, np.nextafter(atoms, -np.inf)]))


def _shares(values: NDArray[Any], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    place = np.searchsorted(edges, np.asarray(values, np.float64), side="left")
    counts = np.bincount(place, minlength=len(edges) + 1)
    filled = counts.astype(np.float64) + _HALF
    shares: NDArray[np.float64] = filled / filled.sum()
    return shares
