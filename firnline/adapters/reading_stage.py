"""The first pass of an ingest: every reading typed, judged and staged by the time it is of."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import duckdb

from firnline.adapters.disk import disk_errors
from firnline.adapters.reading_files import ReadingFile, Source
from firnline.adapters.reading_scan import drop_rejects, quoted, unsplit_lines
from firnline.adapters.reading_sql import (
    HOUR_MICROSECONDS,
    judged,
    narrow_tables,
    pivoted,
    raw_record,
    typed_narrow,
    typed_wide,
)
from firnline.contracts.reading import ReadingContract
from firnline.errors import ContractError

_HOURLY_FROM_ROWS = 5_000_000
_BYTES_A_ROW = 100
_OWN_FAULTS = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)


class Staging:
    """Readings of a source as Parquet under `folder`, one file a source file and bucket.

    A bucket is a day, or an hour where there are many readings, so that the second pass has
    never more than one of them in hand. Rejected readings lie in the bucket -1.

    Args:
        connection: DuckDB, with the table `registry` if the contract names one.
        source: What to read.
        contract: What it must hold.
        folder: Where to stage.
    """

    def __init__(
        self, connection: Any, source: Source, contract: ReadingContract, folder: Path
    ) -> None:
        self.sql = connection
        self._source = source
        self._contract = contract
        self._folder = folder
        rows = sum(f.rows or f.size_bytes // _BYTES_A_ROW for f in source.files)
        self._bucket = HOUR_MICROSECONDS * (1 if rows >= _HOURLY_FROM_ROWS else 24)

    def fill(self, report: Callable[[int, int], None]) -> int:
        """Read every file; how many readings came in.

        Args:
            report: Called with bytes read and bytes in all.

        Raises:
            ContractError: C03 a file breaks while it is read, C09 no room left.
        """
        self.sql.execute("CREATE TEMP TABLE files (file_index INTEGER, file VARCHAR)")
        self.sql.execute(
            "CREATE TEMP TABLE unsplit "
            "(file_index INTEGER, position BIGINT, record VARCHAR, found VARCHAR)"
        )
        self.sql.executemany(
            "INSERT INTO files VALUES (?, ?)", [[f.index, f.relative] for f in self._source.files]
        )
        for part in ("staged", "values"):
            (self._folder / part).mkdir()
        if self._narrow():
            narrow_tables(self.sql, self._contract)
        total = sum(file.size_bytes for file in self._source.files)
        done = readings = 0
        for file in self._source.files:
            with self._readable(file.relative):
                readings += self._stage_file(file)
            done += file.size_bytes
            report(done, total)
        if self._narrow():
            readings += self._stage_pivoted()
        return readings + self._scalar("SELECT count(*) FROM unsplit")

    def buckets(self) -> list[int]:
        """The buckets of readings without a reason against them, in order of time."""
        found = {
            int(path.name.removeprefix("bucket="))
            for path in (self._folder / "staged").glob("*/bucket=*")
        }
        return sorted(found - {-1})

    def valid(self, bucket: int | None = None) -> str:
        """Relation of the readings without a reason against them; there must be one."""
        folder = "bucket=[0-9]*" if bucket is None else f"bucket={bucket}"
        return self._parquet(f"staged/*/{folder}/*.parquet")

    def rejected(self) -> str:
        """SELECT of what is to be quarantined, copies excepted."""
        parts = [
            "SELECT file_index, position, NULL::VARCHAR AS event_id, NULL::VARCHAR AS key, "
            "NULL::TIMESTAMPTZ AS device_at, 'bad_row' AS reason, "
            "coalesce(record, found) AS record FROM unsplit"
        ]
        columns = "file_index, position, event_id, key, device_at, reason, record"
        if any((self._folder / "staged").glob("*/bucket=-1")):
            parts.append(f"SELECT {columns} FROM {self._parquet('staged/*/bucket=-1/*.parquet')}")
        if self._narrow():
            parts.append(f"SELECT {columns} FROM rejected_values")
        return " UNION ALL ".join(parts)

    def reasons(self) -> Counter[str]:
        """Reason -> readings that were rejected for it."""
        select = f"SELECT reason, count(*) FROM ({self.rejected()}) GROUP BY reason"
        return Counter(dict(self.sql.execute(select).fetchall()))

    def count(self) -> int:
        """Readings without a reason against them."""
        return self._scalar(f"SELECT count(*) FROM {self.valid()}") if self.buckets() else 0

    def _narrow(self) -> bool:
        return any(file.form == "narrow" for file in self._source.files)

    def _stage_file(self, file: ReadingFile) -> int:
        rows = 0
        if file.form == "wide":
            key = str(PurePosixPath(file.relative).with_suffix(""))
            typed = typed_wide(file.relation, self._contract, file.index, key)
            rows = self._stage_readings(typed, "wide", f"f{file.index}")
        else:
            self._stage_values(file)
        lines = unsplit_lines(self.sql)
        if lines:
            self.sql.execute(
                f"INSERT INTO unsplit SELECT {file.index}, line, record, found FROM ({lines})"
            )
        drop_rejects(self.sql)
        return rows

    def _stage_readings(self, typed: str, form: Literal["wide", "narrow"], folder: str) -> int:
        select = judged(
            typed,
            self._contract,
            form=form,
            has_registry=self._contract.registry is not None,
            bucket_microseconds=self._bucket,
        )
        return self._copy(
            select,
            self._folder / "staged" / folder,
            "COMPRESSION lz4, PARTITION_BY (bucket), OVERWRITE_OR_IGNORE",
        )

    def _stage_values(self, file: ReadingFile) -> None:
        record = raw_record("narrow", self._contract)
        self._copy(
            "SELECT file_index, position, key, device_at, sensor_index, good, value, reason, "
            f"CASE WHEN reason IS NOT NULL THEN {record} END AS record "
            f"FROM ({typed_narrow(file.relation, self._contract, file.index)})",
            self._folder / "values" / f"{file.index}.parquet",
        )

    def _stage_pivoted(self) -> int:
        values, unique = self._parquet("values/*.parquet"), self._parquet("unique.parquet")
        self._copy(
            "SELECT *, row_number() OVER (PARTITION BY key, device_at, sensor_index "
            f"ORDER BY file_index, position) AS copy FROM {values} WHERE reason IS NULL",
            self._folder / "unique.parquet",
        )
        self.sql.execute(
            "CREATE TEMP TABLE rejected_values AS SELECT file_index, position, "
            "NULL::VARCHAR AS event_id, key, device_at, reason, record "
            f"FROM {values} WHERE reason IS NOT NULL UNION ALL SELECT file_index, position, NULL, "
            "key, device_at, 'duplicate', to_json({sensor: sensor, value: value})::VARCHAR "
            f"FROM {unique} JOIN (SELECT sensor_index, min(sensor) AS sensor FROM narrow_sensor "
            "GROUP BY sensor_index) USING (sensor_index) WHERE copy > 1"
        )
        once = f"(SELECT * FROM {unique} WHERE copy = 1)"
        readings = self._stage_readings(pivoted(once, self._contract), "narrow", "pivoted")
        return readings + self._scalar("SELECT count(*) FROM rejected_values")

    def _copy(self, select: str, path: Path, options: str = "COMPRESSION lz4") -> int:
        copied = self.sql.execute(
            f"COPY ({select}) TO {quoted(str(path))} (FORMAT parquet, {options})"
        )
        return int(copied.fetchone()[0])

    def _parquet(self, pattern: str) -> str:
        path = quoted(str(self._folder / pattern))
        return f"read_parquet({path}, hive_partitioning = false)"

    def _scalar(self, select: str) -> int:
        return int(self.sql.execute(select).fetchone()[0])

    @contextmanager
    def _readable(self, file: str) -> Iterator[None]:
        try:
            with disk_errors(self._folder):
                yield
        except _OWN_FAULTS:
            raise
        except duckdb.Error as error:
            raise ContractError(
                "C03",
                found=f"it breaks while it is read: {str(error).splitlines()[0]}",
                where=file,
                mend="copy it again from where it came; nothing was written",
            ) from error
