"""A feature table in Parquet files: read in batches, or row by row for the rows that are wanted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from firnline.adapters.feast_offline.times import Integers, nanoseconds
from firnline.errors import HandshakeError

# Small enough that a batch's memory is used again, large enough that calls do not count.
BATCH_ROWS = 1 << 17
_BUFFER_BYTES = 1 << 18


@dataclass(frozen=True)
class Piece:
    """One Parquet file of a table.

    Attributes:
        path: The file.
        first: Number of its first row in the table.
        footer: Its Parquet metadata.
    """

    path: Path
    first: int
    footer: Any


@dataclass(frozen=True)
class Table:
    """Files that are one table; rows are numbered through them in the order given.

    Attributes:
        pieces: The files.
        schema: Arrow schema of the first file; the others are cast to it.
        threads: Whether columns are decoded on several threads.
    """

    pieces: tuple[Piece, ...]
    schema: Any
    threads: bool


def open_table(
    files: Sequence[Path], where: str, threads: bool = True, schema: Any = None
) -> Table:
    """Read the footers of a table's files.

    Args:
        files: Parquet files, oldest first; a later row counts more than an equal earlier one.
        where: The source, for messages.
        threads: Whether columns are decoded on several threads.
        schema: Their columns; None to take the first file's.

    Raises:
        HandshakeError: O9 when a file is no Parquet file, or cannot be read.
    """
    pieces, first = [], 0
    for path in files:
        with _readable(path, where):
            footer = pq.read_metadata(path)
            schema = footer.schema.to_arrow_schema() if schema is None else schema
        pieces.append(Piece(path, first, footer))
        first += footer.num_rows
    return Table(tuple(pieces), schema, threads)


def require(table: Table, columns: Sequence[str], where: str) -> None:
    """See that a table has columns, in every file.

    Raises:
        HandshakeError: O3 with the columns that are not there.
    """
    for piece in table.pieces:
        there = piece.footer.schema.to_arrow_schema().names
        missing = sorted(set(columns) - set(there))
        if missing:
            raise HandshakeError(
                "O3",
                found=f"no column {', '.join(missing)}; there are {', '.join(there)}",
                where=f"{where} ({piece.path.name})",
                mend="correct the source's timestamp, created timestamp and field mapping, and "
                "the view's features, or write the column",
            )


def batches(
    table: Table,
    columns: Sequence[str],
    size: int = BATCH_ROWS,
    timestamp: str | None = None,
    between: tuple[int, int] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Read columns in the order of rows.

    Args:
        table: The table.
        columns: What to read.
        size: Rows at once, as long as row groups and files follow each other.
        timestamp: Column whose statistics say which row groups can be left out.
        between: First and last nanosecond of interest; rows outside may still come.

    Yields:
        The number of the batch's first row, and the batch.
    """
    held: list[Any] = []
    start = after = 0
    for first, batch in _chosen(table, columns, size, timestamp, between):
        if held and (first != after or after - start >= size):
            yield start, pa.concat_batches(held)
            held = []
        start = start if held else first
        held.append(batch)
        after = first + batch.num_rows
    if held:
        yield start, pa.concat_batches(held)


def take(table: Table, columns: Sequence[str], wanted: Integers) -> Any:
    """Read columns of chosen rows; row groups and files without one are not touched.

    Args:
        table: The table.
        columns: What to read.
        wanted: Row numbers, ascending, each once.

    Returns:
        Arrow table of these rows in that order.
    """
    found = []
    for piece in table.pieces:
        groups = []
        first = piece.first
        for group in range(piece.footer.num_row_groups):
            last = first + piece.footer.row_group(group).num_rows
            if np.searchsorted(wanted, first) < np.searchsorted(wanted, last):
                groups.append((group, first))
            first = last
        for start, batch in _read(table, piece, groups, columns, BATCH_ROWS):
            low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
            if high > low:
                found.append(batch.take(pa.array(wanted[low:high] - start)))
    return pa.Table.from_batches(found, selected(table, columns)).combine_chunks()


def selected(table: Table, columns: Sequence[str]) -> Any:
    """Schema of columns as they are read; dictionaries differ by file, so text comes as text."""
    fields = [table.schema.field(name) for name in columns]
    return pa.schema(
        [
            pa.field(
                field.name,
                field.type.value_type if pa.types.is_dictionary(field.type) else field.type,
            )
            for field in fields
        ]
    )


def _chosen(
    table: Table,
    columns: Sequence[str],
    size: int,
    timestamp: str | None,
    between: tuple[int, int] | None,
) -> Iterator[tuple[int, Any]]:
    for piece in table.pieces:
        groups = []
        first = piece.first
        for group in range(piece.footer.num_row_groups):
            if between is None or timestamp is None or _meets(piece, group, timestamp, between):
                groups.append((group, first))
            first += piece.footer.row_group(group).num_rows
        yield from _read(table, piece, groups, columns, size)


def _read(
    table: Table,
    piece: Piece,
    groups: Sequence[tuple[int, int]],
    columns: Sequence[str],
    size: int,
) -> Iterator[tuple[int, Any]]:
    if not groups:
        return
    schema = selected(table, columns)
    options = {"metadata": piece.footer, "pre_buffer": False, "buffer_size": _BUFFER_BYTES}
    with _readable(piece.path, "reading"), pq.ParquetFile(piece.path, **options) as file:
        for group, first in groups:
            for batch in file.iter_batches(
                size, row_groups=[group], columns=list(columns), use_threads=table.threads
            ):
                yield first, _cast(batch, schema)
                first += batch.num_rows


def _cast(batch: Any, schema: Any) -> Any:
    batch = batch.select(schema.names)
    if batch.schema.types == schema.types:
        return pa.RecordBatch.from_arrays(batch.columns, schema=schema)
    return batch.cast(schema)


def _meets(piece: Piece, group: int, timestamp: str, between: tuple[int, int]) -> bool:
    kind = piece.footer.schema.to_arrow_schema()
    place = piece.footer.schema.names.index(timestamp) if timestamp in kind.names else -1
    if place < 0:
        return True
    statistics = piece.footer.row_group(group).column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    ends, _ = nanoseconds(
        pa.array([statistics.min, statistics.max], kind.field(timestamp).type), timestamp
    )
    return bool(ends[0] <= between[1] and ends[1] >= between[0])


@contextmanager
def _readable(path: Path, where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise HandshakeError(
            "O9",
            found=f"{path.name} cannot be read: {error}",
            where=f"{where} ({path})",
            mend="write the file again as Parquet",
        ) from error
