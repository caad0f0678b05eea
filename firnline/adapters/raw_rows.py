"""Where readings lie in the raw files: file and row of each, by the event it has."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath

import duckdb

from firnline.adapters.reading_files import ReadingFile, inspect
from firnline.adapters.reading_sql import HOUR_MICROSECONDS, judged, typed_wide
from firnline.contracts.reading import ReadingContract


def raw_rows(
    source: Path, contract: ReadingContract, entity: str, events: Collection[str]
) -> dict[str, tuple[str, int]] | None:
    """Find an entity's events in the files they came in.

    Args:
        source: The folder of a snapshot.
        contract: What the readings hold.
        entity: The entity's key.
        events: Identifiers of clean readings.

    Returns:
        Event -> the file and the row in it, counted from 1: the first, where it came twice. None
        where files are narrow: a reading is many rows there.

    Raises:
        ContractError: A C-code, the files break their contract.
    """
    files = inspect(source, contract).files
    if any(file.form == "narrow" for file in files):
        return None
    found: dict[str, tuple[str, int]] = {}
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.execute("SET TimeZone='UTC'")
        for file in files:
            rows = database.execute(
                f"SELECT event_id, position FROM ({_readings(file, contract)}) "
                "WHERE key = ? AND list_contains(?, event_id) ORDER BY position",
                [entity, sorted(events)],
            ).fetchall()
            for event, position in rows:
                found.setdefault(str(event), (file.relative, int(position)))
    return found


def _readings(file: ReadingFile, contract: ReadingContract) -> str:
    """SELECT of a wide file's readings as an ingest names them."""
    place = str(PurePosixPath(file.relative).with_suffix(""))
    return judged(
        typed_wide(file.relation, contract, file.index, place),
        contract,
        form="wide",
        has_registry=False,
        bucket_microseconds=HOUR_MICROSECONDS,
    )
