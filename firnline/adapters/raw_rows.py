"""Where readings lie in the raw files: file and row of each, by the event it has."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath

import duckdb

from firnline.adapters.reading_files import ReadingFile, inspect
from firnline.adapters.reading_sql import (
    HOUR_MICROSECONDS,
    judged,
    narrow_tables,
    pivoted,
    typed_narrow,
    typed_wide,
)
from firnline.contracts.reading import ReadingContract


def raw_rows(
    source: Path, contract: ReadingContract, entity: str, events: Collection[str]
) -> dict[str, tuple[str, int]]:
    """Find an entity's events in the files they came in.

    Args:
        source: The folder of a snapshot.
        contract: What the readings hold.
        entity: The entity's key.
        events: Identifiers of clean readings.

    Returns:
        Event -> the file and the row in it, counted from 1: the first, where it came twice, or
        where its values came a row each.

    Raises:
        ContractError: A C-code, the files break their contract.
    """
    files = inspect(source, contract).files
    names = {file.index: file.relative for file in files}
    found: dict[str, tuple[str, int]] = {}
    with duckdb.connect(":memory:", config={"threads": 1}) as database:
        database.execute("SET TimeZone='UTC'")
        if any(file.form == "narrow" for file in files):
            narrow_tables(database, contract)
        for readings in _readings(files, contract):
            rows = database.execute(
                f"SELECT event_id, file_index, position FROM ({readings}) "
                "WHERE key = ? AND list_contains(?, event_id) ORDER BY file_index, position",
                [entity, sorted(events)],
            ).fetchall()
            for event, index, position in rows:
                found.setdefault(str(event), (names[int(index)], int(position)))
    return found


def _readings(files: Sequence[ReadingFile], contract: ReadingContract) -> Iterator[str]:
    """SELECTs of readings as an ingest names them: of each wide file, and of all narrow ones."""
    for file in files:
        if file.form == "wide":
            key = str(PurePosixPath(file.relative).with_suffix(""))
            yield _judged(typed_wide(file.relation, contract, file.index, key), contract)
    narrow = [file for file in files if file.form == "narrow"]
    if narrow:
        values = " UNION ALL ".join(
            "SELECT file_index, position, key, device_at, sensor_index, good, value "
            f"FROM ({typed_narrow(file.relation, contract, file.index)}) WHERE reason IS NULL"
            for file in narrow
        )
        once = (
            f"(SELECT * FROM ({values}) QUALIFY row_number() OVER "
            "(PARTITION BY key, device_at, sensor_index ORDER BY file_index, position) = 1)"
        )
        yield _judged(pivoted(once, contract), contract, narrow=True)


def _judged(typed: str, contract: ReadingContract, *, narrow: bool = False) -> str:
    return judged(
        typed,
        contract,
        form="narrow" if narrow else "wide",
        has_registry=False,
        bucket_microseconds=HOUR_MICROSECONDS,
    )
