"""Pairs of decisions that count once each: one window an entity and day.

Windows of one device share its fault, its weather and its firmware. Counting every window as
if it were new evidence makes a test accept bad models nearly always; the unit is therefore the
entity and day, and a hash picks which of its windows stands for it. The hash knows neither
scores nor labels, so no window is preferred.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firnline.evidence.sampling import mix64, text_hash64

DAY_SECONDS = 86_400
_MICROSECONDS = 1_000_000

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Pairs:
    """Candidate and live model on the same windows, in time order; every array [pairs].

    Attributes:
        entities: Key of the entity.
        times: End of the window, epoch microseconds UTC, ascending.
        candidate: Whether the candidate flagged the window.
        live: Whether the live model did.
        faulty: Whether there was a fault; means nothing where not `known`.
        known: Whether the window is labelled.
    """

    entities: NDArray[np.str_]
    times: NDArray[np.int64]
    candidate: BoolArray
    live: BoolArray
    faulty: BoolArray
    known: BoolArray

    def __len__(self) -> int:
        """How many pairs."""
        return len(self.times)

    @property
    def losses(self) -> BoolArray:
        """The candidate is wrong where the live model is right."""
        found: BoolArray = self.disagreements & self.known & (self.candidate != self.faulty)
        return found

    @property
    def wins(self) -> BoolArray:
        """The candidate is right where the live model is wrong."""
        found: BoolArray = self.disagreements & self.known & (self.candidate == self.faulty)
        return found

    @property
    def unsettled(self) -> BoolArray:
        """They disagree, and no label says yet who is right."""
        return self.disagreements & ~self.known

    @property
    def disagreements(self) -> BoolArray:
        """One flagged the window, the other did not."""
        found: BoolArray = self.candidate != self.live
        return found


def pair(
    entities: NDArray[np.str_],
    times: NDArray[np.int64],
    candidate: BoolArray,
    live: BoolArray,
    faulty: BoolArray,
    known: BoolArray,
    *,
    salt: str,
    unit_seconds: int | None = DAY_SECONDS,
) -> Pairs:
    """Choose one window a unit and keep both models' decisions on it.

    Args:
        entities: Key of each window's entity, shape [windows].
        times: End of each window, epoch microseconds UTC, shape [windows].
        candidate: The candidate's decisions, shape [windows].
        live: The live model's decisions, shape [windows].
        faulty: The truth, shape [windows].
        known: Whether the truth is known, shape [windows].
        salt: Fixed before the shadow begins; another salt, other windows.
        unit_seconds: See `choose`.
    """
    rows = choose(entities, times, salt=salt, unit_seconds=unit_seconds)
    return Pairs(
        entities[rows], times[rows], candidate[rows], live[rows], faulty[rows], known[rows]
    )


def choose(
    entities: NDArray[np.str_],
    times: NDArray[np.int64],
    *,
    salt: str,
    unit_seconds: int | None = DAY_SECONDS,
) -> NDArray[np.intp]:
    """Rows that stand for their units, in time order, then by key.

    Args:
        entities: Shape [windows].
        times: Window ends, epoch microseconds UTC, shape [windows]. A window that ends at
            midnight belongs to the day it lies in.
        salt: Goes into the hash.
        unit_seconds: Length of a unit, counted from the epoch; None takes the whole time as
            one unit, so that each entity counts once.

    Returns:
        Row numbers, shape [units].
    """
    if not len(times):
        return np.empty(0, np.intp)
    names, place = np.unique(entities, return_inverse=True)
    hashes = np.array([text_hash64(f"{salt}|{name}") for name in names.tolist()], np.uint64)
    keys = mix64(hashes[place] ^ mix64(times.astype(np.uint64)))
    units = np.zeros_like(times)
    if unit_seconds is not None:
        units = (times - 1) // (unit_seconds * _MICROSECONDS)
    order = np.lexsort((keys, units, place))
    grouped_place, grouped_units = place[order], units[order]
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(grouped_place) != 0) | (np.diff(grouped_units) != 0)
    chosen = order[first]
    return chosen[np.lexsort((place[chosen], times[chosen]))]
