"""Scores against labels: AUC, F1, false and missed alarms, and what flagging everything gets."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.evidence.scores import DecisionRule, auc, known

__all__ = ["Rates", "Scores", "auc", "auc_by_class", "evaluate", "rates"]


@dataclass(frozen=True)
class Rates:
    """How decisions fall; None where a figure has no denominator.

    Attributes:
        f1: Harmonic mean of precision and recall, 0 to 1.
        far: False-alarm rate in percent: flagged among the normal rows.
        mar: Missed-alarm rate in percent: unflagged among the faulty rows.
    """

    f1: float | None
    far: float | None
    mar: float | None


@dataclass(frozen=True)
class Scores:
    """What a model's scores are worth on labelled rows; F1 never stands alone.

    Attributes:
        rows: Labelled rows.
        faulty: Rows with a fault.
        auc: Of all faults against normal.
        f1: See `Rates`, at the threshold.
        far: See `Rates`, in percent.
        mar: See `Rates`, in percent.
        by_class: AUC of each fault that occurs, against normal.
        flag_everything: The rates of flagging every row: what F1 is to be measured against.
    """

    rows: int
    faulty: int
    auc: float | None
    f1: float | None
    far: float | None
    mar: float | None
    by_class: dict[str, float]
    flag_everything: Rates

    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        return asdict(self)


def evaluate(rule: DecisionRule, scores: NDArray[np.float32], labels: NDArray[np.str_]) -> Scores:
    """Hold scores to labels; unlabelled rows do not count.

    Args:
        rule: Which label is normal, and the threshold.
        scores: Shape [rows].
        labels: Shape [rows]; empty text where unknown.
    """
    counted = known(labels)
    scores, labels = scores[counted], labels[counted]
    faulty = rule.faults(labels)
    flagged = rates(faulty, rule.decisions(scores))
    return Scores(
        rows=len(labels),
        faulty=int(faulty.sum()),
        auc=auc(faulty, scores),
        f1=flagged.f1,
        far=flagged.far,
        mar=flagged.mar,
        by_class=auc_by_class(scores, labels, rule.normal),
        flag_everything=rates(faulty, np.ones(len(labels), bool)),
    )


def rates(faulty: NDArray[np.bool_], flagged: NDArray[np.bool_]) -> Rates:
    """F1, and false and missed alarms in percent, of the truth and the decisions, both [rows]."""
    hits = int((flagged & faulty).sum())
    false_alarms = int((flagged & ~faulty).sum())
    missed = int((~flagged & faulty).sum())
    return Rates(
        f1=_share(2 * hits, 2 * hits + false_alarms + missed),
        far=_share(100 * false_alarms, int((~faulty).sum())),
        mar=_share(100 * missed, int(faulty.sum())),
    )


def auc_by_class(
    scores: NDArray[np.float32], labels: NDArray[np.str_], normal: str
) -> dict[str, float]:
    """AUC of each class that occurs against the normal rows, by name."""
    areas = {}
    for name in sorted(set(labels.tolist()) - {normal, ""}):
        chosen = (labels == normal) | (labels == name)
        area = auc(labels[chosen] == name, scores[chosen])
        if area is not None:
            areas[str(name)] = area
    return areas


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
