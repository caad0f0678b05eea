"""The newest window of each entity, as committed and as computed anew from clean readings."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from firnline.adapters.duckdb_features import compute
from firnline.adapters.partitions import hour_files
from firnline.contracts.features import WindowView

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Windows:
    """One window an entity.

    Attributes:
        keys: The entities, sorted; none twice.
        ends: When each window ended, epoch microseconds UTC.
    """

    keys: tuple[str, ...]
    ends: tuple[int, ...]

    def take(self, places: Sequence[int]) -> "Windows":
        """Some of the windows, in the order of the places."""
        return Windows(
            tuple(self.keys[place] for place in places), tuple(self.ends[place] for place in places)
        )


def newest(files: Sequence[Path], view: WindowView, end: datetime) -> Windows:
    """Each entity's newest window that ended at most the view's TTL before a time.

    Args:
        files: Partitions of the view that may hold such windows.
        view: The view.
        end: UTC; what the online store was brought up to.
    """
    if not files:
        return Windows((), ())
    first = end - timedelta(seconds=view.ttl_seconds)
    with _database() as database:
        rows = database.execute(
            f'SELECT "{view.key}", epoch_us(max(window_end)) FROM read_parquet(?, '
            "hive_partitioning = false) WHERE window_end BETWEEN ? AND ? GROUP BY 1 ORDER BY 1",
            [[str(file) for file in files], first, end],
        ).fetchall()
    return Windows(tuple(str(key) for key, _ in rows), tuple(int(time) for _, time in rows))


def spine(windows: Windows, key: str, out: Path) -> Path:
    """Windows as rows that a point-in-time join takes: each as of its own end.

    Args:
        windows: What to ask for.
        key: The entity's column.
        out: Parquet to write.
    """
    rows = {
        key: pa.array(windows.keys, pa.string()),
        "event_timestamp": pa.array(windows.ends, pa.int64()).cast(_TIME),
        "label": pa.nulls(len(windows.keys), pa.string()),
    }
    pq.write_table(pa.table(rows), out)
    return out


def fresh(
    view: WindowView,
    clean: Path,
    windows: Windows,
    scratch: Path,
    *,
    memory_limit: str = "1GB",
    temp_limit: str = "8GB",
    threads: int = 2,
) -> NDArray[np.float64]:
    """The windows' features, computed again by the view's expression from what they hold.

    Args:
        view: The view.
        clean: Clean readings, `date=YYYY-MM-DD/hour=HH/*.parquet`.
        windows: Which; others are computed beside them and left out.
        scratch: A folder to work in.
        memory_limit: DuckDB's memory, with its unit.
        temp_limit: DuckDB's limit for what it spills, with its unit.
        threads: Partitions under way at once.

    Returns:
        Shape [windows, features]; NaN where there is no value, or no such window.

    Raises:
        ContractError: FV4 when there are no readings of these windows.
        HandshakeError: FV5 to FV7, as `compute`.
    """
    needed, out = scratch / "readings", scratch / "computed"
    _link(view, clean, windows, needed)
    compute(view, needed, out, memory_limit=memory_limit, temp_limit=temp_limit, threads=threads)
    columns = ", ".join(f'computed."{name}"' for name in view.features)
    asked = pa.table(
        {
            "place": np.arange(len(windows.keys)),
            "key": pa.array(windows.keys, pa.string()),
            "window_end": pa.array(windows.ends, pa.int64()).cast(_TIME),
        }
    )
    with _database() as database:
        database.register("asked", asked)
        found = database.execute(
            f"SELECT {columns} FROM asked LEFT JOIN read_parquet(?, hive_partitioning = false) AS "
            f'computed ON computed."{view.key}" = asked.key '
            "AND computed.window_end = asked.window_end ORDER BY place",
            [str(out / view.table / "*" / "*.parquet")],
        ).to_arrow_table()
    shutil.rmtree(needed)
    shutil.rmtree(out)
    return matrix(found, view.features)


def matrix(table: pa.Table, columns: Sequence[str]) -> NDArray[np.float64]:
    """Columns as float64, NaN where null; shape [rows, columns]."""
    found = np.empty((len(table), len(columns)))
    for place, name in enumerate(columns):
        found[:, place] = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return found


def _link(view: WindowView, clean: Path, windows: Windows, out: Path) -> None:
    """The hours of readings that the windows hold; all, where the view needs all."""
    starts = set()
    for end in set(windows.ends):
        time = _EPOCH + timedelta(microseconds=end - view.window_seconds * 1_000_000)
        last = _EPOCH + timedelta(microseconds=end - 1)
        hour = time.replace(minute=0, second=0, microsecond=0)
        while hour <= last:
            starts.add(hour)
            hour += timedelta(hours=1)
    for start, files in hour_files(clean).items():
        if view.partition_seconds is not None and start not in starts:
            continue
        for file in files:
            link = out / file.relative_to(clean)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file.resolve())


def _database() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:", config={"threads": 1})
    database.execute("SET TimeZone='UTC'")
    return database
