"""Feast's types and the kinds of packed rows: Arrow columns in, Feast's messages in and out."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast import ValueType
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from firnline.adapters.feast_online import keys as entity_keys
from firnline.adapters.feast_online.codec import FIXED, Column, Layout, pack
from firnline.adapters.feast_online.rows import Batch

ROWS_AT_ONCE = 25_000
# Feast's serialisation of keys that ours equals; older ones are its own affair.
OUR_KEYS = 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Kind -> the member of Feast's Value that holds it.
MEMBERS = {
    "double": "double_val",
    "float": "float_val",
    "int64": "int64_val",
    "int32": "int32_val",
    "bool": "bool_val",
    "time": "unix_timestamp_val",
    "text": "string_val",
    "bytes": "bytes_val",
}
_KINDS = {
    ValueType.DOUBLE: "double",
    ValueType.FLOAT: "float",
    ValueType.INT64: "int64",
    ValueType.INT32: "int32",
    ValueType.BOOL: "bool",
    ValueType.UNIX_TIMESTAMP: "time",
    ValueType.STRING: "text",
    ValueType.BYTES: "bytes",
}
_ARROW = {
    "double": (pa.types.is_floating, pa.float64()),
    "float": (pa.types.is_floating, pa.float32()),
    "int64": (pa.types.is_integer, pa.int64()),
    "int32": (pa.types.is_integer, pa.int32()),
    "bool": (pa.types.is_boolean, pa.bool_()),
    "text": (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), pa.binary()),
    "bytes": (lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind), pa.binary()),
}
# A row as Feast's stores take it: key, features, event time, created time.
FeastRow = tuple[Any, Mapping[str, Any], datetime, datetime | None]


def digest_of(view: Any) -> str:
    """The digest a Feast view carries; empty for one that is not ours."""
    return str((getattr(view, "tags", None) or {}).get("digest", ""))


def batches_of_table(table: pa.Table, view: Any, version: int) -> Iterator[Batch]:
    """An offline store's newest rows, ready to be written.

    Args:
        table: Join keys, features, timestamp and created timestamp, by the view's names.
        view: The Feast view.
        version: Feast's entity key serialisation version.

    Raises:
        HandshakeError: N5 when a row has no key.
    """
    source = view.batch_source
    for start in range(0, len(table), ROWS_AT_ONCE):
        chunk = table.slice(start, ROWS_AT_ONCE).combine_chunks()
        fields = [
            (field.name, *_column(chunk[field.name], field.dtype.to_value_type()))
            for field in view.features
        ]
        layout = Layout(digest_of(view), tuple((name, kind) for name, kind, _ in fields))
        created = source.created_timestamp_column
        yield Batch(
            layout,
            _keys(chunk, view, version),
            cast(list[int], _microseconds(chunk[source.timestamp_field])),
            _microseconds(chunk[created]) if created else [None] * len(chunk),
            pack(layout, {name: column for name, _, column in fields}, len(chunk)),
        )


def batches_of_rows(rows: Sequence[FeastRow], view: Any, version: int) -> Iterator[Batch]:
    """Feast's own rows, ready to be written; rows with other features make a batch of their own.

    Args:
        rows: As Feast gives them to `online_write_batch`.
        view: The Feast view.
        version: Feast's entity key serialisation version.
    """
    declared = {field.name: field.dtype.to_value_type() for field in view.features}
    start = 0
    while start < len(rows):
        names = rows[start][1].keys()
        end = start + 1
        while end < len(rows) and end - start < ROWS_AT_ONCE and rows[end][1].keys() == names:
            end += 1
        chunk = rows[start:end]
        ordered = [name for name in declared if name in names]
        ordered += sorted(name for name in names if name not in declared)
        fields = [
            (name, *_packed([row[1][name] for row in chunk], _KINDS.get(declared.get(name))))
            for name in ordered
        ]
        layout = Layout(digest_of(view), tuple((name, kind) for name, kind, _ in fields))
        yield Batch(
            layout,
            [serialize_entity_key(row[0], version) for row in chunk],
            [_epoch_us(row[2]) for row in chunk],
            [None if row[3] is None else _epoch_us(row[3]) for row in chunk],
            pack(layout, {name: column for name, _, column in fields}, len(chunk)),
        )
        start = end


def messages(column: Column, kind: str) -> list[Any]:
    """Feast's Value messages of a column, empty ones where it is null."""
    found = column.tolist(kind)
    if kind == "value":
        return [Value() if item is None else Value.FromString(item) for item in found]
    member = MEMBERS[kind]
    return [Value() if item is None else Value(**{member: item}) for item in found]


