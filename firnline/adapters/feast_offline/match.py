"""Feature rows against entity rows: which one each gets, and its columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from firnline.adapters.feast_offline import asof, keys, parquet, sources
from firnline.adapters.feast_offline.times import EARLIEST, LATEST, Flags, Integers, nanoseconds

MOST_ROWS = 1 << 22


@dataclass(frozen=True)
class Rows:
    """Feature rows of one source, by the names its files use.

    Attributes:
        name: What reads them, for messages.
        source: The pinned source.
        keys: Key columns.
        timestamp: Column of the event time.
        created: Column of the created time, or None.
    """

    name: str
    source: sources.Source
    keys: tuple[str, ...]
    timestamp: str
    created: str | None = None


@dataclass(frozen=True)
class Sought:
    """Entity rows, sorted, with the keys that they ask for.

    Attributes:
        spine: Their keys, as numbers, and times.
        vocabulary: The keys behind the numbers.
    """

    spine: asof.Spine
    vocabulary: keys.Vocabulary


def seek(
    entities: Any,
    columns: Sequence[str],
    types: Sequence[Any],
    times: Integers,
    known: Flags | None,
) -> Sought:
    """Number and sort entity rows.

    Args:
        entities: Arrow table with the key columns.
        columns: Key columns.
        types: Type in which each is compared.
        times: Nanoseconds of each row.
        known: Which times are known; None when all are.

    Raises:
        HandshakeError: O5 when a key does not fit its type.
    """
    vocabulary, numbers = keys.learn([entities[name] for name in columns], types, entities.num_rows)
    return Sought(asof.spine(numbers, times, known), vocabulary)


def span(sought: Sought, ttl: int | None) -> tuple[int, int]:
    """First and last nanosecond that a match can have; none where no entity row can have one."""
    spine = sought.spine
    if len(spine.key) == 0:
        return (LATEST, EARLIEST)
    first = EARLIEST if ttl is None else max(spine.earliest - ttl, EARLIEST)
    return (first, spine.latest)


def opened(rows: Rows, files: Sequence[Path], threads: bool, schema: Any = None) -> parquet.Table:
    """A source's files as one table that has keys and times.

    Raises:
        HandshakeError: O3 when a column is missing, O9 when a file cannot be read.
    """
    table = parquet.open_table(files, rows.name, threads, schema)
    created = [rows.created] if rows.created else []
    parquet.require(table, [*rows.keys, rows.timestamp, *created], rows.name)
    return table


def files_within(rows: Rows, between: tuple[int, int]) -> Sequence[Path]:
    """Files that can hold rows of a time; where none can, one file for its columns.

    Raises:
        HandshakeError: O1 or O2 when there is none, a P-code when one is damaged.
    """
    return sources.files(rows.source, between) or [sources.any_file(rows.source)]


def match(
    table: parquet.Table,
    sought: Sought,
    rows: Rows,
    between: tuple[int, int],
    ttl: int | None,
    known_by_then: bool = False,
) -> Integers:
    """The matching row of a table for each entity row.

    Args:
        table: The feature rows.
        sought: The entity rows.
        rows: Which columns are keys and times.
        between: First and last nanosecond to look at.
        ttl: How much older a match may be, in nanoseconds; None for no limit.
        known_by_then: Whether it must have been created by then, too.

    Returns:
        Row numbers of the table in the order of the entity rows; `asof.NO_ROW` without a match.
    """
    state = asof.nothing_yet(sought.spine, rows.created is not None)
    # A look-up hashes the whole vocabulary anew, so a batch is never much smaller than it.
    size = min(max(parquet.BATCH_ROWS, 4 * sought.vocabulary.size), MOST_ROWS)
    wanted = [*rows.keys, rows.timestamp, *([rows.created] if rows.created else [])]
    for first, batch in parquet.batches(table, wanted, size, rows.timestamp, between):
        inside, times = within(batch, rows, between)
        numbers = keys.look_up(
            sought.vocabulary, [batch[name] for name in rows.keys], batch.num_rows
        )
        inside &= numbers != keys.NO_KEY
        made = known_from = None
        if rows.created:
            made, known = nanoseconds(batch[rows.created], f"{rows.name}, column {rows.created}")
            if known is not None:
                made = np.where(known, made, EARLIEST)
                inside &= known | (not known_by_then)
            known_from = np.maximum(times, made) if known_by_then else None
        chosen = np.flatnonzero(inside)
        asof.fold(
            sought.spine,
            state,
            numbers[chosen],
            times[chosen],
            None if made is None else made[chosen],
            chosen + first,
            None if known_from is None else known_from[chosen],
        )
    return asof.resolve(sought.spine, state, ttl, known_by_then)


def within(batch: Any, rows: Rows, between: tuple[int, int]) -> tuple[Flags, Integers]:
    """Which rows of a batch lie in a time, both ends included, and the nanoseconds of all.

    Raises:
        HandshakeError: O6 when the column holds no times.
    """
    times, known = nanoseconds(batch[rows.timestamp], f"{rows.name}, column {rows.timestamp}")
    inside = (times >= between[0]) & (times <= between[1])
    return (inside if known is None else inside & known), times


def fetch(table: parquet.Table, names: Sequence[str], found: Integers) -> list[Any]:
    """Columns of chosen rows.

    Args:
        table: The feature rows.
        names: Columns.
        found: Row numbers, in any order, and `asof.NO_ROW` for a null.

    Returns:
        One Arrow column a name, as long as `found`.

    Raises:
        HandshakeError: O3 when a column is missing.
    """
    parquet.require(table, names, "the features")
    rows, place = np.unique(found, return_inverse=True)
    if len(rows) and rows[0] == asof.NO_ROW:
        rows, place = rows[1:], place - 1
    if len(rows) == len(found) and (found[1:] > found[:-1]).all():
        values = parquet.take(table, list(dict.fromkeys(names)), found)
    else:
        values = parquet.take(table, list(dict.fromkeys(names)), rows)
        values = values.take(pa.array(place, pa.int64(), mask=place < 0))
    return [values[name] for name in names]
