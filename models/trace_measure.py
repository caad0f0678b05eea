"""What each pair of a trace is worth on held-out rows, and how far it is from its match."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.evidence.auc_difference import Difference, auc_difference
from firnline.evidence.calibration import brier, expected_calibration_error
from firnline.evidence.scores import known
from models.evaluate import Scores, evaluate
from models.fit import FittedEnsemble
from models.recipe import FloatMatrix, Frame
from models.trace import Versions

PAIRS = ((1, 1), (2, 2), (2, 1), (1, 2))
"""Version that speaks, version that was listened to; matched pairs first."""


@dataclass(frozen=True)
class Verdicts:
    """What one ensemble says of rows.

    Attributes:
        scores: Score of each row, [rows].
        flags: Whether it is flagged, [rows].
        classes: Column of the likeliest class, [rows]; None where the output has no classes.
    """

    scores: NDArray[np.float32]
    flags: NDArray[np.bool_]
    classes: NDArray[np.intp] | None

    @classmethod
    def of(cls, ensemble: FittedEnsemble, rows: Frame) -> "Verdicts":
        """Let an ensemble speak."""
        rule, outputs = ensemble.rule, ensemble.predict(rows)
        scores = rule.scores(outputs)
        said: FloatMatrix = outputs[rule.output]
        classes = said.argmax(axis=1) if rule.classes else None
        return cls(scores, rule.decisions(scores), classes)


@dataclass(frozen=True)
class Pair:
    """One version beside stages that learned from one; "its match" is what they learned from.

    Attributes:
        upstream: Version that speaks.
        downstream: Version that the stages after it learned from.
        scores: Against labels, on labelled rows.
        auc_change: AUC gained over its match, with an interval over entities; None when matched.
        brier: Mean squared error of the score as a chance; None where it is none.
        calibration_error: Expected calibration error; None where the score is no chance.
        agreement: Share of rows with its match's decision.
        same_class: Share of rows with its match's likeliest class; None without classes.
        raised: Rows flagged here and not by its match.
        dropped: Rows flagged by its match and not here.
    """

    upstream: int
    downstream: int
    scores: Scores
    auc_change: Difference | None
    brier: float | None
    calibration_error: float | None
    agreement: float
    same_class: float | None
    raised: int
    dropped: int

    @property
    def matched(self) -> bool:
        """The stages learned from the version that speaks."""
        return self.upstream == self.downstream

    def document(self) -> dict[str, Any]:
        """The figures as JSON, flat but for the AUC by class."""
        found = self.scores.document()
        change = self.auc_change
        return {
            "upstream": self.upstream,
            "downstream": self.downstream,
            "matched": self.matched,
            **{name: found[name] for name in ("auc", "f1", "far", "mar", "by_class")},
            "auc_change": None if change is None else change.document(),
            "brier": self.brier,
            "calibration_error": self.calibration_error,
            "agreement": self.agreement,
            "same_class": self.same_class,
            "raised": self.raised,
            "dropped": self.dropped,
        }


def measure(versions: Versions, rows: Frame) -> tuple[Pair, ...]:
    """All four pairs on the same rows, in the order of `PAIRS`.

    Args:
        versions: Both versions, trained.
        rows: Held-out rows; those without a label count for agreement alone.
    """
    said = {(up, down): Verdicts.of(versions.pair(up, down), rows) for up, down in PAIRS}
    return tuple(
        _pair(versions.pair(up, down), (up, down), said[up, down], said[down, down], rows)
        for up, down in PAIRS
    )


def _pair(
    ensemble: FittedEnsemble, numbers: tuple[int, int], mine: Verdicts, match: Verdicts, rows: Frame
) -> Pair:
    counted = known(rows.labels)
    faulty = ensemble.rule.faults(rows.labels)[counted]
    scores, entities = mine.scores[counted], rows.entities[counted]
    matched = numbers[0] == numbers[1]
    chance = _is_chance(ensemble)
    return Pair(
        *numbers,
        scores=evaluate(ensemble.rule, mine.scores, rows.labels),
        auc_change=None
        if matched
        else auc_difference(faulty, match.scores[counted], scores, entities),
        brier=brier(faulty, scores) if chance else None,
        calibration_error=expected_calibration_error(faulty, scores) if chance else None,
        agreement=float((mine.flags == match.flags).mean()),
        same_class=_same(mine.classes, match.classes),
        raised=int((mine.flags & ~match.flags).sum()),
        dropped=int((match.flags & ~mine.flags).sum()),
    )


def _is_chance(ensemble: FittedEnsemble) -> bool:
    """The manifest declares scores in [0, 1]."""
    declared = ensemble.manifest.output(ensemble.rule.output).range
    return declared is not None and declared[0] >= 0 and declared[1] <= 1


def _same(mine: NDArray[np.intp] | None, match: NDArray[np.intp] | None) -> float | None:
    if mine is None or match is None:
        return None
    return float((mine == match).mean())
