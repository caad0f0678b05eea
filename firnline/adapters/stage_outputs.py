"""What a stage gives, as Parquet by day: written for later stages, read again row by row."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from firnline.contracts.outputs import OUTPUT_TIMESTAMP

_MICROSECONDS_A_DAY = 86_400_000_000
_UTC = pa.timestamp("us", tz="UTC")
_PLACE = "place"


def columns_of(outputs: Mapping[str, int]) -> tuple[str, ...]:
    """Column names of a stage's outputs: `residual_0`, `residual_1`, `reconstruction_error`.

    Args:
        outputs: Output -> its width, in order.
    """
    return tuple(
        name if width == 1 else f"{name}_{place}"
        for name, width in outputs.items()
        for place in range(width)
    )


def write(
    folder: Path,
    key: str,
    columns: Sequence[str],
    entities: NDArray[np.str_],
    times: NDArray[np.int64],
    values: NDArray[np.float32],
) -> int:
    """Write `date=YYYY-MM-DD/part-00.parquet`, rows in the order of key and time.

    Args:
        folder: Where to.
        key: The entity's column.
        columns: Names of the values' columns.
        entities: Key of each row, [rows].
        times: Epoch microseconds UTC, [rows].
        values: [rows, columns]; NaN stays NaN, it is not null.

    Returns:
        Rows written.
    """
    order = np.lexsort((times, entities))
    days = times[order] // _MICROSECONDS_A_DAY
    table = pa.table(
        {
            key: pa.array(entities[order].tolist(), pa.string()),
            OUTPUT_TIMESTAMP: pa.array(times[order], pa.int64()).cast(_UTC),
            **{name: pa.array(values[order, place]) for place, name in enumerate(columns)},
        }
    )
    for day in np.unique(days).tolist():
        date = datetime.fromtimestamp(day * 86_400, tz=UTC).date()
        path = folder / f"date={date}" / "part-00.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.filter(pa.array(days == day)), path, compression="zstd")
    return len(table)


def read(
    files: Sequence[Path],
    key: str,
    columns: Sequence[str],
    entities: NDArray[np.str_],
    times: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The written values of given rows.

    Args:
        files: Parquet files that `write` wrote.
        key: The entity's column.
        columns: Names of the values' columns.
        entities: Key of each row that is asked for, [rows].
        times: Epoch microseconds UTC, [rows].

    Returns:
        Values [rows, columns], NaN where there is none; and which rows were written, [rows].
    """
    written = pa.concat_tables(pq.ParquetFile(file).read() for file in files)
    asked = pa.table(
        {
            key: pa.array(entities.tolist(), pa.string()),
            OUTPUT_TIMESTAMP: pa.array(times, pa.int64()).cast(_UTC),
            "asked": pa.array(np.arange(len(times))),
        }
    )
    numbered = written.select([key, OUTPUT_TIMESTAMP]).append_column(
        _PLACE, pa.array(np.arange(len(written)))
    )
    found = asked.join(numbered, keys=[key, OUTPUT_TIMESTAMP]).sort_by("asked")
    present = pc.is_valid(found[_PLACE]).to_numpy(zero_copy_only=False)
    places = found[_PLACE].drop_null().to_numpy()
    values = np.full((len(times), len(columns)), np.nan, np.float32)
    for column, name in enumerate(columns):
        values[present, column] = written[name].to_numpy()[places]
    return values, present
