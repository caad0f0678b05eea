"""Which rows train, which test, and which fold of the training rows each belongs to.

By time and by entity, never at random over rows: windows of one device resemble each other, so
a random split would test on what was trained on.
"""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firnline.contracts.ensemble import Split
from firnline.errors import HandshakeError
from models.recipe import Frame

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Parts:
    """Rows by what they are for; all shape [rows], no row in two of them.

    Attributes:
        train: What stages are fitted on, and thresholds and calibration sets are taken from.
        test: What the figures are measured on: entities that were never trained on, at a later
            time; for `first-rows` the rest of each entity's rows.
        later: Entities that were trained on, at a later time; empty for `first-rows`.
    """

    train: Mask
    test: Mask
    later: Mask


def split(frame: Frame, how: Split) -> Parts:
    """Divide rows as the manifest says.

    `time-and-entity`: the ceil(share x entities) entities with the smallest sha256 of their key
    are held out. Training is every other entity up to `train_fraction` of the time span; what
    comes within `gap` after that is used by neither side.

    Raises:
        HandshakeError: M12, a part would be empty.
    """
    parts = _first_rows(frame, how) if how.kind == "first-rows" else _time_and_entity(frame, how)
    for name, mask in (("train", parts.train), ("test", parts.test)):
        if not mask.any():
            raise HandshakeError(
                "M12",
                found=f"no row is left to {name} on, of {len(frame)} rows of "
                f"{len(np.unique(frame.entities))} entities",
                where=f"[split] kind = {how.kind!r}",
                mend="give more entities or a longer time, or change the split in ensemble.toml",
            )
    return parts


def _time_and_entity(frame: Frame, how: Split) -> Parts:
    entities = by_hash(np.unique(frame.entities))
    held_out = entities[: math.ceil(how.holdout_entities * len(entities))]
    outside = np.isin(frame.entities, held_out)
    first, last = int(frame.times.min(initial=0)), int(frame.times.max(initial=0))
    if len(frame):
        first = int(frame.times.min())
    train_until = first + how.train_fraction * (last - first)
    early = frame.times <= train_until
    late = frame.times > train_until + how.gap.total_seconds() * 1e6
    return Parts(train=early & ~outside, test=late & outside, later=late & ~outside)


def _first_rows(frame: Frame, how: Split) -> Parts:
    train = places(frame) < how.first_rows
    return Parts(train=train, test=~train, later=np.zeros(len(frame), bool))


def folds(frame: Frame, train: Mask, how: Split) -> list[tuple[Mask, Mask]]:
    """Pairs (fit on, predict): every predicted row lies outside of what it is predicted from.

    By entity, each of `folds` groups of training entities is predicted from the others, so
    every training row is predicted once. By time, and where there are fewer entities than
    folds, each entity's training rows are cut into `folds` blocks and the last is predicted
    from those before it.
    """
    entities = by_hash(np.unique(frame.entities[train]), salt="fold/")
    if how.fold_by == "time" or len(entities) < how.folds:
        inside = np.flatnonzero(train)
        rows = frame.rows(inside)
        counts = _counts(rows)
        last = np.zeros(len(frame), bool)
        last[inside] = places(rows) >= counts - counts // how.folds
        return [(train & ~last, train & last)]
    group = {entity: place % how.folds for place, entity in enumerate(entities)}
    of_row = np.array([group.get(entity, -1) for entity in frame.entities.tolist()])
    return [(train & (of_row != fold), train & (of_row == fold)) for fold in range(how.folds)]


def by_hash(entities: Iterable[str], salt: str = "") -> list[str]:
    """Entities in the order of their keys' sha256: arbitrary, and the same for ever."""
    return sorted(
        (str(entity) for entity in entities),
        key=lambda entity: hashlib.sha256(f"{salt}{entity}".encode()).hexdigest(),
    )


def places(frame: Frame) -> NDArray[np.int64]:
    """How many rows of the same entity come before each row in time, shape [rows]."""
    order = np.lexsort((frame.times, frame.entities))
    entities = frame.entities[order]
    starts = np.flatnonzero(np.r_[True, entities[1:] != entities[:-1]][: len(entities)])
    run = np.arange(len(entities)) - np.repeat(starts, np.diff(np.r_[starts, len(entities)]))
    counted = np.empty(len(frame), dtype=np.int64)
    counted[order] = run
    return counted


def _counts(frame: Frame) -> NDArray[np.int64]:
    _, of_row, counts = np.unique(frame.entities, return_inverse=True, return_counts=True)
    return np.asarray(counts[of_row], dtype=np.int64)
