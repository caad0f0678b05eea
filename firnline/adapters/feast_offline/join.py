"""What the store does with a source: join it as of a time, take each key's newest row, scan it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from firnline.adapters.feast_offline import asof, keys, parquet, sources
from firnline.adapters.feast_offline.times import EARLIEST, LATEST, Integers, nanoseconds
from firnline.errors import HandshakeError

_MOST_ROWS = 1 << 22


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
class View:
    """One view of a point-in-time join.

    Attributes:
        rows: Its feature rows.
        entity: The entity rows' column for each key column.
        ttl: How old a match may be in nanoseconds; None for no limit.
        columns: Source column and output column of each feature, in order.
    """

    rows: Rows
    entity: tuple[str, ...]
    ttl: int | None
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Sought:
    """Entity rows, sorted, with the keys that they ask for."""

    spine: asof.Spine
    vocabulary: keys.Vocabulary


def join(
    entities: Any,
    time: str,
    views: Sequence[View],
    threads: bool = True,
    known_by_then: bool = False,
) -> Any:
    """Add to each entity row the features that were newest at its time.

    For a row with key k and time t, a view's match is its row with key k and the largest event
    time in [t - ttl, t]; of several the one with the largest created time (null is the oldest);
    of several still, the last in the source. Rows without a match get nulls.

    Args:
        entities: Arrow table with the views' entity columns and the time.
        time: Column of the entity rows' time; a row without a time has no match.
        views: What to join, in the order of the output.
        threads: Whether columns are decoded on several threads.
        known_by_then: Whether a match's created time must not be after t either.

    Returns:
        The table with a column a feature appended: same rows, same order.

    Raises:
        HandshakeError: O1 to O6 and O9 when entity rows and source do not fit, a P-code when
            published data is damaged.
    """
    times, known = nanoseconds(entities[time], f"entity rows, column {time}")
    coded: dict[Any, _Sought] = {}
    for view in views:
        schema = _opened(view.rows, [sources.any_file(view.rows.source)], threads).schema
        types = tuple(
            keys.common_type(
                entities.schema.field(mine).type, schema.field(its).type, view.rows.name
            )
            for mine, its in zip(view.entity, view.rows.keys, strict=True)
        )
        sought = coded.get((view.entity, types))
        if sought is None:
            sought = coded[view.entity, types] = _sought(entities, times, known, view.entity, types)
        between = _between(sought.spine, view.ttl)
        table = _opened(view.rows, sources.files(view.rows.source, between), threads, schema)
        found = _match(table, sought, view.rows, between, view.ttl, known_by_then)
        for (_, output), column in zip(
            view.columns, _columns(table, [name for name, _ in view.columns], found), strict=True
        ):
            entities = entities.append_column(output, column)
    return entities


def newest(rows: Rows, columns: Sequence[str], start: int, end: int, threads: bool = True) -> Any:
    """Each key's newest row within a time: the join as of its end, so both agree.

    Args:
        rows: The feature rows; those with a null in a key column belong to no entity.
        columns: What to return of each.
        start: First nanosecond.
        end: Last nanosecond.
        threads: Whether columns are decoded on several threads.

    Returns:
        Arrow table in the order of the keys.

    Raises:
        HandshakeError: As `join`.
    """
    between = (start, end)
    table = _opened(rows, _some_files(rows, between), threads)
    parquet.require(table, columns, rows.name)
    distinct = _distinct(table, rows, between)
    types = tuple(keys.common_type(kind, kind, rows.name) for kind in distinct.schema.types)
    count = len(distinct) if rows.keys else 1
    ends = np.full(count, end, np.int64)
    vocabulary, numbers = keys.learn([distinct[name] for name in rows.keys], types, count)
    sought = _Sought(asof.spine(numbers, ends, None), vocabulary)
    found = _match(table, sought, rows, between, end - start, False)
    by_key = np.argsort(numbers, kind="stable")
    found = found[by_key]
    found = found[found != asof.NO_ROW]
    return pa.table(dict(zip(columns, _columns(table, columns, found), strict=True)))


def entities(views: Sequence[View], start: int, end: int, threads: bool = True) -> Any:
    """The distinct keys that have a row within a time, for a join that is given no entity rows.

    Args:
        views: The views; those that know every entity column tell the keys.
        start: First nanosecond.
        end: Last nanosecond.
        threads: Whether columns are decoded on several threads.

    Returns:
        Arrow table of the views' entity columns, in no particular order; one row without a
        column where no view has a key.

    Raises:
        HandshakeError: O4 when no view knows every entity column, and as `join`.
    """
    names = sorted({name for view in views for name in view.entity})
    if not names:
        return pa.table({"firnline_row": [0]})
    found = []
    for view in views:
        if set(view.entity) == set(names):
            table = _opened(view.rows, _some_files(view.rows, (start, end)), threads)
            keyed = _distinct(table, view.rows, (start, end))
            found.append(
                pa.table(
                    {
                        mine: keyed[its]
                        for mine, its in zip(view.entity, view.rows.keys, strict=True)
                    }
                )
            )
    if not found:
        raise HandshakeError(
            "O4",
            found=f"no view has all of the keys {', '.join(names)}",
            where="a join without entity rows",
            mend="give the entity rows, or ask for one view at a time",
        )
    every = pa.concat_tables([table.select(names) for table in found], promote_options="permissive")
    return every.group_by(names).aggregate([]).select(names)


def scan(
    rows: Rows, columns: Sequence[str], start: int | None, end: int | None, threads: bool = True
) -> Any:
    """All rows within a time, in the order of the source.

    Args:
        rows: The feature rows.
        columns: What to return of each.
        start: First nanosecond, or None.
        end: Last nanosecond, or None.
        threads: Whether columns are decoded on several threads.

    Raises:
        HandshakeError: As `join`.
    """
    limits = start is not None or end is not None
    between = (EARLIEST if start is None else start, LATEST if end is None else end)
    table = _opened(rows, _some_files(rows, between), threads)
    wanted = list(dict.fromkeys([*columns, rows.timestamp]))
    parquet.require(table, wanted, rows.name)
    found = []
    for _, batch in parquet.batches(table, wanted, timestamp=rows.timestamp, between=between):
        if limits:
            inside, _ = _within(batch, rows.timestamp, between, rows.name)
            batch = batch.filter(pa.array(inside))
        found.append(batch.select(list(columns)))
    return pa.Table.from_batches(found, parquet.selected(table, columns))


def _sought(
    entities: Any, times: Integers, known: Any, columns: Sequence[str], types: Sequence[Any]
) -> _Sought:
    vocabulary, numbers = keys.learn([entities[name] for name in columns], types, entities.num_rows)
    return _Sought(asof.spine(numbers, times, known), vocabulary)


def _between(spine: asof.Spine, ttl: int | None) -> tuple[int, int]:
    if len(spine.key) == 0:
        return (LATEST, EARLIEST)
    first = EARLIEST if ttl is None else max(spine.earliest - ttl, EARLIEST)
    return (first, spine.latest)


def _opened(rows: Rows, files: Sequence[Any], threads: bool, schema: Any = None) -> parquet.Table:
    table = parquet.open_table(files, rows.name, threads, schema)
    created = [rows.created] if rows.created else []
    parquet.require(table, [*rows.keys, rows.timestamp, *created], rows.name)
    return table


def _some_files(rows: Rows, between: tuple[int, int]) -> Sequence[Any]:
    return sources.files(rows.source, between) or [sources.any_file(rows.source)]


def _match(
    table: parquet.Table,
    sought: _Sought,
    rows: Rows,
    between: tuple[int, int],
    ttl: int | None,
    known_by_then: bool,
) -> Integers:
    """The matching row of the table for each entity row."""
    spine = sought.spine
    created = rows.created if rows.created in table.schema.names else None
    state = asof.nothing_yet(spine, created is not None)
    # A look-up hashes the whole vocabulary anew, so a batch is never much smaller than it.
    size = min(max(parquet.BATCH_ROWS, 4 * sought.vocabulary.size), _MOST_ROWS)
    wanted = [*rows.keys, rows.timestamp, *([created] if created else [])]
    for first, batch in parquet.batches(table, wanted, size, rows.timestamp, between):
        inside, times = _within(batch, rows.timestamp, between, rows.name)
        made = None
        if created is not None:
            made, known = nanoseconds(batch[created], f"{rows.name}, column {created}")
            if known is not None:
                made = np.where(known, made, EARLIEST)
                if known_by_then:
                    inside &= known
        numbers = keys.look_up(
            sought.vocabulary, [batch[name] for name in rows.keys], batch.num_rows
        )
        chosen = np.flatnonzero(inside & (numbers != keys.NO_KEY))
        times = times[chosen]
        made = None if made is None else made[chosen]
        later = np.maximum(times, made) if known_by_then and made is not None else None
        asof.fold(spine, state, numbers[chosen], times, made, chosen + first, later)
    return asof.resolve(spine, state, ttl, known_by_then)


def _within(
    batch: Any, timestamp: str, between: tuple[int, int], where: str
) -> tuple[Any, Integers]:
    times, known = nanoseconds(batch[timestamp], f"{where}, column {timestamp}")
    inside = (times >= between[0]) & (times <= between[1])
    return (inside if known is None else inside & known), times


def _distinct(table: parquet.Table, rows: Rows, between: tuple[int, int]) -> Any:
    """Each key that has a row within the time, once."""
    names = list(dict.fromkeys(rows.keys))
    schema = parquet.selected(table, names)
    found = schema.empty_table()
    for batch in _inside(table, rows, names, between):
        fresh = pa.Table.from_batches([batch]).group_by(names).aggregate([])
        found = pa.concat_tables([found, fresh.select(names)])
        if len(found) > _MOST_ROWS:
            found = found.group_by(names).aggregate([]).select(names)
    return found.group_by(names).aggregate([]).select(names) if names else found


def _inside(
    table: parquet.Table, rows: Rows, names: Sequence[str], between: tuple[int, int]
) -> Iterator[Any]:
    if not names:
        return
    wanted = list(dict.fromkeys([*names, rows.timestamp]))
    for _, batch in parquet.batches(table, wanted, timestamp=rows.timestamp, between=between):
        inside, _ = _within(batch, rows.timestamp, between, rows.name)
        yield (batch if inside.all() else batch.filter(pa.array(inside))).select(list(names))


def _columns(table: parquet.Table, names: Sequence[str], found: Integers) -> list[Any]:
    """Columns of the matching rows, null without a match."""
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
