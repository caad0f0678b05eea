"""Opening one file of a source: its format, its columns, and whether it can be read at all."""

import codecs
import csv
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from firnline.adapters.reading_scan import Relation
from firnline.contracts.reading import ReadingContract

SUFFIXES: Mapping[str, Literal["parquet", "csv", "jsonl"]] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
SAMPLE_ROWS = 1000
_CHUNK_BYTES = 1 << 20


class Unreadable(Exception):
    """A file that cannot be opened: what was found, and the mend."""


def open_table(path: Path, contract: ReadingContract) -> tuple[Relation, int | None]:
    """A file's format and columns, and its rows where the format says so; 0 when empty."""
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise Unreadable(
            f"the suffix {path.suffix!r} is no known format",
            f"convert it to one of {', '.join(SUFFIXES)}",
        )
    if path.stat().st_size == 0:
        raise Unreadable("the file is empty, not even a header", "write it again, or remove it")
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
        raise Unreadable(
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
            raise Unreadable(f"not a CSV: {error}", "write it again") from error
    if not any(header):
        raise Unreadable("the first line is not a header", "put the column names there")
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
        raise Unreadable(
            f"none of its first {lines} lines is a JSON object",
            "write one JSON object a line, without brackets around them and commas between",
        )
    nested_name = contract.files.nested
    return Relation(path, "jsonl", columns, nested=nested_name), None if lines else 0


def _unique(header: list[str]) -> None:
    lower = [name.lower() for name in header]
    twice = sorted({name for name in header if name and lower.count(name.lower()) > 1})
    if twice:
        raise Unreadable(f"the column {', '.join(twice)} is there twice", "rename one of them")


def _decodes(path: Path, encoding: str) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    lines = 1
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line = lines + error.object[: error.start].count(b"\n")
                raise Unreadable(
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
