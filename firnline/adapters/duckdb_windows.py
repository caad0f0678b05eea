"""One partition's windows: readings in order, the view's expression over them, a Parquet file."""

from datetime import timedelta
from pathlib import Path

import duckdb

from firnline.adapters.partitions import Partition
from firnline.contracts.features import WindowView
from firnline.errors import HandshakeError

TIME = "timestamp_utc"
ROW_GROUP_ROWS = 122_880


def write_windows(
    cursor: duckdb.DuckDBPyConnection, view: WindowView, sql: str, partition: Partition, out: Path
) -> int:
    """Compute one partition and write its windows.

    Args:
        cursor: A connection of one thread, in UTC; its temporary names are overwritten.
        view: The view.
        sql: Its expression over a table `readings`.
        partition: The readings to read, and the times the windows end in.
        out: Folder to write `date=YYYY-MM-DD/part-HH.parquet` in.

    Returns:
        Windows written.

    Raises:
        HandshakeError: FV6 when the windows are not those declared, FV7 when the partition needs
            more memory or spill than allowed.
    """
    try:
        _load(cursor, view, partition)
        select = _select(view, sql, partition)
        if partition.start is None:
            return _write_days(cursor, view, select, out)
        file = out / f"date={partition.start:%Y-%m-%d}" / f"part-{partition.start:%H}.parquet"
        windows = _write(cursor, select, file)
        if windows:
            _check(cursor, view, f"read_parquet({text(file)}, hive_partitioning = false)")
        return windows
    except duckdb.OutOfMemoryException as error:
        raise HandshakeError(
            "FV7",
            found=f"a {view.partition} partition does not fit: {str(error).splitlines()[0]}",
            where=view.reference,
            mend="raise FIRNLINE_MEMORY_LIMIT or FIRNLINE_TEMP_LIMIT, or use a smaller partition",
        ) from error


def _load(cursor: duckdb.DuckDBPyConnection, view: WindowView, partition: Partition) -> None:
    """Make a view `readings` of the partition's readings, in order."""
    where = ""
    if partition.start is not None and partition.end is not None:
        low = partition.start - timedelta(seconds=view.lookback_seconds)
        where = (
            f"WHERE {TIME} >= TIMESTAMPTZ '{low.isoformat()}' "
            f"AND {TIME} < TIMESTAMPTZ '{partition.end.isoformat()}'"
        )
    files = ", ".join(text(file) for file in partition.files)
    # Each column the expression does not ask for, and each copy, costs more than computing does.
    # Ibis turns times with a zone into UTC by a calendar's rules, row by row, when it asks for
    # their epoch; a time that is UTC already costs nothing.
    cursor.execute(
        f"CREATE OR REPLACE TEMP VIEW given AS SELECT * "
        f"REPLACE (make_timestamp(epoch_us({TIME})) AS {TIME}) "
        f"FROM read_parquet([{files}], hive_partitioning = false) {where}"
    )
    # Ingest writes readings in order, and looking is ten times cheaper than sorting again. Few
    # share an instant, so their events' names, which are long, are seldom looked at.
    by = [f'"{view.key}"', TIME, "event_id"]
    source = "given"
    cursor.execute("DROP TABLE IF EXISTS ordered")
    if not any(_increase(cursor, columns) for columns in (by[:2], by)):
        source = "ordered"
        cursor.execute(
            f"CREATE OR REPLACE TEMP TABLE ordered AS FROM given ORDER BY {', '.join(by)}"
        )
    cursor.execute(f"CREATE OR REPLACE TEMP VIEW readings AS FROM {source}")


def _increase(cursor: duckdb.DuckDBPyConnection, columns: list[str]) -> bool:
    """Whether every row of `given` comes after the one before it."""
    row = f"row({', '.join(columns)})"
    ((not_after,),) = cursor.execute(
        f"SELECT count(*) FROM (SELECT {row} AS r, lag({row}) OVER () AS before FROM given) "
        f"WHERE r <= before"
    ).fetchall()
    return not not_after


def _select(view: WindowView, sql: str, partition: Partition) -> str:
    """The partition's windows in the order of key and time, as they are written."""
    columns = ", ".join(f'"{name}"::DOUBLE AS "{name}"' for name in view.features)
    where = ""
    if partition.start is not None and partition.end is not None:
        where = (
            f"WHERE window_end > TIMESTAMPTZ '{partition.start.isoformat()}' "
            f"AND window_end <= TIMESTAMPTZ '{partition.end.isoformat()}'"
        )
    return (
        f'SELECT "{view.key}"::VARCHAR AS "{view.key}", '
        f"window_start::TIMESTAMPTZ AS window_start, window_end::TIMESTAMPTZ AS window_end, "
        f'{columns} FROM ({sql}) {where} ORDER BY "{view.key}", window_end'
    )


def _write_days(cursor: duckdb.DuckDBPyConnection, view: WindowView, select: str, out: Path) -> int:
    """Write everything at once, a file for each day in which windows end; returns how many."""
    cursor.execute(f"CREATE OR REPLACE TEMP TABLE windows AS {select}")
    _check(cursor, view, "windows")
    day = "(window_end - INTERVAL 1 MICROSECOND)::DATE"
    days = cursor.execute(f"SELECT DISTINCT {day} AS day FROM windows ORDER BY 1").fetchall()
    return sum(
        _write(
            cursor,
            f"FROM windows WHERE {day} = DATE '{date}'",
            out / f"date={date}" / "part-00.parquet",
        )
        for (date,) in days
    )


def _write(cursor: duckdb.DuckDBPyConnection, query: str, file: Path) -> int:
    """Write a file of windows unless there are none; returns how many."""
    file.parent.mkdir(exist_ok=True)
    ((windows,),) = cursor.execute(
        f"COPY ({query}) TO {text(file)} "
        f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
    ).fetchall()
    if not windows:
        file.unlink()
    return int(windows)


def _check(cursor: duckdb.DuckDBPyConnection, view: WindowView, windows: str) -> None:
    """See that each window stands once and, but for `whole` partitions, ends on the clock."""
    every = view.every_seconds * 1_000_000
    ((rows, distinct, unaligned),) = cursor.execute(
        f'SELECT count(*), count(DISTINCT ("{view.key}", window_end)), '
        f"count(*) FILTER (epoch_us(window_end) % {every} <> 0) FROM {windows}"
    ).fetchall()
    if rows != distinct:
        raise unlike(view, f"{rows - distinct} windows stand twice or have no key or end")
    if unaligned and view.partition != "whole":
        raise unlike(view, f"{unaligned} windows end off the clock")


def unlike(view: WindowView, found: str) -> HandshakeError:
    """FV6: the transformation yields something else than the view declares."""
    return HandshakeError(
        "FV6",
        found=found,
        where=f"the transformation of {view.reference}",
        mend="yield the key, window_start, window_end and the declared features, one row a "
        "key and window, windows ending at multiples of every_seconds",
    )


def text(path: Path) -> str:
    """A path as an SQL literal."""
    return "'" + str(path).replace("'", "''") + "'"
