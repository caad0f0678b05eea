"""The point-in-time join: for each entity row, the newest feature row that it could have known.

An ASOF join sorts both sides by key and time, with all their columns. Here only the entity rows
are sorted, once. Every feature row, in whatever order it comes, is the newest known value from its
own time on: it is put at the first entity row of its key that is not older, where the newest one
stays, and a running maximum carries it to the later rows of that key. Feature rows are read once,
key and time alone; the columns are fetched afterwards for the rows that won.
"""

from dataclasses import dataclass

import numpy as np

from firnline.adapters.feast_offline.keys import NO_KEY
from firnline.adapters.feast_offline.times import EARLIEST, LATEST, Flags, Integers

NO_ROW = -1
_UNITS = (1_000_000_000, 1_000_000, 1_000, 1)
_SEARCH_BITS = 62
_RUN_ROWS = 256


@dataclass(frozen=True)
class Spine:
    """The entity rows that can have a match, in the order of key and time.

    Attributes:
        rows: Entity rows in all.
        order: Entity row at each place.
        key: Key number at each place, ascending.
        time: Nanoseconds at each place, ascending within a key.
        search: Key and time at each place as one ascending integer.
        unit: Nanoseconds that divide every time; times are searched in this unit.
        base: First time in that unit.
        span: How many steps of that unit the times take, or how many distinct times there are.
        ladder: The distinct times, where key and time would not fit one integer; else None.
    """

    rows: int
    order: Integers
    key: Integers
    time: Integers
    search: Integers
    unit: int
    base: int
    span: int
    ladder: Integers | None

    @property
    def latest(self) -> int:
        """The newest time, in nanoseconds; without rows, the earliest there is."""
        return int(self.time.max()) if len(self.time) else EARLIEST

    @property
    def earliest(self) -> int:
        """The oldest time, in nanoseconds."""
        return int(self.time.min()) if len(self.time) else EARLIEST


@dataclass(frozen=True)
class Newest:
    """The newest feature row put at each place so far; filled in place by `fold`.

    Attributes:
        time: Its time, in nanoseconds.
        created: Its created time, or None where the source has none.
        row: Its number in the source; `NO_ROW` where there is none yet.
    """

    time: Integers
    created: Integers | None
    row: Integers


def spine(keys: Integers, times: Integers, known: Flags | None) -> Spine:
    """Sort entity rows by key and time.

    Args:
        keys: Key number a row; a row with `NO_KEY` has no match.
        times: Nanoseconds a row.
        known: Which times are known; None when all are. A row without a time has no match.
    """
    live = keys != NO_KEY if known is None else (keys != NO_KEY) & known
    chosen = np.flatnonzero(live)
    key, time = keys[chosen], times[chosen]
    unit = next(unit for unit in _UNITS if unit == 1 or not (time % unit).any())
    step = time // unit
    base = int(step.min()) if len(step) else 0
    span = int(step.max()) - base + 2 if len(step) else 1
    highest = int(key.max()) + 1 if len(key) else 1
    ladder = None
    if highest * span >= 1 << _SEARCH_BITS:
        ladder = np.unique(time)
        span = len(ladder) + 1
        step, base = np.searchsorted(ladder, time), 0
    search = key * span + (step - base)
    order = np.argsort(search, kind="stable")
    return Spine(
        rows=len(keys),
        order=chosen[order],
        key=key[order],
        time=time[order],
        search=search[order],
        unit=unit,
        base=base,
        span=span,
        ladder=ladder,
    )


def nothing_yet(places: Spine, with_created: bool) -> Newest:
    """No feature row at any place."""
    size = len(places.key)
    return Newest(
        time=np.full(size, EARLIEST),
        created=np.full(size, EARLIEST) if with_created else None,
        row=np.full(size, NO_ROW),
    )


