"""Feast's online response with a quicker way to Python values."""

from typing import Any

from feast import ValueType
from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.type_map import feast_value_type_to_python_type

_PLAIN = {
    ValueType.DOUBLE: "double_val",
    ValueType.FLOAT: "float_val",
    ValueType.INT64: "int64_val",
    ValueType.INT32: "int32_val",
    ValueType.BOOL: "bool_val",
    ValueType.STRING: "string_val",
    ValueType.BYTES: "bytes_val",
}


class Response(OnlineResponse):  # type: ignore[misc]  # Feast ships no types
    """The response a store gave, which tells plain values from others once a feature.

    Args:
        given: What Feast made.
    """

    def __init__(self, given: Any) -> None:
        self.proto = given.proto
        self._feature_types = given._feature_types

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, Any]:
        """Name -> values, in the order of the request's rows.

        Args:
            include_event_timestamps: Add `<name>__ts`, epoch seconds.
        """
        found: dict[str, Any] = {}
        for name, vector in zip(
            self.proto.metadata.feature_names.val, self.proto.results, strict=True
        ):
            found[name] = _python(vector.values, self._feature_types.get(name))
            if include_event_timestamps:
                found[name + TIMESTAMP_POSTFIX] = [time.seconds for time in vector.event_timestamps]
        return found


def _python(values: Any, declared: Any) -> list[Any]:
    member = _PLAIN.get(declared)
    return [
        getattr(value, member)
        if member is not None and value.HasField(member)
        else feast_value_type_to_python_type(value, declared)
        for value in values
    ]
