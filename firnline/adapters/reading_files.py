"""Opening the files of a source: their format, form and columns, checked against the contract."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from firnline.adapters.reading_open import SAMPLE_ROWS, Unreadable, open_table
from firnline.adapters.reading_scan import Relation, columns_of, narrow_units, probe
from firnline.adapters.source_files import matching, relative
from firnline.contracts.reading import ReadingContract, Sensor
from firnline.errors import ContractError

_WHOLE_COLUMN = 10
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
            except Unreadable as error:
                breaches.append(Breach("C03", name, str(error.args[0]), str(error.args[1])))
                continue
            files.append(opened)
            try:
                breaches += _misfits(connection, opened, contract)
            except duckdb.InvalidInputException as error:
                found = f"it cannot be split into rows: {str(error).splitlines()[0]}"
                mend = "write it again, its quotes closed and every line ended the same way"
                breaches.append(Breach("C03", name, found, mend))
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
    except Unreadable as error:
        breaches.append(Breach("C03", name, str(error.args[0]), str(error.args[1])))
        return None
