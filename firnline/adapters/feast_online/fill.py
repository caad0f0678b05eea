"""Packed rows into Feast's online response: a column at a time, in the view's order."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firnline.adapters.feast_online import wire
from firnline.adapters.feast_online.codec import unpack
from firnline.adapters.feast_online.feast_values import digest_of
from firnline.adapters.feast_online.rows import Rows, Stored, by_layout


def fill(
    response: Any,
    rows: Rows,
    view: Any,
    names: Sequence[str],
    found: Sequence[Stored | None],
    places: Sequence[Sequence[int]],
    size: int,
    full_names: bool,
) -> int:
    """Add a view's features to Feast's response; returns how many values there were.

    Args:
        response: Feast's message.
        rows: Where the rows were read.
        view: The Feast view.
        names: Its features that are asked for, in the view's order.
        found: Each entity's row.
        places: Each entity's rows of the request.
        size: Rows of the request.
        full_names: Whether a feature's name begins with the view's.

    Raises:
        HandshakeError: N1 when a row is of another digest than the view, N3 when one is damaged.
    """
    cells, present = _cells(rows, view, names, found)
    # A row that asks for no entity takes the last: null, and never present.
    source = np.full(size, len(found), np.int64)
    for entity, outputs in enumerate(places):
        source[list(outputs)] = entity
    order = source.tolist()
    events = [None if row is None else row.event_us for row in found] + [None]
    times = wire.times([events[entity] for entity in order])
    prefix = f"{view.projection.name_to_use()}__" if full_names else ""
    response.metadata.feature_names.val.extend(prefix + name for name in names)
    vectors = [
        wire.vector([cells[name][entity] for entity in order], present[name][source], times)
        for name in names
    ]
    response.MergeFromString(b"".join(vectors))
    return sum(int(flags[source].sum()) for flags in present.values())


def count(view: Any, present: int, asked: int) -> None:
    """Count for Feast's metrics, where they are on.

    Args:
        view: The Feast view.
        present: How many of the values there were.
        asked: How many were asked for.
    """
    from feast.metrics import track_feature_statuses

    track_feature_statuses(view.name, present, asked - present)


def tell_version(response: Any, view: Any) -> None:
    """Name a view and its version in Feast's response, once.

    Args:
        response: Feast's message.
        view: The Feast view.
    """
    name = view.projection.name_alias or view.projection.name
    if name not in [known.name for known in response.metadata.feature_view_metadata]:
        told = response.metadata.feature_view_metadata.add()
        told.name = name
        told.version = getattr(view, "current_version_number", 0) or 0


def _cells(
    rows: Rows, view: Any, names: Sequence[str], found: Sequence[Stored | None]
) -> tuple[dict[str, list[bytes]], dict[str, NDArray[np.bool_]]]:
    """Each feature's values as Feast's bytes, and where there are any; one more entry, absent."""
    cells = {name: [wire.NULL] * (len(found) + 1) for name in names}
    present = {name: np.zeros(len(found) + 1, np.bool_) for name in names}
    for layout, at, stored in by_layout(rows, found, digest_of(view), view.name):
        held = [name for name in names if name in layout.kinds]
        columns = unpack(layout, [row.row for row in stored], held)
        for name in held:
            values = wire.values(columns[name], layout.kinds[name])
            for place, cell in zip(at, values, strict=True):
                cells[name][place] = cell
            present[name][at] = True
    return cells, present