def moment(event_us: int) -> datetime:
    """Epoch microseconds as UTC."""
    return _EPOCH + event_us * _MICROSECOND


def _column(values: pa.ChunkedArray, declared: Any) -> tuple[str, Column]:
    """A column of the kind its Feast type has, without a message a value where there is a way."""
    kind = _KINDS.get(declared)
    fits, arrow = _ARROW.get(kind or "", (None, None))
    if fits is None or not fits(values.type):
        found = values.to_numpy(zero_copy_only=False)
        return _packed(python_values_to_proto_values(found, declared), kind)
    array = values.combine_chunks().cast(arrow, safe=kind != "float")
    valid = array.is_valid()
    if kind in ("double", "float"):
        # Feast has one sign for "no value": what is not a number is null online.
        valid = pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(array), True)))
    mask = valid.to_numpy(zero_copy_only=False)
    if kind in ("text", "bytes"):
        return kind, Column(array.fill_null(b"").to_pylist(), mask)
    filled = array.fill_null(False if kind == "bool" else 0)
    return str(kind), Column(filled.to_numpy(zero_copy_only=False), mask)


def _packed(values: Sequence[Any], kind: str | None) -> tuple[str, Column]:
    """Messages as a column; as they are when one holds another type than was declared."""
    members = [value.WhichOneof("val") for value in values]
    valid = np.array([member is not None for member in members], np.bool_)
    member = MEMBERS.get(kind or "")
    if kind is None or any(found not in (None, member) for found in members):
        return "value", Column(
            [value.SerializeToString(deterministic=True) for value in values], valid
        )
    found = [getattr(value, str(member)) for value in values]
    if kind == "text":
        return kind, Column([item.encode() for item in found], valid)
    if kind == "bytes":
        return kind, Column(found, valid)
    return kind, Column(np.array(found, FIXED[kind]), valid)


def _keys(chunk: pa.Table, view: Any, version: int) -> list[bytes]:
    columns: dict[str, tuple[str, Sequence[Any]]] = {}
    for entity in view.entity_columns:
        kind = _KINDS.get(entity.dtype.to_value_type(), "")
        if kind not in ("text", "int64", "int32") or not _ARROW[kind][0](chunk[entity.name].type):
            return _keys_through_feast(chunk, view, version)
        columns[entity.name] = (kind, chunk[entity.name].to_pylist())
    if version < OUR_KEYS:
        return _keys_through_feast(chunk, view, version)
    return entity_keys.encode(columns)


def _keys_through_feast(chunk: pa.Table, view: Any, version: int) -> list[bytes]:
    names = [entity.name for entity in view.entity_columns]
    columns = [
        python_values_to_proto_values(
            chunk[entity.name].to_numpy(zero_copy_only=False), entity.dtype.to_value_type()
        )
        for entity in view.entity_columns
    ]
    return [
        serialize_entity_key(EntityKey(join_keys=names, entity_values=values), version)
        for values in zip(*columns, strict=True)
    ]


def _microseconds(times: pa.ChunkedArray) -> list[int | None]:
    if not pa.types.is_timestamp(times.type):
        times = times.cast(pa.timestamp("us", tz="UTC"))
    found: list[int | None] = (
        times.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_pylist()
    )
    return found


def _epoch_us(time: datetime) -> int:
    """Epoch microseconds; a time without a zone is UTC, as everywhere in Feast."""
    aware = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND
