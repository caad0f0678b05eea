"""Which clean readings are read together: the partitions of a view and the files each needs."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from firnline.contracts.features import WindowView
from firnline.errors import ContractError

_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Partition:
    """Windows that end in `(start, end]`, and the files that hold their readings.

    Attributes:
        start: UTC; None for everything at once.
        end: UTC.
        files: Hour partitions of clean readings, in time order.
    """

    start: datetime | None
    end: datetime | None
    files: tuple[Path, ...]


def hour_files(clean: Path) -> dict[datetime, tuple[Path, ...]]:
    """Start of an hour (UTC) -> its files, both in order.

    Raises:
        ContractError: FV4 when there are none.
    """
    found: dict[datetime, list[Path]] = {}
    for file in sorted(clean.glob("date=*/hour=*/*.parquet")):
        day = date.fromisoformat(file.parent.parent.name.removeprefix("date="))
        hour = int(file.parent.name.removeprefix("hour="))
        found.setdefault(datetime(day.year, day.month, day.day, hour, tzinfo=UTC), []).append(file)
    if not found:
        raise ContractError(
            "FV4",
            found="no clean readings",
            where=str(clean),
            mend="run the ingest step on data that its contract accepts",
        )
    return {start: tuple(found[start]) for start in sorted(found)}


def partitions(view: WindowView, hours: dict[datetime, tuple[Path, ...]]) -> list[Partition]:
    """The partitions in which a window with at least one reading can end, in time order."""
    if view.partition_seconds is None:
        return [Partition(None, None, tuple(file for files in hours.values() for file in files))]
    span = timedelta(seconds=view.partition_seconds)
    lookback = timedelta(seconds=view.lookback_seconds)
    epoch = datetime.fromtimestamp(0, tz=UTC)
    starts = set()
    for hour in hours:
        start = epoch + (hour - epoch) // span * span
        while start < hour + _HOUR + lookback:
            starts.add(start)
            start += span
    ordered = []
    for start in sorted(starts):
        low, high = start - lookback, start + span
        files = tuple(
            file
            for hour, group in hours.items()
            if hour + _HOUR > low and hour < high
            for file in group
        )
        ordered.append(Partition(start, high, files))
    return ordered