def fold(
    places: Spine,
    newest: Newest,
    keys: Integers,
    times: Integers,
    created: Integers | None,
    rows: Integers,
    known_from: Integers | None = None,
) -> None:
    """Take in feature rows; of two with the same time and created time the later row counts.

    Args:
        places: The entity rows.
        newest: What has been found; changed in place.
        keys: Key number of each feature row, none of them `NO_KEY`.
        times: Nanoseconds of each.
        created: Created time of each, `EARLIEST` where it is null; None where there is no column.
        rows: Number of each in the source, ascending here and from call to call.
        known_from: From when each could be known; None for its own time.
    """
    if len(places.key) == 0:
        return
    place = _first_not_older(places, keys, times if known_from is None else known_from)
    mine = np.flatnonzero(places.key[np.minimum(place, len(places.key) - 1)] == keys)
    mine = mine[place[mine] < len(places.key)]
    place, times, rows = place[mine], times[mine], rows[mine]
    if created is not None and newest.created is not None:
        created = created[mine]
        newest.created[place[times > newest.time[place]]] = EARLIEST
    np.maximum.at(newest.time, place, times)
    best = np.flatnonzero(times == newest.time[place])
    place, rows = place[best], rows[best]
    if created is not None and newest.created is not None:
        created = created[best]
        np.maximum.at(newest.created, place, created)
        best = np.flatnonzero(created == newest.created[place])
        place, rows = place[best], rows[best]
    # Of equal places NumPy keeps the last value, and rows ascend.
    newest.row[place] = rows


def resolve(places: Spine, newest: Newest, ttl: int | None, known_late: bool = False) -> Integers:
    """The feature row of each entity row.

    Args:
        places: The entity rows.
        newest: What has been put at each place.
        ttl: How much older than the entity row a match may be, in nanoseconds; None for no limit.
        known_late: Whether `fold` was given `known_from`; otherwise the winner of a later place
            of a key is newer in any case.

    Returns:
        A row of the source for each entity row in their first order; `NO_ROW` without a match.
    """
    winners = np.flatnonzero(newest.row != NO_ROW)
    by_age = winners
    if known_late:
        # Of one time, what was known later was created later, so places break the ties.
        by_age = winners[np.argsort(newest.time[winners], kind="stable")]
    rank = np.zeros(len(places.key), np.int64)
    rank[by_age] = np.arange(1, len(by_age) + 1)
    # The key leads, so that nothing is carried from one key to the next.
    lead = places.key * (len(by_age) + 1)
    best = np.maximum.accumulate(lead + rank) - lead
    held = best > 0
    carrier = by_age[best[held] - 1]
    found = np.full(len(places.key), NO_ROW)
    found[held] = newest.row[carrier]
    if ttl is not None:
        expired = newest.time[carrier] < earlier(places.time[held], ttl)
        found[np.flatnonzero(held)[expired]] = NO_ROW
    result = np.full(places.rows, NO_ROW)
    result[places.order] = found
    return result


def earlier(times: Integers, span: int) -> Integers:
    """Times less a span; before the earliest there is nothing."""
    span = min(span, LATEST)
    return np.where(times < EARLIEST + span, EARLIEST, times - span)


def _first_not_older(places: Spine, keys: Integers, times: Integers) -> Integers:
    times = np.clip(times, places.earliest, min(places.latest, LATEST - 1) + 1)
    if places.ladder is None:
        # Rounded up: a feature row between two steps is known at the later one.
        step = -(-times // places.unit) - places.base
    else:
        step = np.searchsorted(places.ladder, times)
    wanted = keys * places.span + step
    falls = np.count_nonzero(wanted[1:] < wanted[:-1])
    if falls * _RUN_ROWS <= len(wanted):
        return np.searchsorted(places.search, wanted)
    # A search for ascending values walks memory forwards; long runs do, the rest is worth a sort.
    order = np.argsort(wanted)
    place = np.empty(len(wanted), np.int64)
    place[order] = np.searchsorted(places.search, wanted[order])
    return place
