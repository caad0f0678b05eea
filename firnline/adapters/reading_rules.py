"""The second pass of an ingest: copies, units, quarantine, and the clean readings themselves."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firnline.adapters.reading_scan import name
from firnline.adapters.reading_sql import HOUR_MICROSECONDS, canonical_record, ruled
from firnline.adapters.reading_stage import Staging
from firnline.adapters.reading_write import ROW_GROUP_ROWS, CleanWriter, write_parquet
from firnline.contracts.reading import ReadingContract
from firnline.errors import ContractError

_UNIT_CHECK_ROWS = 100
_UNIT_CHECK_FIRST = 20_000
RETAINED = "coalesce(d.rank, 1) = 1"
"""Holds for a reading that is no later copy; `d` is the table `copies`, joined by position."""


def find_copies(staging: Staging) -> int:
    """Fill the table `copies` with the rank of every reading whose event came more than once.

    The first by sequence has rank 1 and stays. Hashes find the few candidates, so that not
    every event's id is held at once.

    Returns:
        The readings with a later rank.
    """
    if not staging.buckets():
        staging.sql.execute(
            "CREATE TEMP TABLE copies "
            "(file_index INTEGER, position BIGINT, rank BIGINT, copies BIGINT)"
        )
        return 0
    staging.sql.execute(
        "CREATE TEMP TABLE copies AS SELECT file_index, position, "
        "row_number() OVER (PARTITION BY event_id ORDER BY sequence, file_index, position) "
        "AS rank, count(*) OVER (PARTITION BY event_id) AS copies "
        f"FROM {staging.valid()} SEMI JOIN (SELECT hash(event_id) AS h FROM {staging.valid()} "
        "GROUP BY h HAVING count(*) > 1) again ON hash(event_id) = again.h QUALIFY copies > 1"
    )
    return int(staging.sql.execute("SELECT count(*) FROM copies WHERE rank > 1").fetchone()[0])


def retained(staging: Staging) -> str:
    """SELECT of the staged readings that will be clean."""
    return (
        f"SELECT s.* FROM {staging.valid()} s "
        f"LEFT JOIN copies d USING (file_index, position) WHERE {RETAINED}"
    )


def check_units(staging: Staging, contract: ReadingContract) -> None:
    """Refuse a file whose first values of one sensor lie mostly out of range, and vary.

    Raises:
        ContractError: C06 for the first such sensor and file.
    """
    limit = contract.files.max_out_of_range
    ranged = [(i, s, s.range) for i, s in enumerate(contract.sensor) if s.range is not None]
    if not ranged or limit >= 1 or not staging.buckets():
        return
    figures_of = ", ".join(
        f"count(s{i}) FILTER (isfinite(s{i})), "
        f"count(s{i}) FILTER (isfinite(s{i}) AND "
        f"(s{i} < {low!r}::DOUBLE OR s{i} > {high!r}::DOUBLE)), "
        f"min(s{i}) FILTER (isfinite(s{i})), max(s{i}) FILTER (isfinite(s{i}))"
        for i, _, (low, high) in ranged
    )
    rows = staging.sql.execute(
        f"SELECT file, s.* FROM (SELECT file_index, {figures_of} FROM {staging.valid()} "
        f"WHERE position <= {_UNIT_CHECK_FIRST} GROUP BY file_index) s "
        "JOIN files USING (file_index) ORDER BY file_index"
    ).fetchall()
    for file, _, *figures in rows:
        for place, (_, sensor, (low, high)) in enumerate(ranged):
            count, outside, least, most = figures[4 * place : 4 * place + 4]
            if count >= _UNIT_CHECK_ROWS and outside > count * limit and least < most:
                raise ContractError(
                    "C06",
                    found=f"{outside} of {count} values lie outside {low:g} to {high:g} "
                    f"{sensor.unit}; they go from {least:g} to {most:g}",
                    where=f"{file}, column {sensor.column}",
                    mend="if they are in another unit declare source_unit and a [[unit]]; if "
                    "they are right widen range, or raise files.max_out_of_range",
                )


def write_quarantine(staging: Staging, contract: ReadingContract, path: Path) -> None:
    """Write every rejected reading with its reason, by file and position."""
    rows = staging.rejected()
    if staging.buckets():
        rows += (
            " UNION ALL SELECT file_index, position, event_id, key, device_at, 'duplicate', "
            f"{canonical_record(contract)} FROM {staging.valid()} "
            "JOIN copies USING (file_index, position) WHERE rank > 1"
        )
    select = (
        "SELECT reason, file, position, event_id, "
        f"key AS {name(contract.key.name)}, device_at AS timestamp_device, record "
        f"FROM ({rows}) JOIN files USING (file_index) ORDER BY file, position, reason, record"
    )
    write_parquet(staging.sql.execute(select).to_arrow_reader(ROW_GROUP_ROWS), path)


def write_clean(
    staging: Staging,
    contract: ReadingContract,
    expected: tuple[str, ...],
    folder: Path,
    report: Callable[[int], None],
) -> CleanWriter:
    """Write the clean readings, one bucket after the other.

    Args:
        staging: Where they are.
        contract: Their ranges.
        expected: Sensors whose absence the registry can call a gap.
        folder: Where to write.
        report: Called with the readings written so far.
    """
    kept, flags, nulls = ruled(contract, expected)
    writer = CleanWriter(folder, contract)
    for bucket in staging.buckets():
        select = (
            f"SELECT event_id, s.key AS {name(contract.key.name)}, taken_at AS timestamp_utc, "
            f"{kept}, {flags} AS flags, ({nulls})::INTEGER AS sensor_null_count, "
            f"sequence AS sequence_number, epoch_us(taken_at) // {HOUR_MICROSECONDS} AS hour "
            f"FROM {staging.valid(bucket)} s LEFT JOIN copies d USING (file_index, position) "
            + ("LEFT JOIN registry g ON g.key = s.key " if expected else "")
            + f"WHERE {RETAINED} ORDER BY hour, s.key, taken_at, event_id"
        )
        for batch in staging.sql.execute(select).to_arrow_reader(ROW_GROUP_ROWS):
            writer.add(batch)
            report(writer.rows)
    writer.close()
    return writer


def nothing_clean(staging: Staging, reasons: Counter[str], where: Path) -> ContractError:
    """The error of an ingest without one clean reading, with its first rejected record."""
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    example: Any = staging.sql.execute(
        f"SELECT file, position, record FROM ({staging.rejected()}) "
        "JOIN files USING (file_index) ORDER BY file, position LIMIT 1"
    ).fetchone()
    first = f"; the first: {example[0]}, row {example[1]}: {example[2]}" if example else ""
    return ContractError(
        "C05",
        found=f"not one clean reading ({listed or 'no readings at all'}){first}",
        where=str(where),
        mend="compare that record with the contract and the registry",
    )
