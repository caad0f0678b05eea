"""Columns as the protobuf bytes of Feast's online response, without a message a value.

Feast's response holds a message a value; making two thousand of them takes longer than reading
them. Their wire format (protobuf encoding guide: tag, length, payload) is simple enough to be
written a column at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.protos.feast.types.Value_pb2 import Value
from numpy.typing import NDArray

from firnline.adapters.feast_online.codec import Column
from firnline.adapters.feast_online.feast_values import MEMBERS

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_VECTOR = GetOnlineFeaturesResponse.FeatureVector
_VALUES = _VECTOR.VALUES_FIELD_NUMBER << 3 | _LENGTH
_STATUSES = _VECTOR.STATUSES_FIELD_NUMBER << 3 | _LENGTH
_TIMES = _VECTOR.EVENT_TIMESTAMPS_FIELD_NUMBER << 3 | _LENGTH
_RESULTS = GetOnlineFeaturesResponse.RESULTS_FIELD_NUMBER << 3 | _LENGTH
_SECONDS, _NANOS = 1 << 3, 2 << 3
_NULL = bytes((_VALUES, 0))
_UNSIGNED = (1 << 64) - 1
_FLOATS = {"double": (_FIXED64, "<f8"), "float": (_FIXED32, "<f4")}


def varint(number: int) -> bytes:
    """A number in groups of seven bits, the lowest first; a negative one as 64 bits."""
    number &= _UNSIGNED
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def values(column: Column, kind: str) -> list[bytes]:
    """Each value as a member `values` of a feature vector; an empty one where it is null."""
    if kind in _FLOATS:
        wire, dtype = _FLOATS[kind]
        width = np.dtype(dtype).itemsize
        cells = np.empty(
            len(column.valid), np.dtype([("head", "u1", 3), ("value", dtype)], align=False)
        )
        cells["head"] = (_VALUES, width + 1, _tag(kind) | wire)
        cells["value"] = column.values
        found: list[bytes] = cells.view(f"V{width + 3}").tolist()
    elif isinstance(column.values, list):
        head = b"" if kind == "value" else bytes((_tag(kind) | _LENGTH,))
        found = [
            _delimited(_VALUES, head + varint(len(item)) + item if head else item)
            for item in column.values
        ]
    else:
        head = bytes((_tag(kind) | _VARINT,))
        found = [
            _delimited(_VALUES, head + varint(number))
            for number in column.values.astype(np.int64).tolist()
        ]
    if column.valid.all():
        return found
    return [
        item if valid else _NULL for item, valid in zip(found, column.valid.tolist(), strict=True)
    ]


def times(event_us: Sequence[int | None]) -> bytes:
    """Event times of a feature vector's rows; an empty one where there is no row."""
    known = {
        time: bytes((_TIMES, 0)) if time is None else _delimited(_TIMES, _timestamp(time))
        for time in set(event_us)
    }
    return b"".join(known[time] for time in event_us)


def vector(cells: Sequence[bytes], present: NDArray[np.bool_], times_: bytes) -> bytes:
    """One feature's vector as a member `results` of the response.

    Args:
        cells: Shape [n], as `values` gives them, `NULL` where there is no row.
        present: Shape [n]; False where there is no row, or it lacks the feature.
        times_: As `times` gives them.
    """
    found = np.where(present, FieldStatus.PRESENT, FieldStatus.NOT_FOUND).astype(np.uint8)
    return _delimited(_RESULTS, b"".join(cells) + _delimited(_STATUSES, found.tobytes()) + times_)


NULL = _NULL


def _timestamp(event_us: int) -> bytes:
    seconds, rest = divmod(event_us, 1_000_000)
    head = bytes((_SECONDS,)) + varint(seconds) if seconds else b""
    return head + (bytes((_NANOS,)) + varint(rest * 1_000) if rest else b"")


def _delimited(tag: int, content: bytes) -> bytes:
    return bytes((tag,)) + varint(len(content)) + content


def _tag(kind: str) -> int:
    number: Any = Value.DESCRIPTOR.fields_by_name[MEMBERS[kind]].number
    return int(number) << 3
