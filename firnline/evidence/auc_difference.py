"""How far two scores of the same rows differ in AUC, when rows come in clusters.

Windows of one device resemble each other, so thousands of windows are worth only as much as
their devices. The variance is over clusters (Obuchowski 1997, Biometrics 53:567), of the
difference of the placement values of two scores (DeLong et al. 1988, Biometrics 44:837): no
resampling, nothing drawn at random.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NORMAL_95 = 1.959964

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """What the second score gains in AUC over the first.

    Attributes:
        change: AUC of the second less AUC of the first.
        low: Lower end of the 95 % interval; None with fewer than two clusters of a kind.
        high: Upper end.
    """

    change: float
    low: float | None
    high: float | None

    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        return asdict(self)


def auc_difference(
    positive: NDArray[np.bool_],
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    clusters: NDArray[np.str_],
) -> Difference | None:
    """Compare two scores of the same rows.

    Args:
        positive: The truth, shape [rows].
        first: Shape [rows], finite.
        second: Shape [rows], finite.
        clusters: What each row belongs to, shape [rows].

    Returns:
        The difference, or None where positives or negatives are absent.

    Example:
        >>> truth = np.array([False, True, False, True])
        >>> worse, better = np.array([[1, 0, 0, 1], [0, 1, 0, 1]], np.float32)
        >>> auc_difference(truth, worse, better, np.array(["a", "a", "b", "b"])).change
        0.5
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    gains = placements(positive, second) - placements(positive, first)
    change = float(gains[positive].mean())
    _, cluster = np.unique(clusters, return_inverse=True)
    above, above_in = _by_cluster(gains, change, cluster, positive)
    below, below_in = _by_cluster(gains, change, cluster, ~positive)
    if min(above_in, below_in) < 2:
        return Difference(change, None, None)
    count = len(above)
    variance = (
        above_in / (above_in - 1) * (above @ above) / positives**2
        + below_in / (below_in - 1) * (below @ below) / negatives**2
        + 2 * count / (count - 1) * (above @ below) / (positives * negatives)
    )
    reach = _NORMAL_95 * math.sqrt(max(float(variance), 0.0))
    return Difference(change, change - reach, change + reach)


def placements(positive: NDArray[np.bool_], scores: NDArray[np.float32]) -> Values:
    """Placement value of each row, [rows]; both kinds average to the AUC.

    A positive's is the share of negatives that score lower, a negative's the share of positives
    that score higher; ties count half.
    """
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    values = np.empty(len(scores))
    values[positive] = _lower(below, scores[positive])
    values[~positive] = 1 - _lower(above, scores[~positive])
    return values


def _lower(among: NDArray[np.float32], scores: NDArray[np.float32]) -> Values:
    sides = among.searchsorted(scores, "left") + among.searchsorted(scores, "right")
    return np.asarray(sides / (2 * len(among)), dtype=np.float64)


def _by_cluster(
    gains: Values, change: float, cluster: NDArray[np.intp], chosen: NDArray[np.bool_]
) -> tuple[Values, int]:
    """What each cluster's chosen rows add over the mean, [clusters]; how many have any."""
    size = int(cluster.max()) + 1
    rows = np.bincount(cluster[chosen], minlength=size)
    sums = np.bincount(cluster[chosen], gains[chosen], minlength=size)
    return sums - change * rows, int(np.count_nonzero(rows))
