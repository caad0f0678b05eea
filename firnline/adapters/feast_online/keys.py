"""An entity's key as bytes, equal to what Feast's `serialize_entity_key` (version 3) gives.

The number of join keys, then each name, then each value, every one after its type and length;
names are sorted. Written again because Feast's takes a protobuf message an entity.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from firnline.errors import HandshakeError

_TEXT, _INT32, _INT64 = 2, 3, 4
_WORD = struct.Struct("<I")
_PAIR = struct.Struct("<II")
_NUMBERS = {
    "int32": struct.Struct("<IIi"),
    "int64": struct.Struct("<IIq"),
}
_TYPES = {"int32": (_INT32, 4), "int64": (_INT64, 8)}


def encode(columns: Mapping[str, tuple[str, Sequence[Any]]]) -> list[bytes]:
    """Keys of many entities.

    Args:
        columns: Join key -> (`text`, `int64` or `int32`, its values).

    Raises:
        HandshakeError: N5 when a value is null.
    """
    names = sorted(columns)
    prefix = _WORD.pack(len(names)) + b"".join(
        _PAIR.pack(_TEXT, len(name.encode())) + name.encode() for name in names
    )
    parts = [_encoded(name, *columns[name]) for name in names]
    if len(parts) == 1:
        return [prefix + part for part in parts[0]]
    return [prefix + b"".join(part) for part in zip(*parts, strict=True)]


def _encoded(name: str, kind: str, values: Sequence[Any]) -> list[bytes]:
    if any(value is None for value in values):
        raise HandshakeError(
            "N5",
            found=f"a row has no {name}",
            where="rows for the online store",
            mend="leave rows without their key out of the source",
        )
    if kind == "text":
        texts = [value.encode() for value in values]
        heads = {size: _PAIR.pack(_TEXT, size) for size in set(map(len, texts))}
        return [heads[len(text)] + text for text in texts]
    pack, head = _NUMBERS[kind].pack, _TYPES[kind]
    return [pack(*head, value) for value in values]
