"""How DuckDB scans one file: its columns as they are, texts trimmed, empty ones null."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from firnline.contracts.reading import ReadingContract

AS_BOOL = (
    "CASE lower(CAST({0} AS VARCHAR)) WHEN 'true' THEN true WHEN 'false' THEN false "
    "ELSE CASE TRY_CAST({0} AS DOUBLE) WHEN 1 THEN true WHEN 0 THEN false END END"
)


@dataclass(frozen=True)
class Relation:
    """How DuckDB reads one file.

    Attributes:
        path: The file.
        format: `parquet`, `csv` or `jsonl`.
        kinds: Column -> what it holds; `text` for every column of a text file.
        delimiter: Of a CSV.
        encoding: Of a CSV.
        nested: Object of a JSON line that may hold columns.
        units: Column -> unit, where the file says so.
    """

    path: Path
    format: Literal["parquet", "csv", "jsonl"]
    kinds: Mapping[str, str]
    delimiter: str = ","
    encoding: str = "utf-8"
    nested: str | None = None
    units: Mapping[str, str] = field(default_factory=dict)


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A name as an SQL identifier."""
    return '"' + text.replace('"', '""') + '"'


def columns_of(
    form: Literal["wide", "narrow"], contract: ReadingContract
) -> dict[str, tuple[str, bool]]:
    """Raw column -> (role, whether it must be there), for a file of that form."""
    if form == "narrow":
        narrow = contract.narrow
        assert narrow is not None  # noqa: S101 - a file is narrow only if the contract says how
        wanted = {
            narrow.key: ("key", True),
            narrow.timestamp: ("time", True),
            narrow.sensor: ("text", True),
            narrow.value: ("any", True),
        }
        if narrow.unit:
            wanted[narrow.unit] = ("any", True)
        if narrow.quality:
            wanted[narrow.quality] = ("any", False)
        return wanted
    wanted = {contract.time.device: ("time", True)}
    if contract.key.column:
        wanted[contract.key.column] = ("key", True)
    if contract.time.ingested:
        wanted[contract.time.ingested] = ("time", True)
    if contract.event.id:
        wanted[contract.event.id] = ("text", True)
    if contract.event.sequence:
        wanted[contract.event.sequence] = ("integer", True)
    if contract.labels and contract.labels.column:
        wanted[contract.labels.column] = ("any", True)
    return wanted | {s.column: (s.dtype, s.required) for s in contract.sensor}


def scan(relation: Relation, columns: Mapping[str, str]) -> str:
    """SELECT of `position` (1-based), `line` (of broken JSON, else null) and the columns.

    Args:
        relation: The file.
        columns: Raw column -> alias. One that the file does not have is null.
    """
    path = quoted(str(relation.path))
    if relation.format == "jsonl":
        return _scan_json(path, relation.nested, columns)
    text = relation.format == "csv"
    picked = ", ".join(
        f"{_text(name(raw)) if text or relation.kinds[raw] == 'text' else name(raw)} AS {alias}"
        if raw in relation.kinds
        else f"NULL::VARCHAR AS {alias}"
        for raw, alias in columns.items()
    )
    if relation.format == "parquet":
        origin = f"read_parquet({path}, file_row_number = true, hive_partitioning = false)"
        return (
            f"SELECT file_row_number + 1 AS position, NULL::VARCHAR AS line, {picked} FROM {origin}"
        )
    header = ", ".join(f"{quoted(raw)}: 'VARCHAR'" for raw in relation.kinds)
    origin = (
        f"read_csv({path}, columns = {{{header}}}, header = true, auto_detect = false, "
        f"delim = {quoted(relation.delimiter)}, quote = '\"', escape = '\"', "
        f"nullstr = ['', 'null', 'NULL'], encoding = {quoted(relation.encoding)}, "
        "hive_partitioning = false, store_rejects = true, rejects_limit = 0)"
    )
    return f"SELECT row_number() OVER () AS position, NULL::VARCHAR AS line, {picked} FROM {origin}"


