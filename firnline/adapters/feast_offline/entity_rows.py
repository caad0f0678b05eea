"""The rows to join features to, whatever they come as: a frame, an Arrow table, a query."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from firnline.errors import HandshakeError

TIME = "event_timestamp"
_WHERE = "the entity rows"


def as_table(given: Any) -> Any:
    """Entity rows as an Arrow table.

    Args:
        given: pandas frame or Arrow table.

    Raises:
        HandshakeError: O8 when it is neither.
    """
    if isinstance(given, pa.Table):
        return given
    if type(given).__module__.partition(".")[0] == "pandas":
        return pa.Table.from_pandas(given, preserve_index=False).replace_schema_metadata(None)
    raise HandshakeError(
        "O8",
        found=f"{type(given).__module__}.{type(given).__qualname__}",
        where=_WHERE,
        mend="give a pandas frame, an Arrow table, or a query in DuckDB's SQL",
    )


def query(sql: str, memory_limit: str, threads: int, temporary: Path | None) -> Any:
    """Entity rows that DuckDB selects, such as `SELECT * FROM 'labels.parquet'`.

    Args:
        sql: One query; relative paths start at the working folder, times are UTC.
        memory_limit: DuckDB's memory, with its unit.
        threads: DuckDB's threads.
        temporary: Where DuckDB spills; None for its own choice.

    Raises:
        HandshakeError: O8 when DuckDB refuses the query.
    """
    import duckdb

    settings: dict[str, Any] = {"memory_limit": memory_limit, "threads": threads}
    if temporary is not None:
        settings["temp_directory"] = str(temporary)
    try:
        with duckdb.connect(config=settings) as engine:
            engine.execute("SET TimeZone = 'UTC'")
            return engine.execute(sql).to_arrow_table()
    except duckdb.Error as error:
        raise HandshakeError(
            "O8",
            found=str(error).partition("\n")[0],
            where=f"{_WHERE}: {sql}",
            mend="correct the query; it is DuckDB's SQL",
        ) from error


def time_column(table: Any) -> str:
    """The column of the rows' times: `event_timestamp`, or the only one that holds times.

    Raises:
        HandshakeError: O4 when neither is there.
    """
    if TIME in table.column_names:
        return TIME
    found = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if len(found) == 1:
        return str(found[0])
    raise HandshakeError(
        "O4",
        found=f"{len(found)} columns of times among {', '.join(table.column_names)}",
        where=_WHERE,
        mend=f"name the column of times {TIME}",
    )


def in_utc(table: Any, time: str) -> Any:
    """The table with its times in UTC: without a zone they are, text is read, dates are midnight.

    Raises:
        HandshakeError: O6 when a time cannot be read.
    """
    column = table[time]
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        unit = kind.unit if pa.types.is_timestamp(kind) else "us"
        if pa.types.is_date(kind):
            column = column.cast(pa.timestamp("us"))
        utc = column.cast(pa.timestamp(unit, tz="UTC"))
    else:
        utc = _read(column, time)
    return table.set_column(table.schema.get_field_index(time), time, utc)


def check(table: Any, needed: Sequence[str], added: Sequence[str]) -> None:
    """See that the entity rows have their keys, and no column would stand twice.

    Args:
        table: The entity rows.
        needed: Columns that the views join on.
        added: Columns that the join adds.

    Raises:
        HandshakeError: O4 with every column that is missing or stands twice.
    """
    names = table.column_names
    missing = sorted(set(needed) - set(names))
    every = [*names, *added]
    twice = sorted({name for name in every if every.count(name) > 1})
    if missing or twice:
        raise HandshakeError(
            "O4",
            found="; ".join(
                [f"no column {name}" for name in missing]
                + [f"column {name} twice" for name in twice]
            ),
            where=f"{_WHERE} with {', '.join(names)}",
            mend="give one column for each join key, and ask for features by their full names "
            "where one has the name of a column",
        )


def _read(column: Any, time: str) -> Any:
    import pandas as pd

    try:
        return pa.chunked_array([pa.array(pd.to_datetime(column.to_pandas(), utc=True))])
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise HandshakeError(
            "O6",
            found=f"{column.type} that is no time: {error}",
            where=f"{_WHERE}, column {time}",
            mend="give timestamps, or text in ISO 8601",
        ) from error
