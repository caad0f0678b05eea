"""From a model's outputs to a decision: one rule for training, parity, shadow and the device."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.contracts.ensemble import Decide

NORMAL = "normal"


@dataclass(frozen=True)
class DecisionRule:
    """How outputs become a score, and a score a decision.

    Attributes:
        output: `stage.output` that holds scores, shape [rows, 1], or one column a class.
        classes: Class names by column, the normal one first; empty for a single score.
        threshold: A row is flagged when its score lies above it.
    """

    output: str
    classes: tuple[str, ...]
    threshold: float

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "DecisionRule":
        """The rule that a training's document, or a bundle's `decide`, holds."""
        return cls(document["output"], tuple(document["classes"]), float(document["threshold"]))

    @property
    def normal(self) -> str:
        """The label of a row without a fault."""
        return self.classes[0] if self.classes else NORMAL

    def scores(self, outputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Score of each row, shape [rows]: the one column, or 1 - P(normal)."""
        return score(outputs[self.output], self.classes)

    def decisions(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """True where a row is flagged, shape [rows]."""
        flagged: NDArray[np.bool_] = scores > np.float32(self.threshold)
        return flagged

    def faults(self, labels: NDArray[np.str_]) -> NDArray[np.bool_]:
        """True where a label names a fault; unlabelled rows are False, see `known`."""
        faulty: NDArray[np.bool_] = (labels != self.normal) & known(labels)
        return faulty


def rule_of(decide: Decide, threshold: float | None) -> DecisionRule:
    """The manifest's rule, with the calibrated threshold where it asks for that.

    Raises:
        ValueError: The manifest asks for a calibrated threshold and there is none.
    """
    if decide.threshold != "calibrated":
        return DecisionRule(decide.output, decide.classes, float(decide.threshold))
    if threshold is None:
        raise ValueError("a calibrated threshold is asked for, and none was given")
    return DecisionRule(decide.output, decide.classes, float(threshold))


def score(values: NDArray[np.float32], classes: tuple[str, ...]) -> NDArray[np.float32]:
    """Score of each row of an output [rows, width], shape [rows].

    Several classes: the probability of any fault, 1 - P(first class).
    """
    if classes:
        return np.float32(1) - values[:, 0]
    return values[:, 0]


def known(labels: NDArray[np.str_]) -> NDArray[np.bool_]:
    """True where a row is labelled at all."""
    return np.not_equal(labels, "")


def auc(positive: NDArray[np.bool_], scores: NDArray[Any]) -> float | None:
    """Area under the ROC curve, exact, ties counted half.

    It is the share of (positive, negative) pairs in which the positive scores higher
    (Mann-Whitney; Hanley and McNeil 1982, Radiology 143:29).

    Args:
        positive: The truth, shape [rows].
        scores: Shape [rows], finite.

    Returns:
        A number in [0, 1], or None where one of the two kinds is absent.
    """
    positives = int(np.count_nonzero(positive))
    negatives = len(scores) - positives
    if not positives or not negatives:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    total = float(ranks[place][positive].sum())
    return (total - positives * (positives + 1) / 2.0) / (positives * negatives)
