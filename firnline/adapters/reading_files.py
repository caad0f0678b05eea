"""Opening the files of a source: their format, form and columns, checked against the contract."""

import codecs
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from firnline.adapters.reading_scan import Relation, columns_of, narrow_units, probe
from firnline.adapters.source_files import matching, relative
from firnline.contracts.reading import ReadingContract, Sensor
from firnline.errors import ContractError

SUFFIXES: Mapping[str, Literal["parquet", "csv", "jsonl"]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
SAMPLE_ROWS = 1000
_WHOLE_COLUMN = 10
_CHUNK_BYTES = 1 << 20
_SHOWN = 20


@dataclass(frozen=True)
class Breach:
    """One way in which a file does not fit the contract."""

    code: str
    where: str
    found: str
    mend: str


@dataclass(frozen=True)
class ReadingFile:
    """One file of readings.

    Attributes:
        index: Position among the source's files, which are sorted by path.
        relative: Path below the source, without a system's own separator.
        form: `wide`, one row a reading, or `narrow`, one row a value.
        relation: How DuckDB reads it.
        rows: Rows it holds, where its format says so.
        size_bytes: Its size.
    """

    index: int
    relative: str
    form: Literal["wide", "narrow"]
    relation: Relation
    rows: int | None
    size_bytes: int


@dataclass(frozen=True)
class Source:
    """A source that passed its inspection.

    Attributes:
        root: The folder.
        files: Its files of readings.
        registry: The file of entities, if the contract names one.
        labels: The file of episodes, if the contract names one and it is there.
    """

    root: Path
    files: tuple[ReadingFile, ...]
    registry: Relation | None
    labels: Relation | None


class _Unreadable(Exception):
    """A file that cannot be opened: what was found, and the mend."""


def inspect(source: Path, contract: ReadingContract) -> Source:
    """Check a source's files against the contract before anything is written.

    Every file is opened: Parquet by its footer, text by its whole encoding, its header and its
    first `SAMPLE_ROWS` rows. All breaches are reported at once.

    Args:
        source: The folder, or one file.
        contract: What the readings must hold.

    Raises:
        ContractError: C01 missing, C02 columns, C03 unreadable, C04 wrong dtype, C05 no
            readings, C06 wrong unit, C07 registry or labels, C08 unsafe path. Several breaches
            carry the code of the first, and name every one.
    """
    paths = matching(source, contract.files.readings)
    root = source if source.is_dir() else source.parent
    side = tuple(
        part.file for part in (contract.registry, contract.labels) if part is not None and part.file
    )
    names = {root / path for path in (*side, *contract.files.extra)}
    paths = tuple(path for path in paths if path not in names)
    if not paths:
        raise ContractError(
            "C01",
            found=f"no file matches {', '.join(contract.files.readings)}",
            where=str(source),
            mend="name the folder that holds them, or change files.readings in the contract",
        )
    breaches: list[Breach] = []
    files: list[ReadingFile] = []
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for path in paths:
            name = relative(path, root)
            try:
                opened = _open(path, name, len(files), contract)
            except _Unreadable as error:
                breaches.append(Breach("C03", name, str(error.args[0]), str(error.args[1])))
                continue
            files.append(opened)
            breaches += _misfits(connection, opened, contract)
        registry, labels = (
            _side(root, part.file if part else None, contract, needed, breaches)
            for part, needed in ((contract.registry, True), (contract.labels, False))
        )
    if not breaches and all(file.rows == 0 for file in files):
        breaches.append(
            Breach("C05", str(source), "not one reading in any file", "give it readings")
        )
    _raise(breaches, source)
    return Source(root, tuple(files), registry, labels)


def _raise(breaches: list[Breach], source: Path) -> None:
    if not breaches:
        return
    first = breaches[0]
    if len(breaches) == 1:
        raise ContractError(first.code, found=first.found, where=first.where, mend=first.mend)
    lines = [f"[{b.code}] {b.where}: {b.found} (to mend: {b.mend})" for b in breaches[:_SHOWN]]
    if len(breaches) > _SHOWN:
        lines.append(f"and {len(breaches) - _SHOWN} more")
    raise ContractError(
        first.code,
        found=f"{len(breaches)} breaches: " + "; ".join(lines),
        where=str(source),
        mend="mend each of them; nothing was written",
    )


def _open(path: Path, name: str, index: int, contract: ReadingContract) -> ReadingFile:
    relation, rows = open_table(path, contract)
    narrow = contract.narrow
    form: Literal["wide", "narrow"] = "wide"
    if narrow is not None and {narrow.sensor, narrow.value} <= set(relation.kinds):
        form = "narrow"
    return ReadingFile(index, name, form, relation, rows, path.stat().st_size)


def open_table(path: Path, contract: ReadingContract) -> tuple[Relation, int | None]:
    """A file's format and columns, and its rows where the format says so; 0 when empty."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise _Unreadable(
            f"the suffix {path.suffix!r} is no known format",
            f"convert it to one of {', '.join(SUFFIXES)}",
        )
    if path.stat().st_size == 0:
        raise _Unreadable("the file is empty, not even a header", "write it again, or remove it")
    if kind == "parquet":
        return _open_parquet(path)
    encoding = contract.files.encoding if kind == "csv" else "utf-8"
    _decodes(path, encoding)
    if kind == "csv":
        return _open_csv(path, contract)
    return _open_jsonl(path, contract)


def _open_parquet(path: Path) -> tuple[Relation, int]:
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, int(file.metadata.num_rows)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise _Unreadable(
            f"not a whole Parquet file: {str(error).splitlines()[0]}",
            "it was cut off or is of another format: copy it again from where it came",
        ) from error
    _unique(schema.names)
    kinds = {field.name: _kind(field.type) for field in schema}
    units = {
        field.name: field.metadata[b"unit"].decode(errors="replace")
        for field in schema
        if field.metadata and b"unit" in field.metadata
    }
    return Relation(path, "parquet", kinds, units=units), rows


def _open_csv(path: Path, contract: ReadingContract) -> tuple[Relation, int | None]:
    encoding = "utf-8-sig" if contract.files.encoding == "utf-8" else contract.files.encoding
    with path.open(encoding=encoding, newline="") as stream:
        rows = csv.reader(stream, delimiter=contract.files.delimiter)
        try:
            header, second = next(rows, []), next(rows, None)
        except csv.Error as error:
            raise _Unreadable(f"not a CSV: {error}", "write it again") from error
    if not any(header):
        raise _Unreadable("the first line is not a header", "put the column names there")
    _unique(header)
    relation = Relation(
        path,
        "csv",
        dict.fromkeys(header, "text"),
        delimiter=contract.files.delimiter,
        encoding=contract.files.encoding,
    )
    return relation, None if second is not None else 0


def _open_jsonl(path: Path, contract: ReadingContract) -> tuple[Relation, int | None]:
    columns: dict[str, str] = {}
    with path.open(encoding="utf-8-sig") as stream:
        lines = 0
        for line in islice(filter(str.strip, stream), SAMPLE_ROWS):
            lines += 1
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict):
                nested = record.pop(contract.files.nested, None) if contract.files.nested else None
                inner = nested if isinstance(nested, dict) else {}
                columns |= dict.fromkeys([*map(str, record), *map(str, inner)], "text")
    if lines and not columns:
        raise _Unreadable(
            f"none of its first {lines} lines is a JSON object",
            "write one JSON object a line, without brackets around them and commas between",
        )
    nested_name = contract.files.nested
    return Relation(path, "jsonl", columns, nested=nested_name), None if lines else 0


def _unique(header: list[str]) -> None:
    lower = [name.lower() for name in header]
    twice = sorted({name for name in header if name and lower.count(name.lower()) > 1})
    if twice:
        raise _Unreadable(f"the column {', '.join(twice)} is there twice", "rename one of them")


def _decodes(path: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line = lines + error.object[: error.start].count(b"\n")
                raise _Unreadable(
                    f"byte 0x{error.object[error.start]:02X} in line {line} is not {encoding}",
                    'set files.encoding = "latin-1" in the contract if that is what it is '
                    "(CSV only), or convert the file to UTF-8",
                ) from error
            lines += chunk.count(b"\n")


def _kind(dtype: pa.DataType) -> str:
    types = pa.types
    if types.is_dictionary(dtype):
        dtype = dtype.value_type
    if types.is_integer(dtype):
        return "integer"
    if types.is_floating(dtype) or types.is_decimal(dtype):
        return "number"
    if types.is_boolean(dtype):
        return "bool"
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return "text"
    if types.is_timestamp(dtype) or types.is_date(dtype):
        return "time"
    return "null" if types.is_null(dtype) else str(dtype)


_FITS = {
    "key": ("text", "integer"),
    "time": ("time", "text"),
    "text": ("text", "integer"),
    "integer": ("integer",),
    "float": ("number", "integer", "null"),
    "bool": ("bool", "integer", "number", "null"),
    "any": ("text", "integer", "number", "bool", "time", "null"),
}


def _misfits(connection: Any, file: ReadingFile, contract: ReadingContract) -> Iterator[Breach]:
    wanted = columns_of(file.form, contract)
    kinds, text = file.relation.kinds, file.relation.format != "parquet"
    sensors = {sensor.column: sensor for sensor in contract.sensor}
    present: dict[str, str] = {}
    for column, (role, required) in wanted.items():
        if column in kinds:
            present[column] = role
            if not text and kinds[column] not in _FITS[role]:
                yield _wrong_dtype(file, column, role, f"it holds {kinds[column]}")
        elif required and not (file.relation.format == "jsonl" and column in sensors):
            yield Breach(
                "C02",
                f"{file.relative}, column {column}",
                f"the column is missing (there are: {', '.join(kinds) or 'none'})",
                "add it to the file, or correct its name in the contract",
            )
    if file.form == "wide" and not any(column in kinds for column in sensors) and kinds:
        yield Breach("C02", file.relative, "not one sensor of the contract is in it", "see above")
    for column, unit in file.relation.units.items():
        if file.form == "wide" and column in sensors and not _unit_fits(unit, sensors[column]):
            yield _wrong_unit(file, column, unit, sensors[column])
    if text:
        for column, filled, fits in probe(connection, file.relation, present, SAMPLE_ROWS):
            if filled >= _WHOLE_COLUMN and not fits:
                found = f"none of its first {filled} values is one"
                yield _wrong_dtype(file, column, present[column], found)
    if file.form == "narrow":
        yield from _narrow_units(connection, file, contract)


def _unit_fits(unit: str, sensor: Sensor) -> bool:
    return unit == (sensor.source_unit or sensor.unit)


def _wrong_dtype(file: ReadingFile, column: str, role: str, found: str) -> Breach:
    return Breach(
        "C04",
        f"{file.relative}, column {column}",
        f"a {role} is expected, but {found}",
        "write the column with that type, or correct the contract; times are ISO 8601",
    )


def _wrong_unit(file: ReadingFile, column: str, unit: str, sensor: Sensor) -> Breach:
    return Breach(
        "C06",
        f"{file.relative}, {column}",
        f"its unit is {unit}, the contract's is {sensor.source_unit or sensor.unit}",
        f'convert the file, or declare source_unit = "{unit}" or a [[unit]] to {sensor.unit}',
    )


def _narrow_units(
    connection: Any, file: ReadingFile, contract: ReadingContract
) -> Iterator[Breach]:
    sensors = {name: s for s in contract.sensor for name in (s.name, s.column)}
    for name, unit in narrow_units(connection, file.relation, contract):
        sensor = sensors.get(name)
        if sensor is None or sensor.dtype == "bool":
            continue
        if contract.conversion(unit, sensor.unit) is None:
            yield _wrong_unit(file, f"sensor {name}", unit, sensor)


def _side(
    root: Path,
    name: str | None,
    contract: ReadingContract,
    needed: bool,
    breaches: list[Breach],
) -> Relation | None:
    if name is None:
        return None
    found = sorted(root.glob(name))
    if not found:
        if needed:
            breaches.append(
                Breach("C01", name, "the registry is missing", "add it, or drop [registry]")
            )
        return None
    try:
        return open_table(matching(root, (name,))[0], contract)[0]
    except _Unreadable as error:
        breaches.append(Breach("C03", name, str(error.args[0]), str(error.args[1])))
        return None
