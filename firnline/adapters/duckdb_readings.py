"""Raw readings -> clean readings and quarantine, with DuckDB, out of core.

Two passes. The first types and judges every reading and stages it by the hour or day it is of;
the second takes one such bucket after the other, applies the rules that null or flag a value,
sorts, and writes. What is in memory at once is one bucket's sort, and DuckDB spills that.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from firnline.adapters.disk import disk_errors
from firnline.adapters.reading_files import Source, inspect
from firnline.adapters.reading_rules import (
    check_units,
    find_copies,
    nothing_clean,
    retained,
    write_clean,
    write_quarantine,
)
from firnline.adapters.reading_side import load_registry, write_entities, write_labels
from firnline.adapters.reading_stage import Staging
from firnline.contracts.reading import ReadingContract

__all__ = ["IngestCounts", "Source", "clean", "inspect"]

Progress = Callable[[int, int], None]
PROGRESS_STEPS = 1000


@dataclass(frozen=True)
class IngestCounts:
    """What became of the readings: `readings == clean + sum(quarantined.values())`.

    Attributes:
        readings: Readings that came in. Of a narrow file: the readings its values make, and
            every value that was rejected by itself.
        clean: Readings that are clean.
        quarantined: Reason -> readings set aside, reasons sorted.
        flags: Flag -> clean readings that carry it, flags sorted.
        first: Earliest clean reading, UTC.
        last: Latest clean reading, UTC.
        entities: Entities with a clean reading.
    """

    readings: int
    clean: int
    quarantined: Mapping[str, int]
    flags: Mapping[str, int]
    first: datetime
    last: datetime
    entities: int

    def document(self) -> dict[str, Any]:
        """The counts as JSON."""
        return {
            "readings": self.readings,
            "clean": self.clean,
            "quarantined": dict(self.quarantined),
            "flags": dict(self.flags),
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "entities": self.entities,
        }


def clean(
    source: Source,
    contract: ReadingContract,
    out: Path,
    *,
    memory_limit: str = "1GB",
    temp_limit: str = "8GB",
    threads: int = 2,
    progress: Progress | None = None,
) -> IngestCounts:
    """Write clean readings, quarantine, labels and entities into an existing folder.

    `clean/date=YYYY-MM-DD/hour=HH/part-0.parquet` (UTC), `quarantine.parquet`,
    `labels.parquet`, `entities.parquet`. The bytes depend on the source and the contract alone,
    not on the number of threads. After an error the folder is as it was.

    Args:
        source: What `inspect` returned.
        contract: The same contract.
        out: Where to write; its parent holds the temporary files.
        memory_limit: DuckDB's memory, with its unit.
        temp_limit: DuckDB's temporary files, with its unit.
        threads: DuckDB's threads.
        progress: Called with (steps done, `PROGRESS_STEPS`).

    Raises:
        ContractError: C03 a file breaks while it is read, C05 no reading is clean, C06 a
            sensor seems to be in another unit, C07 registry or labels, C09 no room left.
    """
    work = out.parent / f".{out.name}.work"
    shutil.rmtree(work, ignore_errors=True)
    report = progress or (lambda done, total: None)
    try:
        with disk_errors(out):
            work.mkdir(parents=True)
            settings = {
                "threads": threads,
                "memory_limit": memory_limit,
                "temp_directory": str(work / "spill"),
                "max_temp_directory_size": temp_limit,
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
            }
            with duckdb.connect(":memory:", config=settings) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                counts = _run(connection, source, contract, work, out, report)
        report(PROGRESS_STEPS, PROGRESS_STEPS)
        return counts
    except BaseException:
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(
    connection: Any,
    source: Source,
    contract: ReadingContract,
    work: Path,
    out: Path,
    report: Progress,
) -> IngestCounts:
    half = PROGRESS_STEPS // 2
    expected = load_registry(connection, source.registry, contract)
    staging = Staging(connection, source, contract, work)
    readings = staging.fill(lambda done, total: report(half * done // total, PROGRESS_STEPS))
    check_units(staging, contract)
    copies, staged = find_copies(staging), staging.count()
    reasons = +(staging.reasons() + Counter(duplicate=copies))
    if staged == copies:
        raise nothing_clean(staging, reasons, source.root)
    write_quarantine(staging, contract, out / "quarantine.parquet")
    write_labels(connection, source.labels, contract, retained(staging), out)
    writer = write_clean(
        staging,
        contract,
        expected,
        out / "clean",
        lambda rows: report(half + half * rows // (staged - copies), PROGRESS_STEPS),
    )
    write_entities(connection, contract, sorted(writer.keys), out)
    if readings != writer.rows + reasons.total():
        raise RuntimeError(f"{readings} readings came in, {writer.rows} + {reasons} went out")
    return IngestCounts(
        readings=readings,
        clean=writer.rows,
        quarantined=dict(sorted(reasons.items())),
        flags=writer.flag_counts(),
        first=writer.first,
        last=writer.last,
        entities=len(writer.keys),
    )
