"""What lies beside the readings: the registry of entities, and the labels."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from firnline.adapters.reading_scan import Relation, drop_rejects, name, quoted, scan, unsplit_lines
from firnline.adapters.reading_write import ROW_GROUP_ROWS, write_parquet
from firnline.contracts.reading import Labels, ReadingContract
from firnline.errors import ContractError

_SEPARATORS = re.compile(r"[\s,;|]+")


def load_registry(
    connection: Any, relation: Relation | None, contract: ReadingContract
) -> tuple[str, ...]:
    """Fill the tables `registry` (key, expected sensors as e0, e1, ...) and `entity`.

    Returns:
        The sensors whose absence the registry can call a gap; all or none.

    Raises:
        ContractError: C02 a column is missing, C07 an entity is listed twice or without a
            key, or a sensor is none of the contract's.
    """
    registry = contract.registry
    if registry is None or relation is None:
        return ()
    key = registry.key or contract.key.name
    _has(relation, (key, *((registry.sensors,) if registry.sensors else ())), registry.file)
    _fill(connection, "entity", relation, {key: contract.key.name}, registry.numbers)
    column = name(contract.key.name)
    twice = connection.execute(
        f"SELECT coalesce({column}, 'no key'), count(*) FROM entity GROUP BY ALL "
        f"HAVING count(*) > 1 OR {column} IS NULL ORDER BY ALL LIMIT 5"
    ).fetchall()
    if twice:
        listed = ", ".join(f"{entity} ({count} rows)" for entity, count in twice)
        raise _wrong(f"one row an entity is expected, but there is {listed}", registry.file)
    sensors = name(registry.sensors) if registry.sensors else "NULL"
    rows = connection.execute(f"SELECT {column}, {sensors} FROM entity").fetchall()
    carried = [_carried(listed, contract) for _, listed in rows] if registry.sensors else []
    columns: dict[str, pa.Array] = {"key": pa.array([key for key, _ in rows], pa.string())}
    for place in range(len(contract.sensor) if registry.sensors else 0):
        columns[f"e{place}"] = pa.array([flags[place] for flags in carried], pa.bool_())
    _create(connection, "registry", pa.table(columns))
    return contract.sensor_names if registry.sensors else ()


def _create(connection: Any, table: str, rows: pa.Table) -> None:
    connection.register("rows_of_table", rows)
    connection.execute(f"CREATE TEMP TABLE {table} AS SELECT * FROM rows_of_table")
    connection.unregister("rows_of_table")


def _carried(listed: str | None, contract: ReadingContract) -> list[bool]:
    words = {word for word in _SEPARATORS.split(listed or "") if word}
    unknown = sorted(words - {n for s in contract.sensor for n in (s.name, s.column)})
    if unknown and contract.registry:
        raise _wrong(f"{', '.join(unknown)} is no sensor of the contract", contract.registry.file)
    return [bool({sensor.name, sensor.column} & words) for sensor in contract.sensor]


def write_entities(
    connection: Any, contract: ReadingContract, seen: Sequence[str], out: Path
) -> None:
    """Write `entities.parquet`: the registry, or the entities that were read where none is."""
    key = name(contract.key.name)
    if contract.registry is None:
        _create(connection, "entity", pa.table({contract.key.name: pa.array(seen, pa.string())}))
    rows = connection.execute(f"SELECT {key}, * EXCLUDE ({key}) FROM entity ORDER BY {key}")
    write_parquet(rows.to_arrow_reader(ROW_GROUP_ROWS), out / "entities.parquet")


def write_labels(
    connection: Any,
    relation: Relation | None,
    contract: ReadingContract,
    retained: str,
    out: Path,
) -> None:
    """Write `labels.parquet`: key, start, end (not in the episode), label; sorted.

    Args:
        connection: DuckDB.
        relation: The file of episodes, if there is one.
        contract: What the labels must hold.
        retained: SELECT of the staged readings that will be clean.
        out: Folder to write into.

    Raises:
        ContractError: C02 a column is missing, C07 an episode does not hold.
    """
    labels = contract.labels
    key = contract.key.name
    select = (
        "SELECT NULL::VARCHAR AS key, NULL::TIMESTAMPTZ AS start, NULL::TIMESTAMPTZ AS end_, "
        "NULL::VARCHAR AS label WHERE false"
    )
    if labels is not None and labels.column is not None:
        select = _runs(connection, labels, contract, retained)
    elif labels is not None and relation is not None:
        select = _episodes(connection, labels, relation, key)
    rows = connection.execute(
        f'SELECT key AS {name(key)}, start, end_ AS "end", label FROM ({select}) '
        "ORDER BY key, start, end_, label"
    )
    write_parquet(rows.to_arrow_reader(ROW_GROUP_ROWS), out / "labels.parquet")


def _episodes(connection: Any, labels: Labels, relation: Relation, key: str) -> str:
    file = str(labels.file)
    columns = {labels.key or key: "key", labels.start: "a", labels.end: "b", labels.label: "label"}
    _has(relation, columns, file)
    connection.execute(
        "CREATE TEMP TABLE episode AS SELECT position, CAST(key AS VARCHAR) AS key, "
        "TRY_CAST(a AS TIMESTAMPTZ) AS start, TRY_CAST(b AS TIMESTAMPTZ) AS end_, "
        f"CAST(label AS VARCHAR) AS label FROM ({scan(relation, columns)})"
    )
    _split(connection, file)
    wrong = connection.execute(
        "SELECT position, key, start, end_, label FROM episode WHERE key IS NULL OR label IS NULL "
        "OR start IS NULL OR end_ IS NULL OR NOT isfinite(start) OR NOT isfinite(end_) "
        "OR start >= end_ ORDER BY position LIMIT 1"
    ).fetchone()
    if wrong:
        raise _wrong(
            f"row {wrong[0]} is no episode: key {wrong[1]}, from {wrong[2]} to {wrong[3]}, "
            f"label {wrong[4]}",
            file,
        )
    return "SELECT key, start, end_, label FROM episode"


def _runs(connection: Any, labels: Labels, contract: ReadingContract, retained: str) -> str:
    meanings = " ".join(f"WHEN {quoted(v)} THEN {quoted(m)}" for v, m in labels.names.items())
    unknown = connection.execute(
        f"SELECT DISTINCT label FROM ({retained}) WHERE label IS NOT NULL "
        f"AND (CASE label {meanings} END) IS NULL ORDER BY label LIMIT 5"
    ).fetchall()
    if unknown:
        raise _wrong(
            f"{', '.join(str(row[0]) for row in unknown)} has no meaning in labels.names",
            f"column {labels.column}",
        )
    step = round(contract.time.step_seconds * 1_000_000)
    order = "PARTITION BY key ORDER BY taken_at, sequence, event_id"
    return (
        "SELECT key, min(taken_at) AS start, "
        f"least(max(taken_at) + to_microseconds({step}), max(next_at)) AS end_, "
        f"CASE label {meanings} END AS label FROM ("
        f"SELECT *, sum(begins::INTEGER) OVER ({order}) AS run FROM ("
        f"SELECT key, taken_at, sequence, event_id, label, "
        f"label IS DISTINCT FROM lag(label) OVER ({order}) AS begins, "
        f"coalesce(lead(taken_at) OVER ({order}), 'infinity'::TIMESTAMPTZ) AS next_at "
        f"FROM ({retained}))) WHERE label IS NOT NULL GROUP BY key, run, label "
        "HAVING start < end_"
    )


def _fill(
    connection: Any,
    table: str,
    relation: Relation,
    renamed: dict[str, str],
    numbers: Sequence[str],
) -> None:
    aliases = {column: f"c{place}" for place, column in enumerate(relation.kinds)}
    columns = ", ".join(
        f"{f'TRY_CAST({alias} AS DOUBLE)' if column in numbers else f'CAST({alias} AS VARCHAR)'} "
        f"AS {name(renamed.get(column, column))}"
        for column, alias in aliases.items()
    )
    connection.execute(
        f"CREATE TEMP TABLE {table} AS SELECT {columns} FROM ({scan(relation, aliases)})"
    )
    _split(connection, relation.path.name)


def _split(connection: Any, file: str) -> None:
    lines = unsplit_lines(connection)
    row = connection.execute(f"{lines} ORDER BY line LIMIT 1").fetchone() if lines else None
    drop_rejects(connection)
    if row:
        raise _wrong(f"line {row[0]} cannot be split: {str(row[2]).splitlines()[0]}", file)


def _has(relation: Relation, columns: Sequence[str] | dict[str, str], file: str) -> None:
    missing = [column for column in columns if column not in relation.kinds]
    if missing:
        raise ContractError(
            "C02",
            found=f"the column {', '.join(missing)} is missing "
            f"(there are: {', '.join(relation.kinds) or 'none'})",
            where=file,
            mend="add it to the file, or correct its name in the contract",
        )


def _wrong(found: str, where: str) -> ContractError:
    return ContractError("C07", found=found, where=where, mend="correct that file")
