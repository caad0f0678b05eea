"""Rows of one source without entity rows: each key's newest, all of a time, the keys alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from firnline.adapters.feast_offline import asof, keys, parquet
from firnline.adapters.feast_offline.match import (
    MOST_ROWS,
    Rows,
    Sought,
    fetch,
    files_within,
    match,
    opened,
    within,
)
from firnline.adapters.feast_offline.times import EARLIEST, LATEST


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
    table = opened(rows, files_within(rows, between), threads)
    parquet.require(table, columns, rows.name)
    distinct = distinct_keys(table, rows, between)
    types = tuple(keys.common_type(kind, kind, rows.name) for kind in distinct.schema.types)
    count = len(distinct) if rows.keys else 1
    ends = np.full(count, end, np.int64)
    vocabulary, numbers = keys.learn([distinct[name] for name in rows.keys], types, count)
    sought = Sought(asof.spine(numbers, ends, None), vocabulary)
    found = match(table, sought, rows, between, end - start)
    by_key = np.argsort(numbers, kind="stable")
    found = found[by_key]
    found = found[found != asof.NO_ROW]
    return pa.table(dict(zip(columns, fetch(table, columns, found), strict=True)))


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
    table = opened(rows, files_within(rows, between), threads)
    wanted = list(dict.fromkeys([*columns, rows.timestamp]))
    parquet.require(table, wanted, rows.name)
    found = []
    for _, batch in parquet.batches(table, wanted, timestamp=rows.timestamp, between=between):
        if limits:
            inside, _ = within(batch, rows, between)
            batch = batch.filter(pa.array(inside))
        found.append(batch.select(list(columns)))
    return pa.Table.from_batches(found, parquet.selected(table, columns))


def distinct_keys(table: parquet.Table, rows: Rows, between: tuple[int, int]) -> Any:
    """Each key that has a row within a time, once.

    Args:
        table: The feature rows.
        rows: Which columns are keys and times.
        between: First and last nanosecond.

    Returns:
        Arrow table of the key columns, in no particular order.
    """
    names = list(dict.fromkeys(rows.keys))
    schema = parquet.selected(table, names)
    found = schema.empty_table()
    for batch in _inside(table, rows, names, between):
        fresh = pa.Table.from_batches([batch]).group_by(names).aggregate([])
        found = pa.concat_tables([found, fresh.select(names)])
        if len(found) > MOST_ROWS:
            found = found.group_by(names).aggregate([]).select(names)
    return found.group_by(names).aggregate([]).select(names) if names else found


def _inside(
    table: parquet.Table, rows: Rows, names: Sequence[str], between: tuple[int, int]
) -> Iterator[Any]:
    if not names:
        return
    wanted = list(dict.fromkeys([*names, rows.timestamp]))
    for _, batch in parquet.batches(table, wanted, timestamp=rows.timestamp, between=between):
        inside, _ = within(batch, rows, between)
        yield (batch if inside.all() else batch.filter(pa.array(inside))).select(list(names))
