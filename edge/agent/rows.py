"""Requests for scores as JSON lines: one row a line, checked before it is scored."""

import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.errors import DeliveryError, FirnlineError

_KEYS = ("id", "key", "window_end", "row")
_LONGEST = 128
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Request:
    """A row to score.

    Attributes:
        id: What the caller names it; drawn where the caller does not.
        key: The entity it is about, as the caller gave it; empty where not given.
        window_end: End of its window, ISO 8601 with an offset; empty where not given.
        row: float32 [columns], NaN where a value is missing.
    """

    id: str
    key: str
    window_end: str
    row: NDArray[np.float32]


def parse(content: bytes, columns: Sequence[str]) -> Request:
    """A request from its line.

    `{"row": [1.5, null, ...]}` or `{"row": {"column": 1.5, ...}}`, with `id`, `key` and
    `window_end` when the caller has them; null stands for a missing value.

    Args:
        content: The line.
        columns: Of the ensemble, in order.

    Raises:
        DeliveryError: U31, naming the field that is wrong.
    """
    try:
        found = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise malformed(f"no JSON: {str(error)[:100]}", "a line") from error
    if not isinstance(found, dict):
        raise malformed(f"{type(found).__name__}, not an object", "a line")
    spare = sorted(set(found) - set(_KEYS))
    if spare:
        raise malformed(f"unknown {', '.join(map(repr, spare))[:100]}", "a request")
    if "row" not in found:
        raise malformed("no `row`", "a request")
    return Request(
        id=_text(found.get("id"), "id") or uuid.uuid4().hex,
        key=_text(found.get("key"), "key"),
        window_end=_moment(_text(found.get("window_end"), "window_end")),
        row=_row(found["row"], columns),
    )


def refusal(content: bytes, error: FirnlineError) -> dict[str, Any]:
    """The answer to a line that could not be scored, with its id where one can be read."""
    try:
        found = json.loads(content)
        name = found.get("id") if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        name = None
    known = isinstance(name, str) and len(name) <= _LONGEST
    return {"id": name if known else None, "error": error.document()}


def malformed(found: str, where: str) -> DeliveryError:
    """The error for a request that cannot be understood: U31."""
    return DeliveryError(
        "U31",
        found=found,
        where=where,
        mend='send lines such as {"id": "r1", "key": "unit-1", "window_end": '
        '"2026-01-01T00:15:00Z", "row": [0.5, null]}',
    )


def _row(value: Any, columns: Sequence[str]) -> NDArray[np.float32]:
    if isinstance(value, Mapping):
        lacking = [name for name in columns if name not in value]
        known = set(columns)
        spare = [name for name in value if name not in known]
        if lacking or spare:
            told = f"lacks {lacking[0]!r}" if lacking else f"has an unknown {spare[0][:80]!r}"
            raise malformed(f"a row that {told}", "row")
        value = [value[name] for name in columns]
    if not isinstance(value, list) or len(value) != len(columns):
        told = f"{len(value)} values" if isinstance(value, list) else type(value).__name__
        raise malformed(f"{told}, not {len(columns)} values", "row")
    return np.array(
        [_number(part, name) for part, name in zip(value, columns, strict=True)], np.float32
    )


def _number(value: Any, column: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
        raise malformed(f"{str(value)[:40]!r}, no number of 32 bits", f"row, {column}")
    return float(value)


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise malformed(f"{str(value)[:40]!r}, no text of at most {_LONGEST} characters", name)
    return value


def _moment(value: str) -> str:
    if value:
        try:
            known = datetime.fromisoformat(value).tzinfo is not None
        except ValueError:
            known = False
        if not known:
            raise malformed(f"{value!r}, no time with an offset", "window_end")
    return value


def _no_number(value: str) -> float:
    raise ValueError(f"{value} is no number of JSON")
