"""The objects of a whole Feast registry, by project and name: protobuf in, values out."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from feast.protos.feast.core.DataSource_pb2 import DataSource
from feast.protos.feast.core.Entity_pb2 import Entity as EntityMessage
from feast.protos.feast.core.FeatureService_pb2 import FeatureService
from feast.protos.feast.core.FeatureView_pb2 import FeatureView
from feast.protos.feast.core.FeatureViewVersion_pb2 import FeatureViewVersionRecord
from feast.protos.feast.core.LabelView_pb2 import LabelView
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView
from feast.protos.feast.core.StreamFeatureView_pb2 import StreamFeatureView

from firnline.adapters.feast_guard.meaning import Meaning, meaning
from firnline.adapters.feast_guard.published_file import Entry
from firnline.adapters.feast_guard.rules import Key

HISTORY = "history"
# Where a registry keeps each kind of object, and the family of names it belongs to.
_LISTS: dict[str, tuple[str, Any]] = {
    "entities": ("entity", EntityMessage),
    "data_sources": ("source", DataSource),
    "feature_views": ("view", FeatureView),
    "stream_feature_views": ("view", StreamFeatureView),
    "on_demand_feature_views": ("view", OnDemandFeatureView),
    "label_views": ("view", LabelView),
    "feature_services": ("service", FeatureService),
}
_FIELDS = {kind.DESCRIPTOR.name: field for field, (_, kind) in _LISTS.items()}
_KINDS = {kind.DESCRIPTOR.name: kind for _, kind in _LISTS.values()} | {
    "FeatureViewVersionRecord": FeatureViewVersionRecord
}
_HISTORY_KINDS: dict[str, Any] = {
    "feature_view": FeatureView,
    "stream_feature_view": StreamFeatureView,
    "on_demand_feature_view": OnDemandFeatureView,
    "label_view": LabelView,
}


def entries(registry: Any) -> list[Entry]:
    """Every object that can be published, and every version Feast keeps of a view.

    Args:
        registry: Feast's Registry message.
    """
    found = [
        _entry(holder.project, family, holder.name, message)
        for field, (family, _) in _LISTS.items()
        for message in getattr(registry, field)
        for holder in [message if family == "source" else message.spec]
    ]
    for record in registry.feature_view_version_history.records:
        name = f"{record.feature_view_name}@{record.version_number}"
        found.append(_entry(record.project_id, HISTORY, name, record))
    return found


def meanings(found: Iterable[Entry]) -> dict[str, dict[Key, Meaning]]:
    """Project -> key -> what an object means; versions that Feast keeps are left out.

    Where a name is taken twice, the first stands: see `twice`.
    """
    sorted_out: dict[str, dict[Key, Meaning]] = {}
    for entry in found:
        objects = sorted_out.setdefault(entry.project, {})
        key = Key(entry.family, entry.name)
        if entry.family != HISTORY and key not in objects:
            objects[key] = _meaning(entry)
    return sorted_out


def twice(found: Iterable[Entry]) -> set[tuple[str, Key]]:
    """Names that two objects hold: Feast would then read whichever it looks for first."""
    seen: set[tuple[str, Key]] = set()
    double: set[tuple[str, Key]] = set()
    for entry in found:
        key = (entry.project, Key(entry.family, entry.name))
        (double if key in seen else seen).add(key)
    return double


def histories(found: Iterable[Entry]) -> dict[tuple[str, str], Entry]:
    """(project, `view@number`) -> version that Feast keeps of a view."""
    return {(entry.project, entry.name): entry for entry in found if entry.family == HISTORY}


def viewed(history: Entry) -> tuple[str, str]:
    """(name of the view, its kept version's number) of a history entry."""
    name, _, number = history.name.rpartition("@")
    return name, number


def history_meaning(history: Entry) -> Meaning:
    """What a version that Feast keeps of a view means."""
    record = message_of(history)
    kind = _HISTORY_KINDS[record.feature_view_type]
    return meaning(kind.FromString(record.feature_view_proto))


def message_of(entry: Entry) -> Any:
    """The protobuf message of an entry."""
    return _KINDS[entry.kind].FromString(entry.message)


def put_back(registry: Any, wanted: Iterable[Entry]) -> None:
    """Put objects into a registry in place of whatever holds their names there.

    Args:
        registry: Feast's Registry message; changed.
        wanted: What it is to hold.
    """
    by_name = {(entry.project, entry.family, entry.name): entry for entry in wanted}
    for field, (family, _) in _LISTS.items():
        kept = [
            message
            for message in getattr(registry, field)
            for holder in [message if family == "source" else message.spec]
            if (holder.project, family, holder.name) not in by_name
        ]
        kept += [
            message_of(entry) for entry in by_name.values() if _FIELDS.get(entry.kind) == field
        ]
        _replace(registry, field, kept)
    history = registry.feature_view_version_history
    records = [
        record
        for record in history.records
        if (record.project_id, HISTORY, f"{record.feature_view_name}@{record.version_number}")
        not in by_name
    ]
    records += [message_of(entry) for entry in by_name.values() if entry.family == HISTORY]
    _replace(history, "records", records)


def changed(before: Any, after: Any) -> set[tuple[str, str, str]]:
    """(list, project, name) of everything that differs between two registries.

    Projects are left out: Feast adds them by itself as it reads.
    """
    was, now = dict(_everything(before)), dict(_everything(after))
    return {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}


def _everything(registry: Any) -> Iterator[tuple[tuple[str, str, str], bytes]]:
    for field, value in registry.ListFields():
        if not field.is_repeated or field.name in ("projects", "project_metadata"):
            continue
        for message in value:
            holder = getattr(message, "spec", message)
            yield (field.name, holder.project, holder.name), canonical(message)


def canonical(message: Any) -> bytes:
    """A message's bytes, whatever the order of its maps in memory."""
    return bytes(message.SerializeToString(deterministic=True))


@lru_cache(maxsize=8192)
def _meaning(entry: Entry) -> Meaning:
    """Kept by the object's bytes: a client reads the same few hundred at every write."""
    return meaning(message_of(entry))


def _entry(project: str, family: str, name: str, message: Any) -> Entry:
    return Entry(project, family, name, message.DESCRIPTOR.name, canonical(message))


def _replace(holder: Any, field: str, messages: list[Any]) -> None:
    copies = [type(message).FromString(message.SerializeToString()) for message in messages]
    holder.ClearField(field)
    getattr(holder, field).extend(copies)
