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

from firnline.adapters.duckdb_windows import text, unlike, write_windows
from firnline.adapters.partitions import Partition, hour_files, partitions
from firnline.contracts.features import WindowView
from firnline.digest import tree_digest
from firnline.errors import HandshakeError


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
                return write_windows(cursor, view, sql, partition, partial)
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
    for day in partial.iterdir():
        if not any(day.iterdir()):
            day.rmdir()
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
        raise unlike(
            view,
            f"it lacks {sorted(expected - columns)} and has beside them "
            f"{sorted(columns - expected)}",
        )
    return sql


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


def _span(database: duckdb.DuckDBPyConnection, out: Path) -> tuple[datetime, datetime]:
    ((first, last),) = database.execute(
        f"SELECT min(epoch_us(window_end)), max(epoch_us(window_end)) "
        f"FROM read_parquet({text(out / '*' / '*.parquet')})"
    ).fetchall()
    epoch = datetime.fromtimestamp(0, tz=UTC)
    return epoch + timedelta(microseconds=first), epoch + timedelta(microseconds=last)
