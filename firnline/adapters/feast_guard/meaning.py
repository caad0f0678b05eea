"""What an object of Feast's registry means, apart from how it is described and how far it is used.

Feast's own hash of an object differs between identical views, and its versions follow schema and
functions alone. Here every field of the protobuf message counts unless it is named below as one
that changes no value, so a field that a later Feast adds counts too.
"""

from datetime import timedelta
from typing import Any, TypeAlias

from google.protobuf.message import Message  # type: ignore[import-untyped]  # it ships none

from firnline.adapters.feast_guard.stamp import REACHES
from firnline.adapters.feast_guard.udf import computation
from firnline.digest import digest

Meaning: TypeAlias = dict[str, Any]

# Descriptions, ownership, and the state of serving and materialising.
_NO_MEANING = frozenset(
    {
        "description", "owner", "org", "project", "meta", "tags", "online", "offline", "disabled",
        "enable_validation", "logging_config", "precompute_online", "vector_index",
    }
)  # fmt: skip
# A projection repeats parts of its view, and Feast fills them in or not by how it was made.
_OF_THE_VIEW = frozenset(
    {
        "source", "stream", "timestamp_column", "created_column", "date_partition_column",
        "view_type",
    }
)  # fmt: skip
_VIEWS = frozenset({"FeatureView", "OnDemandFeatureView", "StreamFeatureView", "LabelView"})
_DTYPES = {"double": "float64", "float": "float32"}
_FLOATING = ("", "latest")
_CONNECTION = "feast.connection-ref."


def meaning(message: Message) -> Meaning:
    """The canonical record of what an object means.

    Args:
        message: Feast's FeatureView, OnDemandFeatureView, StreamFeatureView, LabelView,
            FeatureService, DataSource or Entity.

    Returns:
        JSON values. `kind` and `name` are always there; a view has `entities`, `keys` and `fields`
        ([name, dtype] in order), `ttl_seconds`, its `source` with `path` or `query` or `table`,
        `timestamp_column`, `created_column` and `mapping`, `transformation`, and `digest` when it
        is tagged with one; a service has `reads`, its projections in order.
    """
    kind = message.DESCRIPTOR.name
    if kind == "DataSource":
        return {"kind": kind, **_source(message)}
    spec = message.spec
    record = {"kind": kind, **_plain(spec)}
    if kind == "FeatureService":
        record["reads"] = record.pop("features", [])
        return record
    if kind in _VIEWS:
        return _view(record, spec)
    return record


def object_digest(message: Message) -> str:
    """sha256 of what an object means: the same for a cosmetic edit, in every process."""
    return digest(meaning(message))


def name_of(message: Message) -> str:
    """The name an object is registered under."""
    holder = message if message.DESCRIPTOR.name == "DataSource" else message.spec
    return str(holder.name)


def reads_of(record: Meaning) -> list[str]:
    """Names of the views that a service, or a view derived from others, reads."""
    names = [part["view"] for part in record.get("reads", ())]
    names += [part["view"] for part in record.get("sources", {}).values() if "view" in part]
    names += [part["name"] for part in record.get("source_views", ())]
    return list(dict.fromkeys(name for name in names if name))


def rests_on(record: Meaning) -> list[tuple[str, str]]:
    """(kind, name) of the entities and data sources that a view stands on."""
    found = [("Entity", name) for name in record.get("entities", ()) if name != "__dummy"]
    for part in ("source", "stream"):
        place = record.get(part)
        while place:
            found += [("DataSource", place["name"])] if place.get("name") else []
            place = place.get("batch_source")
    requests = (part.get("request") for part in record.get("sources", {}).values())
    found += [("DataSource", place["name"]) for place in requests if place]
    return list(dict.fromkeys(found))


def _view(record: Meaning, spec: Any) -> Meaning:
    fields = {"fields": record.pop("features", [])}
    pin = record.pop("version", "")
    extra = {
        "pin": "" if pin in _FLOATING else pin,
        "digest": spec.tags.get("digest", ""),
        "reaches": spec.tags.get(REACHES, ""),
    }
    return record | fields | {name: value for name, value in extra.items() if value}


def _plain(message: Message) -> Meaning:
    """A message's fields that count, under the names this project uses."""
    record: Meaning = {}
    for field, value in message.ListFields():
        if field.name in _NO_MEANING:
            continue
        if field.name in ("feature_transformation", "user_defined_function"):
            record["transformation"] = _transformation(value)
        elif field.name in _RENAMED:
            name, form = _RENAMED[field.name]
            record[name] = form(value)
        else:
            record[field.name] = _form(field, value)
    return record


