"""The join of several views to entity rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from firnline.adapters.feast_offline import keys, sources
from firnline.adapters.feast_offline.match import (
    Rows,
    Sought,
    fetch,
    files_within,
    match,
    opened,
    seek,
    span,
)
from firnline.adapters.feast_offline.pull import distinct_keys
from firnline.adapters.feast_offline.times import nanoseconds
from firnline.errors import HandshakeError


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
    coded: dict[Any, Sought] = {}
    for view in views:
        schema = opened(view.rows, [sources.any_file(view.rows.source)], threads).schema
        types = tuple(
            keys.common_type(
                entities.schema.field(mine).type, schema.field(its).type, view.rows.name
            )
            for mine, its in zip(view.entity, view.rows.keys, strict=True)
        )
        sought = coded.get((view.entity, types))
        if sought is None:
            sought = coded[view.entity, types] = seek(entities, view.entity, types, times, known)
        between = span(sought, view.ttl)
        table = opened(view.rows, sources.files(view.rows.source, between), threads, schema)
        found = match(table, sought, view.rows, between, view.ttl, known_by_then)
        columns = fetch(table, [name for name, _ in view.columns], found)
        for (_, output), column in zip(view.columns, columns, strict=True):
            entities = entities.append_column(output, column)
    return entities


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
            table = opened(view.rows, files_within(view.rows, (start, end)), threads)
            keyed = distinct_keys(table, view.rows, (start, end))
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
