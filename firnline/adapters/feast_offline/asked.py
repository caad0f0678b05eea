"""What a call of Feast's asks for, in this store's words."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from feast.feature_view import DUMMY_ENTITY_ID
from feast.infra.offline_stores.offline_store import RetrievalMetadata

from firnline.adapters.feast_offline import join, parquet, sources
from firnline.adapters.feast_offline.match import Rows
from firnline.adapters.feast_offline.times import LATEST, span_nanoseconds
from firnline.digest import short
from firnline.errors import HandshakeError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place_of(config: Any) -> sources.Place:
    """What sources are resolved against, from the repository's configuration."""
    settings = config.offline_store
    repository = Path(config.repo_path or ".").absolute()
    data = None if settings.data is None else repository / settings.data
    return sources.Place(repository, data, settings.snapshots, settings.verify)


def columns_of(source: Any, place: sources.Place) -> parquet.Table:
    """A source by one of its files, which tells its columns.

    Raises:
        HandshakeError: O1 or O2 when it is not there, a P-code when it is damaged.
    """
    pinned = sources.resolve(source, place)
    return parquet.open_table([sources.any_file(pinned)], pinned.name)


def raw_names(source: Any) -> dict[str, str]:
    """Name that views use -> name in the files, where a source maps it."""
    return {new: old for old, new in source.field_mapping.items()}


def batch_source(view: Any) -> Any:
    """Where a view's rows are kept.

    Raises:
        HandshakeError: O1 when it has no such source.
    """
    if view.batch_source is None:
        raise HandshakeError(
            "O1",
            found="no batch source",
            where=f"view {view.name}",
            mend="give the view a FileSource, or its push source a batch source",
        )
    return view.batch_source


def views(
    feature_views: Sequence[Any], references: Sequence[str], full_names: bool, place: sources.Place
) -> list[join.View]:
    """Feast's views, pinned to their data, with what is asked of each.

    Args:
        feature_views: Feast's views with their projections.
        references: `view:feature`, in the order of the output.
        full_names: Whether a column begins with its view's name.
        place: What sources are resolved against.

    Raises:
        HandshakeError: O1, O2 or O10 when a view's data is not there or not its own.
    """
    found = []
    for view in feature_views:
        used = view.projection
        raw = raw_names(batch_source(view))
        prefix = f"{used.name_to_use()}:"
        shown = f"{used.name_alias or view.name}__" if full_names else ""
        features = [item.removeprefix(prefix) for item in references if item.startswith(prefix)]
        keys = [item.name for item in view.entity_columns if item.name != DUMMY_ENTITY_ID]
        found.append(
            join.View(
                rows=_rows(view, keys, place),
                entity=tuple(used.join_key_map.get(name, name) for name in keys),
                ttl=span_nanoseconds(view.ttl) if view.ttl else None,
                columns=tuple((raw.get(name, name), shown + name) for name in features),
            )
        )
    return found


def _rows(view: Any, keys: Sequence[str], place: sources.Place) -> Rows:
    source = batch_source(view)
    raw = raw_names(source)
    pinned = sources.resolve(source, place)
    _same_version(view, pinned)
    created = source.created_timestamp_column
    return Rows(
        name=view.name,
        source=pinned,
        keys=tuple(raw.get(name, name) for name in keys),
        timestamp=raw.get(source.timestamp_field, source.timestamp_field),
        created=raw.get(created, created) or None,
    )


def _same_version(view: Any, source: sources.Source) -> None:
    """Data and definition carry the digest of the version; a view without a tag says nothing."""
    tagged = view.tags.get("digest")
    if source.snapshot is None or tagged in (None, source.snapshot.view):
        return
    raise HandshakeError(
        "O10",
        found=f"the view is #{short(tagged)}, its data is of #{short(source.snapshot.view)}",
        where=f"view {view.name}, snapshot {short(source.snapshot.digest)}",
        mend="compute the version's data again, or apply the definition that the data is of",
    )


def snapshots(pinned: Iterable[sources.Source]) -> Mapping[str, str]:
    """Published table -> digest of the snapshot that is read."""
    found = {item.snapshot.table: item.snapshot.digest for item in pinned if item.snapshot}
    return dict(sorted(found.items()))


def metadata(entities: Any, time: str, references: Sequence[str]) -> RetrievalMetadata:
    """What Feast keeps of a retrieval beside a saved dataset."""
    ends = pc.min_max(entities[time])
    return RetrievalMetadata(
        features=list(references),
        keys=[name for name in entities.column_names if name != time],
        min_event_timestamp=ends["min"].as_py(),
        max_event_timestamp=ends["max"].as_py(),
    )


def epoch_nanoseconds(moment: datetime) -> int:
    """A time without a zone is UTC, as Feast's own dates are."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(span_nanoseconds(aware - _EPOCH), LATEST)
