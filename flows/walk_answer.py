"""One answer of a device's score log: found by what it is known by, and recomputed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from firnline.digest import short
from firnline.errors import DeliveryError
from flows.walk_links import Seen

NEWEST = "newest"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FEWEST_DIGITS = 6


@dataclass(frozen=True)
class Answer:
    """What a device logged of one answer.

    Attributes:
        id: Its identity, 32 hex digits.
        request: What the caller named the request.
        device: The device's name.
        entity: Key of what the row is about.
        time: When the row's window ended, epoch microseconds UTC.
        release: Digest of the bundle that answered.
        features: Digest of the row's float32 bytes.
        score: The score.
        flagged: Whether it lay above the threshold.
        fault: Name of the most probable class; empty without classes.
    """

    id: str
    request: str
    device: str
    entity: str
    time: int
    release: str
    features: str
    score: np.float32
    flagged: bool
    fault: str


def find(log: Path, wanted: str) -> Mapping[str, Any]:
    """The record of an answer.

    Args:
        log: Folder of a score log, or one segment of it.
        wanted: The answer's id or the first digits of it, its request, or `newest`.

    Raises:
        DeliveryError: W1 the log holds no such answer, or more than one; U34 a segment was
            altered.
    """
    from edge.agent.scores import read

    if not log.exists():
        raise _unknown("there is no such file or folder", log, "name a score log: --log FOLDER")
    found: dict[str, Mapping[str, Any]] = {}
    records = 0
    for record in read(log):
        records += 1
        if wanted == NEWEST:
            found = {str(record.get("answer")): record}
        elif _is(record, wanted):
            found[str(record.get("answer"))] = record
    if not found:
        told = f"none of its {records:,} answers is {wanted!r}"
        raise _unknown(told, log, f"name an answer's id, its request, or `{NEWEST}`")
    if len(found) > 1:
        listed = ", ".join(sorted(found)[:5])
        told = f"{len(found)} of its {records:,} answers are {wanted!r}: {listed}"
        raise _unknown(told, log, "give more digits of the answer's id")
    return next(iter(found.values()))


def recomputed(record: Mapping[str, Any]) -> tuple[Seen, Answer]:
    """The answer a record tells of, once its identity was computed again.

    Raises:
        DeliveryError: W2, the record lacks a field, or does not have the identity it names.
    """
    from edge.agent.score_records import answer_id

    try:
        answer = Answer(
            id=str(record["answer"]),
            request=str(record["request"]),
            device=str(record["device"]),
            entity=str(record["key"]),
            time=_microseconds(record["window_end"]),
            release=str(record["release"]),
            features=str(record["features"]),
            score=np.float32(record["score"]),
            flagged=bool(record["flagged"]),
            fault=str(record["fault"] or ""),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _altered(
            record,
            f"it does not say of which entity and window it is: {type(error).__name__}: {error}",
            "give `key` and `window_end` with every row that is scored",
        ) from error
    made = answer_id(answer.device, answer.release, answer.request, answer.features)
    if made != answer.id:
        raise _altered(
            record,
            f"its device, release, request and row make {made}",
            "take the log from the device again; this record was altered",
        )
    seen = Seen(
        f"{answer.device} answered {answer.request!r} with row {short(answer.features)}",
        {"answer": made},
    )
    return seen, answer


def _is(record: Mapping[str, Any], wanted: str) -> bool:
    by_id = len(wanted) >= _FEWEST_DIGITS and str(record.get("answer")).startswith(wanted.lower())
    return by_id or record.get("request") == wanted


def _microseconds(text: str) -> int:
    """A time as the device logs it: ISO 8601 with its offset."""
    # In UTC, or the last hours of the year 9999 would lie beyond the end of all dates.
    at = datetime.fromisoformat(text).astimezone(UTC)
    return (at - _EPOCH) // timedelta(microseconds=1)


def _unknown(found: str, log: Path, mend: str) -> DeliveryError:
    return DeliveryError("W1", found=found, where=str(log), mend=mend)


def _altered(record: Mapping[str, Any], found: str, mend: str) -> DeliveryError:
    where = f"answer {str(record.get('answer'))[:40]}"
    return DeliveryError("W2", found=found, where=where, mend=mend)
