"""Newest features for a model at once: no Feast, no message a value, and only of its version."""

from collections.abc import Mapping, Sequence
from typing import Any

from firnline.adapters.feast_online import keys as entity_keys
from firnline.adapters.feast_online.codec import Column, unpack
from firnline.adapters.feast_online.rows import Rows, absent, by_layout, expect

# What a key of a Python type is encoded as.
_KINDS = {str: "text", int: "int64"}


def read(
    rows: Rows,
    table: str,
    keys: Mapping[str, Sequence[Any]],
    features: Sequence[str],
    digest: str,
) -> dict[str, list[Any]]:
    """The newest values of entities, in the order of the entities and of the features asked for.

    Args:
        rows: The store.
        table: `<project>_<view>`, such as `firnline_device_window_v1`.
        keys: Join key -> its values (text or int64), shape [n].
        features: Names, in the order they are wanted.
        digest: Digest of the version the model was trained on.

    Returns:
        The join keys, then each feature, shape [n]; None where there is no value.

    Raises:
        HandshakeError: N1 when the rows are of another digest, N3 when one is damaged, N4 when
            the version was never brought online, N5 when a key is null.
    """
    held = rows.digest(table)
    if held is None:
        raise absent(table)
    expect(table, held, digest)
    found = rows.read(table, _encoded(keys))
    answer: dict[str, list[Any]] = {name: list(values) for name, values in keys.items()}
    answer |= {name: [None] * len(found) for name in features}
    for layout, places, stored in by_layout(rows, found, digest, table):
        names = [name for name in features if name in layout.kinds]
        columns = unpack(layout, [row.row for row in stored], names)
        whole = len(places) == len(found)
        for name in names:
            values = _python(columns[name], layout.kinds[name])
            if whole:
                answer[name] = values
                continue
            for place, value in zip(places, values, strict=True):
                answer[name][place] = value
    return answer


def _encoded(keys: Mapping[str, Sequence[Any]]) -> list[bytes]:
    columns = {}
    for name, values in keys.items():
        kind = next((_KINDS.get(type(value), "text") for value in values), "text")
        columns[name] = (kind, values)
    return entity_keys.encode(columns)


def _python(column: Column, kind: str) -> list[Any]:
    if kind != "value":
        return column.tolist(kind)
    # Lists, maps and the like are kept as Feast's messages, which only Feast can read.
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type

    return [
        None if item is None else feast_value_type_to_python_type(Value.FromString(item))
        for item in column.tolist(kind)
    ]
