"""One entity at one time: the windows that were its newest then, and the readings they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from firnline.contracts.features import WindowView

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """One window of an entity, as committed.

    Attributes:
        start: Its start, epoch microseconds UTC, inclusive.
        end: Its end, exclusive.
        values: The view's features, shape [features], float64; NaN where there is no value.
    """

    start: int
    end: int
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Readings:
    """An entity's readings in a span of time.

    Attributes:
        events: Identifiers of the clean ones, in order of time.
        first: The earliest clean one, UTC; None without any.
        last: The latest.
        quarantined: Reason -> how many were set aside.
    """

    events: tuple[str, ...]
    first: datetime | None
    last: datetime | None
    quarantined: dict[str, int]


def newest(files: Sequence[Path], view: WindowView, entity: str, time: int) -> Window | None:
    """An entity's newest window that had ended by a time and was within its view's TTL.

    Args:
        files: Partitions of the view that may hold it.
        view: The view.
        entity: The entity's key.
        time: Epoch microseconds UTC.

    Returns:
        The window; None where there is none.
    """
    if not files:
        return None
    columns = ", ".join(_name(feature) for feature in view.features)
    rows = _rows(
        f"SELECT epoch_us(window_start), epoch_us(window_end), {columns} "
        f"FROM read_parquet(?, hive_partitioning = false) WHERE {_name(view.key)} = ? "
        "AND epoch_us(window_end) BETWEEN ? AND ? ORDER BY 2 DESC LIMIT 1",
        [str(file) for file in files],
        entity,
        time - view.ttl_seconds * 1_000_000,
        time,
    )
    if not rows:
        return None
    start, end, *values = rows[0]
    numbers = [np.nan if value is None else float(value) for value in values]
    return Window(start, end, np.array(numbers, np.float64))


def readings(ingested: Path, key: str, entity: str, start: int, end: int) -> Readings:
    """What an ingest kept of an entity in `[start, end)`, clean and quarantined.

    A reading whose time could not be read lies in quarantine without one, and is not counted.

    Args:
        ingested: Folder of an ingest.
        key: The entity's column.
        entity: The entity's key.
        start: Epoch microseconds UTC.
        end: Likewise.
    """
    files = _hours(ingested / "clean", start, end)
    clean = (
        _rows(
            "SELECT event_id, epoch_us(timestamp_utc) FROM read_parquet(?, "
            f"hive_partitioning = false) WHERE {_name(key)} = ? "
            "AND epoch_us(timestamp_utc) >= ? AND epoch_us(timestamp_utc) < ? ORDER BY 2, 1",
            [str(file) for file in files],
            entity,
            start,
            end,
        )
        if files
        else []
    )
    aside = _rows(
        f"SELECT reason, count(*) FROM read_parquet(?) WHERE {_name(key)} = ? "
        "AND epoch_us(timestamp_device) >= ? AND epoch_us(timestamp_device) < ? "
        "GROUP BY 1 ORDER BY 1",
        str(ingested / "quarantine.parquet"),
        entity,
        start,
        end,
    )
    times = [_EPOCH + timedelta(microseconds=at) for _, at in clean]
    return Readings(
        events=tuple(str(event) for event, _ in clean),
        first=times[0] if times else None,
        last=times[-1] if times else None,
        quarantined={str(reason): int(count) for reason, count in aside},
    )


def _hours(clean: Path, start: int, end: int) -> list[Path]:
    """The hour partitions that a span of time meets."""
    hour = (_EPOCH + timedelta(microseconds=start)).replace(minute=0, second=0, microsecond=0)
    files: list[Path] = []
    while hour < _EPOCH + timedelta(microseconds=end):
        files += sorted(clean.glob(f"date={hour:%Y-%m-%d}/hour={hour:%H}/*.parquet"))
        hour += timedelta(hours=1)
    return files


def _rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.execute("SET TimeZone='UTC'")
        return list(database.execute(sql, list(values)).fetchall())


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
