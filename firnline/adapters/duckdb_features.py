"""DuckDB computes a view's windows partition by partition, to the same bytes every time.

A partition is read in one order and runs on one thread, so that floating-point sums do not
depend on how many threads there are; threads run several partitions at once.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import duckdb

from firnline.adapters.partitions import Partition, hour_files, partitions
from firnline.contracts.features import WindowView
from firnline.digest import tree_digest
from firnline.errors import HandshakeError

TIME = "timestamp_utc"
ROW_GROUP_ROWS = 122_880


@dataclass(frozen=True)
class FeatureCounts:
    """What one computation of a view wrote.

    Attributes:
        windows: Rows written.
        first_window_end: Earliest window's end, UTC; None without windows.
        last_window_end: Latest window's end, UTC; the data may have cut that window short.
        digest: sha256 of the folder that was written.
    """

    windows: int
    first_window_end: datetime | None
    last_window_end: datetime | None
    digest: str


def compute(
    view: WindowView,
    clean: Path,
    out: Path,
    *,
    memory_limit: str = "1GB",
    temp_limit: str = "8GB",
    threads: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureCounts:
    """Write every window of a view that holds a reading, each once.

    Args:
        view: The view; its expression is compiled once.
        clean: `date=YYYY-MM-DD/hour=HH/*.parquet` of clean readings.
        out: Folder to write `<name>_v<N>/date=YYYY-MM-DD/part-HH.parquet` in, by the partition
            a window ends in; a window that ends at midnight is of the day before.
        memory_limit: DuckDB's memory for all partitions under way, with its unit.
        temp_limit: DuckDB's limit for what it spills, with its unit.
        threads: Partitions under way at once.
        progress: Called with partitions done and partitions in all.

    Raises:
        ContractError: FV4 when there are no clean readings.
        HandshakeError: FV5 when the expression does not fit the readings, FV6 when it yields
            other columns or windows than the view declares, FV7 when a partition needs more
            memory or spill than allowed.
    """
    hours = hour_files(clean)
    sql = compile_sql(view, next(iter(hours.values()))[0])
    todo = partitions(view, hours)
    target, partial, spill = (out / name for name in (view.table, f".{view.table}", ".spill"))
    for left_over in (target, partial):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir(parents=True)
    with (
        _database(spill, memory_limit, temp_limit) as database,
        ThreadPoolExecutor(max_workers=threads) as pool,
    ):
        cursors: SimpleQueue[duckdb.DuckDBPyConnection] = SimpleQueue()
        for _ in range(threads):
            cursors.put(_cursor(database))

        def run(partition: Partition) -> int:
            cursor = cursors.get()
            try:
                return _run(cursor, view, sql, partition, partial)
            finally:
                cursors.put(cursor)

        futures = [pool.submit(run, partition) for partition in todo]
        try:
            windows = 0
            for done, future in enumerate(as_completed(futures), start=1):
                windows += future.result()
                if progress:
                    progress(done, len(todo))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        first, last = _span(database, partial) if windows else (None, None)
    partial.rename(target)
    return FeatureCounts(windows, first, last, tree_digest(target))


def compile_sql(view: WindowView, sample: Path) -> str:
    """The view's expression as DuckDB's SQL over a table `readings`.

    Args:
        view: The view.
        sample: One file of clean readings, for its schema.

    Raises:
        HandshakeError: FV5 or FV6, as `compute` says.
    """
    import ibis
    import pyarrow.parquet as pq

    schema = ibis.Schema.from_pyarrow(pq.read_schema(sample))
    try:
        expression = view.transform(ibis.table(schema, name="readings"), view)
        columns = set(expression.columns)
        sql = str(ibis.to_sql(expression, dialect="duckdb"))
    except (ibis.common.exceptions.IbisError, AttributeError, KeyError, TypeError) as error:
        raise HandshakeError(
            "FV5",
            found=f"the expression does not fit the clean readings: {error}",
            where=view.reference,
            mend=f"use the columns there are: {', '.join(schema.names)}",
        ) from error
    expected = {view.key, "window_start", "window_end", *view.features}
    if columns != expected:
        raise _unlike(
            view,
            f"it lacks {sorted(expected - columns)} and has beside them "
            f"{sorted(columns - expected)}",
        )
    return sql


def _unlike(view: WindowView, found: str) -> HandshakeError:
    return HandshakeError(
        "FV6",
        found=found,
        where=f"the transformation of {view.reference}",
        mend="yield the key, window_start, window_end and the declared features, one row a "
        "key and window, windows ending at multiples of every_seconds",
    )


@contextmanager
def _database(
    spill: Path, memory_limit: str, temp_limit: str
) -> Iterator[duckdb.DuckDBPyConnection]:
    spill.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "threads": 1,
        "memory_limit": memory_limit,
        "temp_directory": str(spill),
        "max_temp_directory_size": temp_limit,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    database = duckdb.connect(":memory:", config=settings)
    try:
        database.execute("SET TimeZone='UTC'")
        yield database
    finally:
        database.close()
        shutil.rmtree(spill, ignore_errors=True)


def _cursor(database: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    cursor = database.cursor()
    cursor.execute("SET TimeZone='UTC'")
    return cursor


def _run(
    cursor: duckdb.DuckDBPyConnection, view: WindowView, sql: str, partition: Partition, out: Path
) -> int:
    """Compute one partition and write its windows; returns how many."""
    try:
        _load(cursor, view, partition)
        _evaluate(cursor, view, sql, partition)
    except duckdb.OutOfMemoryException as error:
        raise HandshakeError(
            "FV7",
            found=f"a {view.partition} partition does not fit: {str(error).splitlines()[0]}",
            where=view.reference,
            mend="raise FIRNLINE_MEMORY_LIMIT or FIRNLINE_TEMP_LIMIT, or use a smaller partition",
        ) from error
    windows = _checked(cursor, view, partition)
    if not windows:
        return 0
    if partition.start is not None:
        name = f"part-{partition.start:%H}.parquet"
        _write(cursor, "windows", out / f"date={partition.start:%Y-%m-%d}" / name)
        return windows
    days = cursor.execute(
        "SELECT DISTINCT (window_end - INTERVAL 1 MICROSECOND)::DATE AS day FROM windows ORDER BY 1"
    ).fetchall()
    for (day,) in days:
        query = f"FROM windows WHERE (window_end - INTERVAL 1 MICROSECOND)::DATE = DATE '{day}'"
        _write(cursor, f"({query})", out / f"date={day}" / "part-00.parquet")
    return windows


def _load(cursor: duckdb.DuckDBPyConnection, view: WindowView, partition: Partition) -> None:
    where = ""
    if partition.start is not None and partition.end is not None:
        low = partition.start - timedelta(seconds=view.lookback_seconds)
        where = (
            f"WHERE {TIME} >= TIMESTAMPTZ '{low.isoformat()}' "
            f"AND {TIME} < TIMESTAMPTZ '{partition.end.isoformat()}'"
        )
    files = ", ".join(_text(file) for file in partition.files)
    create = "CREATE OR REPLACE TEMP TABLE readings AS SELECT * FROM"
    cursor.execute(f"{create} read_parquet([{files}], hive_partitioning = false) {where}")
    # Ingest writes readings in order, and looking is thirty times cheaper than sorting again.
    ((unordered,),) = cursor.execute(
        f'SELECT count(*) FROM (SELECT "{view.key}" AS k, {TIME} AS t, event_id AS e, '
        f'lag("{view.key}") OVER () AS lk, lag({TIME}) OVER () AS lt, lag(event_id) OVER () AS le '
        f"FROM readings) WHERE k < lk OR (k = lk AND (t < lt OR (t = lt AND e < le)))"
    ).fetchall()
    if unordered:
        cursor.execute(f'{create} readings ORDER BY "{view.key}", {TIME}, event_id')


def _evaluate(
    cursor: duckdb.DuckDBPyConnection, view: WindowView, sql: str, partition: Partition
) -> None:
    columns = ", ".join(f'"{name}"::DOUBLE AS "{name}"' for name in view.features)
    where = ""
    if partition.start is not None and partition.end is not None:
        where = (
            f"WHERE window_end > TIMESTAMPTZ '{partition.start.isoformat()}' "
            f"AND window_end <= TIMESTAMPTZ '{partition.end.isoformat()}'"
        )
    cursor.execute(
        f'CREATE OR REPLACE TEMP TABLE windows AS SELECT "{view.key}"::VARCHAR AS "{view.key}", '
        f"window_start::TIMESTAMPTZ AS window_start, window_end::TIMESTAMPTZ AS window_end, "
        f'{columns} FROM ({sql}) {where} ORDER BY "{view.key}", window_end'
    )


def _checked(cursor: duckdb.DuckDBPyConnection, view: WindowView, partition: Partition) -> int:
    every = view.every_seconds * 1_000_000
    ((windows, distinct, unaligned),) = cursor.execute(
        f'SELECT count(*), count(DISTINCT ("{view.key}", window_end)), '
        f"count(*) FILTER (epoch_us(window_end) % {every} <> 0) FROM windows"
    ).fetchall()
    if windows != distinct:
        raise _unlike(view, f"{windows - distinct} windows stand twice or have no key or end")
    if unaligned and partition.start is not None:
        raise _unlike(view, f"{unaligned} windows end off the clock")
    return int(windows)


def _write(cursor: duckdb.DuckDBPyConnection, source: str, file: Path) -> None:
    file.parent.mkdir(exist_ok=True)
    cursor.execute(
        f"COPY {source} TO {_text(file)} "
        f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
    )


def _span(database: duckdb.DuckDBPyConnection, out: Path) -> tuple[datetime, datetime]:
    ((first, last),) = database.execute(
        f"SELECT min(epoch_us(window_end)), max(epoch_us(window_end)) "
        f"FROM read_parquet({_text(out / '*' / '*.parquet')})"
    ).fetchall()
    epoch = datetime.fromtimestamp(0, tz=UTC)
    return epoch + timedelta(microseconds=first), epoch + timedelta(microseconds=last)


def _text(path: Path) -> str:
    """A path as an SQL literal."""
    return "'" + str(path).replace("'", "''") + "'"