def _text(expression: str) -> str:
    return f"nullif(trim({expression}), '')"


def _scan_json(path: str, nested: str | None, columns: Mapping[str, str]) -> str:
    fields = ", ".join(f'"{_json_key(raw)}":"VARCHAR"' for raw in columns)
    spec = f'{{{fields}, "{_json_key(nested)}":{{{fields}}}}}' if nested else f"{{{fields}}}"
    inner = f", j.{name(nested)}.{{}}" if nested else ""
    picked = ", ".join(
        f"{_text(f'coalesce(j.{name(raw)}{inner.format(name(raw))})')} AS {alias}"
        for raw, alias in columns.items()
    )
    return (
        f"SELECT position, CASE WHEN j IS NULL THEN line END AS line, {picked} FROM ("
        f"SELECT position, line, json_transform(CASE WHEN CASE WHEN json_valid(line) "
        f"THEN json_type(line) = 'OBJECT' ELSE false END THEN line END, {quoted(spec)}) AS j "
        "FROM (SELECT row_number() OVER () AS position, line "
        f"FROM read_csv({path}, columns = {{'line': 'VARCHAR'}}, header = false, "
        "auto_detect = false, delim = '\x01', quote = '', escape = '', "
        "hive_partitioning = false, store_rejects = true, rejects_limit = 0)) "
        "WHERE trim(line) <> '')"
    )


def _json_key(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def probe(
    connection: Any, relation: Relation, roles: Mapping[str, str], rows: int
) -> Iterator[tuple[str, int, int]]:
    """(column, filled values, values that fit its role) over a text file's first rows."""
    tests = {
        "time": "TRY_CAST({} AS TIMESTAMPTZ)",
        "integer": "TRY_CAST({} AS BIGINT)",
        "float": "TRY_CAST({} AS DOUBLE)",
        "bool": AS_BOOL,
    }
    checked = [column for column, role in roles.items() if role in tests]
    if not checked:
        return
    aliases = {column: f"c{index}" for index, column in enumerate(checked)}
    counts = ", ".join(
        f"count({alias}), count({tests[roles[column]].format(alias)})"
        for column, alias in aliases.items()
    )
    row = connection.execute(
        f"SELECT {counts} FROM ({scan(relation, aliases)} LIMIT {rows})"
    ).fetchone()
    drop_rejects(connection)
    for index, column in enumerate(checked):
        yield column, row[2 * index], row[2 * index + 1]


def unsplit_lines(connection: Any) -> str | None:
    """SELECT of line, record and found for the lines the last scan could not split, if any."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'"
    ).fetchone()[0]
    if not known:
        return None
    return (
        "SELECT line, min_by(csv_line, byte_position) AS record, "
        "min_by(error_message, byte_position) AS found FROM reject_errors GROUP BY line"
    )


def drop_rejects(connection: Any) -> None:
    """Forget the lines a scan could not split."""
    connection.execute("DROP TABLE IF EXISTS reject_errors")
    connection.execute("DROP TABLE IF EXISTS reject_scans")


def narrow_units(
    connection: Any, relation: Relation, contract: ReadingContract
) -> list[tuple[str, str]]:
    """Every (sensor, unit) that a narrow file names."""
    narrow = contract.narrow
    if narrow is None or narrow.unit is None or narrow.unit not in relation.kinds:
        return []
    columns = {narrow.sensor: "sensor", narrow.unit: "unit"}
    found = connection.execute(
        f"SELECT DISTINCT sensor, CAST(unit AS VARCHAR) FROM ({scan(relation, columns)}) "
        "WHERE sensor IS NOT NULL AND unit IS NOT NULL ORDER BY ALL"
    ).fetchall()
    drop_rejects(connection)
    return [(str(sensor), str(unit)) for sensor, unit in found]
