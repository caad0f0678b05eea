"""Rows that leave features out: Feast keeps the values those had, so they are read first."""

from collections.abc import Sequence
from typing import Any

from feast.infra.key_encoding_utils import serialize_entity_key

from firnline.adapters.feast_online.codec import unpack
from firnline.adapters.feast_online.feast_values import FeastRow, messages
from firnline.adapters.feast_online.rows import Rows


def completed(
    rows: Rows, table: str, data: Sequence[FeastRow], view: Any, version: int
) -> list[FeastRow]:
    """Rows with the features they leave out, as far as the store or an earlier row has them.

    Args:
        rows: The store.
        table: The view's table.
        data: As Feast gives them to `online_write_batch`.
        view: The Feast view.
        version: Feast's entity key serialisation version.
    """
    declared = [field.name for field in view.features]
    if all(len(row[1]) >= len(declared) for row in data) or rows.digest(table) is None:
        return _merged(data, {}, version) if _partial(data, declared) else list(data)
    keys = list({serialize_entity_key(row[0], version): None for row in data})
    known: dict[bytes, dict[str, Any]] = {}
    for key, stored in zip(keys, rows.read(table, keys), strict=True):
        if stored is not None:
            layout = rows.layout(stored.layout)
            names = [name for name, _ in layout.fields]
            columns = unpack(layout, [stored.row], names)
            known[key] = {name: messages(columns[name], layout.kinds[name])[0] for name in names}
    return _merged(data, known, version)


def _partial(data: Sequence[FeastRow], declared: Sequence[str]) -> bool:
    return any(len(row[1]) < len(declared) for row in data)


def _merged(
    data: Sequence[FeastRow], known: dict[bytes, dict[str, Any]], version: int
) -> list[FeastRow]:
    found: list[FeastRow] = []
    for key, features, event, created in data:
        encoded = bytes(serialize_entity_key(key, version))
        known[encoded] = {**known.get(encoded, {}), **features}
        found.append((key, known[encoded], event, created))
    return found
