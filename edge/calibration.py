"""The calibration set: few rows that show int8 the whole range, the same ones every time."""

import hashlib
import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

RECOMMENDED_ROWS = 512
"""Below this, activation ranges miss what is rare: 16 windows cost 0.009 of AUC where measured."""

FloatMatrix = NDArray[np.float32]


class TrainingRows(Protocol):
    """Rows as a training frame has them: features [rows, columns], the rest [rows]."""

    @property
    def features(self) -> FloatMatrix:
        """Missing values are NaN."""
        ...

    @property
    def labels(self) -> NDArray[np.str_]:
        """Class of each row."""
        ...

    @property
    def entities(self) -> NDArray[np.str_]:
        """Key of each row."""
        ...

    @property
    def times(self) -> NDArray[np.int64]:
        """Epoch microseconds UTC."""
        ...


@dataclass(frozen=True)
class CalibrationSet:
    """Rows that activation ranges are taken from.

    Attributes:
        features: Shape [rows, columns].
        note: What is worth knowing about it; empty when it is as large as recommended.
    """

    features: FloatMatrix
    note: str

    def document(self) -> dict[str, int | str]:
        """What a bundle says of it."""
        return {"rows": len(self.features), "note": self.note}


def choose(training: TrainingRows, rows: int) -> CalibrationSet:
    """Pick rows for coverage: labels in turn, and within a label its entities in turn.

    Which windows of an entity and label are taken, and in which order the entities come, is
    decided by a hash of entity and time, so neither the order of the rows nor a seed matters.

    Args:
        training: Where to pick from.
        rows: How many to pick, where there are as many.
    """
    groups: dict[tuple[str, str], list[tuple[bytes, int]]] = {}
    ranks = _ranks(training)
    for place, (label, entity) in enumerate(
        zip(training.labels.tolist(), training.entities.tolist(), strict=True)
    ):
        groups.setdefault((label, entity), []).append((ranks[place], place))
    by_label: dict[str, list[list[int]]] = {}
    for (label, _), members in sorted(groups.items(), key=lambda item: (item[0][0], min(item[1]))):
        by_label.setdefault(label, []).append([place for _, place in sorted(members)])
    queues = [_in_turn(lists) for _, lists in sorted(by_label.items())]
    chosen = np.sort(np.array(_in_turn(queues)[:rows], dtype=np.intp))
    return CalibrationSet(np.ascontiguousarray(training.features[chosen]), _note(len(chosen)))


def sample(rows: TrainingRows, count: int) -> NDArray[np.intp]:
    """Places of a sample that stands for all rows, by a hash of entity and time, rising.

    Args:
        rows: Where to pick from.
        count: How many to pick, where there are as many.
    """
    ranks = _ranks(rows)
    order = sorted(range(len(ranks)), key=lambda place: (ranks[place], place))
    return np.sort(np.array(order[:count], dtype=np.intp))


def _ranks(rows: TrainingRows) -> list[bytes]:
    return [
        hashlib.blake2b(f"{entity}/{time}".encode(), digest_size=8).digest()
        for entity, time in zip(rows.entities.tolist(), rows.times.tolist(), strict=True)
    ]


def _in_turn(lists: list[list[int]]) -> list[int]:
    """One of each list, then the next of each, until all are empty."""
    rounds = itertools.zip_longest(*lists)
    return [place for places in rounds for place in places if place is not None]


def _note(rows: int) -> str:
    if rows >= RECOMMENDED_ROWS:
        return ""
    return f"{rows} rows, fewer than the {RECOMMENDED_ROWS} that cover what is rare"
