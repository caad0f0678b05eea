"""Writing readings as Parquet whose bytes depend on the rows alone."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from firnline.adapters.reading_sql import FLAGS
from firnline.contracts.reading import ReadingContract

ROW_GROUP_ROWS = 1 << 17
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLAG_SETS = pa.array(
    [
        [flag for bit, flag in enumerate(FLAGS) if mask >> bit & 1]
        for mask in range(1 << len(FLAGS))
    ],
    pa.list_(pa.string()),
)


def reading_schema(contract: ReadingContract) -> pa.Schema:
    """The Arrow schema of clean readings."""
    fixed = {
        "event_id": pa.string(),
        contract.key.name: pa.string(),
        "timestamp_utc": pa.timestamp("us", tz="UTC"),
        "quality_flags": pa.list_(pa.string()),
        "sensor_null_count": pa.int32(),
        "sequence_number": pa.int64(),
    }
    sensors = {s.name: pa.bool_() if s.dtype == "bool" else pa.float64() for s in contract.sensor}
    types = fixed | sensors
    return pa.schema([(column, types[column]) for column in contract.clean_columns()])


class CleanWriter:
    """Takes sorted batches of readings, and writes one file an hour.

    A batch has the clean columns, with `flags` (bit mask over `FLAGS`) for `quality_flags`, and
    `hour` (whole hours since the epoch). Row groups hold `ROW_GROUP_ROWS` rows however the
    batches were cut.

    Attributes:
        rows: Readings taken so far.
        keys: Entities seen so far.
    """

    def __init__(self, folder: Path, contract: ReadingContract) -> None:
        self.rows = 0
        self.keys: set[str] = set()
        self._folder = folder
        self._key = contract.key.name
        self._schema = reading_schema(contract)
        self._masks = np.zeros(len(_FLAG_SETS), dtype=np.int64)
        self._span: list[datetime] = []
        self._hour: int | None = None
        self._file: pq.ParquetWriter | None = None
        self._path = folder
        self._pending: list[pa.RecordBatch] = []

    @property
    def first(self) -> datetime:
        """Earliest reading, UTC."""
        return min(self._span)

    @property
    def last(self) -> datetime:
        """Latest reading, UTC."""
        return max(self._span)

    def flag_counts(self) -> dict[str, int]:
        """Flag -> readings that carry it, those that none carries left out."""
        counts = {
            flag: int(self._masks[[m for m in range(len(self._masks)) if m >> bit & 1]].sum())
            for bit, flag in enumerate(FLAGS)
        }
        return {flag: count for flag, count in counts.items() if count}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows."""
        if not batch.num_rows:
            return
        self.rows += batch.num_rows
        self.keys.update(pc.unique(batch[self._key]).to_pylist())
        self._masks += np.bincount(batch["flags"].to_numpy(), minlength=len(self._masks))
        span = pc.min_max(batch["timestamp_utc"]).as_py()
        self._span = [min([span["min"], *self._span]), max([span["max"], *self._span])]
        hours = batch["hour"].to_numpy()
        cuts = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]
        for start, stop in itertools.pairwise(cuts):
            if int(hours[start]) != self._hour:
                self._open(int(hours[start]))
            self._pending.append(batch.slice(start, stop - start))
            self._flush(ROW_GROUP_ROWS)

    def close(self) -> None:
        """Finish the last file."""
        if self._file is not None:
            self._flush(1)
            self._file.close()
            self._path.with_suffix(".part").rename(self._path)
            self._file = None

    def _open(self, hour: int) -> None:
        self.close()
        at = _EPOCH + timedelta(hours=hour)
        self._hour = hour
        self._path = self._folder / f"date={at:%Y-%m-%d}" / f"hour={at:%H}" / "part-0.parquet"
        self._path.parent.mkdir(parents=True)
        self._file = _writer(self._path.with_suffix(".part"), self._schema)

    def _flush(self, least: int) -> None:
        while self._file is not None and sum(b.num_rows for b in self._pending) >= least:
            rows = pa.Table.from_batches(self._pending)
            self._file.write_table(self._finished(rows.slice(0, ROW_GROUP_ROWS)))
            self._pending = rows.slice(ROW_GROUP_ROWS).to_batches()

    def _finished(self, rows: pa.Table) -> pa.Table:
        flags = _FLAG_SETS.take(rows["flags"].combine_chunks())
        columns = {name: rows[name] for name in self._schema.names if name != "quality_flags"}
        columns["quality_flags"] = flags
        return pa.table(
            [columns[name] for name in self._schema.names], names=self._schema.names
        ).cast(self._schema)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")


def write_parquet(batches: pa.RecordBatchReader, path: Path) -> int:
    """Write batches in their order, row groups of `ROW_GROUP_ROWS`; their number of rows."""
    rows = 0
    pending: list[pa.RecordBatch] = []
    partial = path.with_suffix(".part")
    with _writer(partial, batches.schema) as file:
        for batch in _regrouped(batches, pending):
            file.write_table(batch)
            rows += batch.num_rows
    partial.rename(path)
    return rows


def _regrouped(
    batches: Iterable[pa.RecordBatch], pending: list[pa.RecordBatch]
) -> Iterable[pa.Table]:
    for batch in batches:
        pending.append(batch)
        while sum(b.num_rows for b in pending) >= ROW_GROUP_ROWS:
            rows = pa.Table.from_batches(pending)
            yield rows.slice(0, ROW_GROUP_ROWS)
            pending[:] = rows.slice(ROW_GROUP_ROWS).to_batches()
    if pending:
        yield pa.Table.from_batches(pending)