def _form(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {str(key): _single(field, value[key]) for key in sorted(value)}
    if field.is_repeated:
        return [_single(field, item) for item in value]
    return _single(field, value)


def _single(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        form = _FORMS.get(value.DESCRIPTOR.name, _plain)
        return form(value)
    if field.enum_type is not None:
        return field.enum_type.values_by_number[value].name.lower()
    if isinstance(value, bytes):
        return value.hex()
    return repr(value) if isinstance(value, float) else value


def _seconds(duration: Any) -> int | str:
    """Whole seconds as a number, others as text: JSON has no exact fractions."""
    span = timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1_000)
    whole = span // timedelta(seconds=1)
    return whole if span == timedelta(seconds=whole) else str(span.total_seconds())


def _dtype(number: int) -> str:
    from feast.protos.feast.types.Value_pb2 import ValueType

    name = str(ValueType.Enum.Name(number)).lower()
    return _DTYPES.get(name, name)


def _field(message: Any) -> list[Any]:
    extra = {
        "length": message.vector_length,
        "metric": message.vector_search_metric,
        # Feast keeps the inner types of nested columns in tags.
        **{key: text for key, text in sorted(message.tags.items()) if key.startswith("feast:")},
    }
    held = {name: value for name, value in extra.items() if value}
    return [message.name, _dtype(message.value_type), *([held] if held else [])]


def _source(message: Any) -> Meaning:
    from feast.data_source import _DATA_SOURCE_OPTIONS

    record = _plain(message)
    # Feast names the class in a view's copy of its source, and not in the source by itself.
    named = record.pop("data_source_class_type", "") or _DATA_SOURCE_OPTIONS.get(message.type)
    record["class"] = (named or "").rpartition(".")[2]
    for field, options in message.ListFields():
        if field.name.endswith("_options"):
            record.pop(field.name, None)
            record |= _options(options)
    # A connection is kept in tags, and decides which data is read.
    linked = {key: text for key, text in message.tags.items() if key.startswith(_CONNECTION)}
    return record | ({"connection": linked} if linked else {})


def _options(options: Any) -> Meaning:
    record = _plain(options)
    if "uri" in record:
        record["path"] = record.pop("uri")
    return record


def _transformation(message: Any) -> Meaning:
    if message.DESCRIPTOR.name == "UserDefinedFunction":
        return {"name": message.name, **computation(message.body, message.body_text)}
    if message.HasField("user_defined_function"):
        function = message.user_defined_function
        mode = {"mode": function.mode} if function.mode else {}
        return {"name": function.name, **mode, **computation(function.body, function.body_text)}
    plan = message.substrait_transformation
    return {"plan": plan.substrait_plan.hex(), **computation(plan.ibis_function, "")}


def _projection(message: Any) -> Meaning:
    record = {name: value for name, value in _plain(message).items() if name not in _OF_THE_VIEW}
    record["view"] = record.pop("feature_view_name", "")
    record["fields"] = record.pop("feature_columns", [])
    return record


def _origin(message: Any) -> Meaning:
    """One source of an on-demand view."""
    if message.HasField("request_data_source"):
        return {"request": _source(message.request_data_source)}
    if message.HasField("feature_view_projection"):
        return _projection(message.feature_view_projection)
    return {"view": message.feature_view.spec.name}


def _fields(columns: Any) -> list[Any]:
    return [_field(column) for column in columns]


_FORMS: dict[str, Any] = {
    "FeatureSpecV2": _field,
    "DataSource": _source,
    "FeatureViewProjection": _projection,
    "OnDemandSource": _origin,
    "Duration": _seconds,
}
# Feast's name of a field -> ours, which the records of features.lock use too.
_RENAMED: dict[str, tuple[str, Any]] = {
    "entity_columns": ("keys", _fields),
    "ttl": ("ttl_seconds", _seconds),
    "batch_source": ("source", _source),
    "stream_source": ("stream", _source),
    "timestamp_field": ("timestamp_column", str),
    "created_timestamp_column": ("created_column", str),
    "value_type": ("dtype", _dtype),
    "field_mapping": ("mapping", lambda mapping: dict(sorted(mapping.items()))),
}
