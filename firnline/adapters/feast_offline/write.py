"""Writing to plain sources; a published version's data is written by the features step alone."""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists

from firnline.adapters.feast_offline import parquet, sources
from firnline.errors import HandshakeError


def append(table: Any, source: Any, place: sources.Place) -> None:
    """Add rows to a source; of equal rows the later one counts, so they go to its end.

    A source of one file is rewritten beside itself and replaced at once, a folder gets one file
    more. Writers wait for each other.

    Args:
        table: Rows with the source's columns in its order.
        source: A Feast file source.
        place: What its path is resolved against.

    Raises:
        HandshakeError: O1 when the source is not there or is a pattern, O7 when it is published
            data or has other columns.
    """
    path = _writable(source, place)
    if not path.exists():
        # Tells that nothing is there, and where it was looked for.
        sources.files(sources.resolve(source, place))
    with _alone(path):
        there = sources.files(sources.resolve(source, place))
        schema = parquet.open_table(there[:1], str(path)).schema
        if table.column_names != schema.names:
            raise HandshakeError(
                "O7",
                found=f"columns {', '.join(table.column_names)}",
                where=str(path),
                mend=f"write the source's columns in its order: {', '.join(schema.names)}",
            )
        fresh = table.cast(schema)
        if path.is_dir():
            # A tilde sorts behind every other name: these rows are the latest.
            _put(fresh, path / f"~{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet")
        else:
            _put(pa.concat_tables([pq.read_table(path).cast(schema), fresh]), path)


def save(table: Any, source: Any, place: sources.Place, allow_overwrite: bool) -> None:
    """Write a table where a saved dataset is to lie.

    Raises:
        SavedDatasetLocationAlreadyExists: There is something, and it may not be overwritten.
        HandshakeError: O1 when it is no Parquet on this machine, O7 when it is published data.
    """
    path = _writable(source, place)
    if path.exists() and not allow_overwrite:
        raise SavedDatasetLocationAlreadyExists(location=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        _put(table, path)
        return
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    _put(table, partial / "part-0.parquet")
    if path.exists():
        shutil.rmtree(path)
    partial.replace(path)


def log(data: Any, destination: Any, place: sources.Place) -> None:
    """Add served features to their log, as a file of its own each time.

    Args:
        data: Arrow table, or the path of Parquet files.
        destination: A Feast `FileLoggingDestination`.
        place: What its path is resolved against.

    Raises:
        HandshakeError: O1 when the destination is no folder on this machine, O7 when it is
            published data.
    """
    folder = _writable(destination.to_data_source(), place)
    table = data if isinstance(data, pa.Table) else pq.read_table(data)
    ds.write_dataset(
        table,
        base_dir=folder,
        basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
        partitioning=destination.partition_by or None,
        format="parquet",
        existing_data_behavior="overwrite_or_ignore",
    )


def _writable(source: Any, place: sources.Place) -> Path:
    if sources.is_published(source):
        raise HandshakeError(
            "O7",
            found=f"a write to {source.path}",
            where="the offline store",
            mend="published data never changes; run the features step, which adds partitions",
        )
    return sources.local_path(sources.path_of(source), place.repository)


def _put(table: Any, path: Path) -> None:
    """Write beside the place and move there: a reader sees the old file or the new one."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        pq.write_table(table, partial)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
