"""The point-in-time join, written out slowly from its definition."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any


def as_of(
    candidates: Iterable[tuple[int, dict[str, Any]]],
    now: datetime | None,
    ttl: timedelta | None,
    known_by_then: bool,
) -> dict[str, Any] | None:
    """The newest of the candidates at `now`; each with its place in the source."""
    best: tuple[Any, dict[str, Any]] | None = None
    for place, row in candidates:
        if now is None or row["ts"] is None or row["ts"] > now:
            continue
        if ttl is not None and row["ts"] < now - ttl:
            continue
        created = row.get("created")
        if known_by_then and "created" in row and (created is None or created > now):
            continue
        rank = (row["ts"], created is not None, created or now, place)
        if best is None or rank > best[0]:
            best = (rank, row)
    return best[1] if best else None


def join(
    entities: Sequence[dict[str, Any]],
    features: Sequence[dict[str, Any]],
    keys: Sequence[str],
    ttl: timedelta | None,
    known_by_then: bool = False,
) -> list[Any]:
    """The value of `v` for each entity row; None without a match."""
    by_key = defaultdict(list)
    for place, row in enumerate(features):
        by_key[tuple(row[key] for key in keys)].append((place, row))
    found = []
    for row in entities:
        key = tuple(row[name] for name in keys)
        mine = [] if None in key else by_key[key]
        best = as_of(mine, row["event_timestamp"], ttl, known_by_then)
        found.append(best["v"] if best else None)
    return found
