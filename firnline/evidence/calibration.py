"""Whether a score is the chance it says: the Brier score and the expected calibration error."""

import numpy as np
from numpy.typing import NDArray

BINS = 10


def brier(positive: NDArray[np.bool_], chances: NDArray[np.float32]) -> float | None:
    """Mean squared distance of a chance from the truth, 0 to 1 (Brier 1950, MWR 78:1).

    Args:
        positive: The truth, shape [rows].
        chances: Shape [rows], in [0, 1].

    Returns:
        The score, or None where there is no row.

    Example:
        >>> brier(np.array([True, False]), np.array([0.5, 0.0], np.float32))
        0.125
    """
    if not len(chances):
        return None
    return float(np.square(chances.astype(np.float64) - positive).mean())


def expected_calibration_error(
    positive: NDArray[np.bool_], chances: NDArray[np.float32], bins: int = BINS
) -> float | None:
    """How far what is said lies from what comes, over bins of equal width, by their rows.

    It is the sum over bins of |mean chance - share of positives| x the bin's share of the rows
    (Naeini et al. 2015, AAAI 29:2901). With few positives a constant small chance does well in
    it, so it is read beside the Brier score.

    Args:
        positive: The truth, shape [rows].
        chances: Shape [rows], in [0, 1].
        bins: How many.

    Returns:
        A number in [0, 1], or None where there is no row.

    Example:
        >>> said = np.array([0.25, 0.25, 0.75, 0.75], np.float32)
        >>> expected_calibration_error(np.array([False, False, True, True]), said)
        0.25
    """
    if not len(chances):
        return None
    said = chances.astype(np.float64)
    place = np.clip((said * bins).astype(np.intp), 0, bins - 1)
    gaps = np.bincount(place, said - positive, minlength=bins)
    return float(np.abs(gaps).sum() / len(said))
