"""Feast's entities as the keys of packed rows, the common ones without a message an entity."""

from collections.abc import Mapping, Sequence
from typing import Any

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey

from firnline.adapters.feast_online.feast_values import MEMBERS, OUR_KEYS
from firnline.adapters.feast_online.keys import encode

_KINDS = {MEMBERS[kind]: kind for kind in ("text", "int64", "int32")}


def encoded(key: Any, version: int) -> bytes:
    """A key of Feast's as bytes.

    Args:
        key: Feast's message.
        version: Feast's entity key serialisation version.
    """
    return bytes(serialize_entity_key(key, version))


def keys_of(entities: Sequence[Mapping[str, Any]], version: int) -> list[bytes]:
    """Keys of entities as Feast hands them to a read; plain ones without Feast's encoder.

    Args:
        entities: Join key -> Feast's value, of each entity the same join keys.
        version: Feast's entity key serialisation version.
    """
    columns: dict[str, tuple[str, Sequence[Any]]] = {}
    for name in entities[0] if version >= OUR_KEYS and entities else ():
        members = {str(entity[name].WhichOneof("val")) for entity in entities}
        kind = _KINDS.get(members.pop()) if len(members) == 1 else None
        if kind is not None:
            member = MEMBERS[kind]
            columns[name] = (kind, [getattr(entity[name], member) for entity in entities])
    if columns and len(columns) == len(entities[0]):
        return encode(columns)
    return [
        encoded(EntityKey(join_keys=list(entity), entity_values=list(entity.values())), version)
        for entity in entities
    ]
