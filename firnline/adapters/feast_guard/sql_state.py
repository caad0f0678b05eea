"""What a SQL registry holds and what it has published: rows in, meanings out.

The guard keeps three tables beside Feast's. `firnline_published` only grows: a row an object, with
its message as it was. `firnline_permit` is empty outside of a transaction: a row lets one rewrite
of a published object through the triggers, with exactly the bytes that were checked.
`firnline_refusal` holds the words that PostgreSQL's triggers refuse with.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    and_,
    column,
    insert,
    inspect,
    select,
    table,
    update,
)

from firnline.adapters.feast_guard.meaning import Meaning, meaning
from firnline.adapters.feast_guard.rules import Key, Rules, dependants, read_by
from firnline.digest import canonical_json, digest
from firnline.errors import HandshakeError

# Marks the guard's own statements, which it does not check again.
OWN = {"firnline_own": True}
HISTORY = "feature_view_version_history"
PROJECTS = "projects"

_metadata = MetaData()
_key = (("project_id", 255), ("family", 16), ("object_name", 255))
PUBLISHED = Table(
    "firnline_published",
    _metadata,
    *(Column(name, String(length), primary_key=True) for name, length in _key),
    Column("table_name", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("meaning", Text, nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("published_at", String(32), nullable=False),
    # Without row ids, so that no INSERT OR REPLACE can hit a row by one.
    sqlite_with_rowid=False,
)
PERMIT = Table(
    "firnline_permit",
    _metadata,
    Column("table_name", String(64), nullable=False),
    Column("project_id", String(255), nullable=False),
    Column("object_name", String(255), nullable=False),
    Column("content", LargeBinary, nullable=False),
)
REFUSAL = Table(
    "firnline_refusal",
    _metadata,
    *(Column(name, String(length), primary_key=True) for name, length in _key),
    Column("changed", Text, nullable=False),
    Column("removed", Text, nullable=False),
)
OWN_TABLES = (PUBLISHED, PERMIT, REFUSAL)


@dataclass(frozen=True)
class Guarded:
    """One of Feast's tables that may hold published objects.

    Attributes:
        table: Its name.
        family: The family of names its objects belong to.
        name: Column of an object's name.
        content: Column of its message.
        kind: The message's type.
    """

    table: str
    family: str
    name: str
    content: str
    kind: str

    def rows(self) -> Any:
        """The table, with the columns that matter here."""
        return table(self.table, column(self.name), column("project_id"), column(self.content))


GUARDED = {
    guarded.table: guarded
    for guarded in (
        *(
            Guarded(name, "view", "feature_view_name", "feature_view_proto", kind)
            for name, kind in (
                ("feature_views", "FeatureView"),
                ("stream_feature_views", "StreamFeatureView"),
                ("on_demand_feature_views", "OnDemandFeatureView"),
                ("label_views", "LabelView"),
            )
        ),
        Guarded(
            "feature_services",
            "service",
            "feature_service_name",
            "feature_service_proto",
            "FeatureService",
        ),
        Guarded("data_sources", "source", "data_source_name", "data_source_proto", "DataSource"),
        Guarded("entities", "entity", "entity_name", "entity_proto", "Entity"),
    )
}
VIEW_KINDS = {
    "feature_view": "FeatureView",
    "stream_feature_view": "StreamFeatureView",
    "on_demand_feature_view": "OnDemandFeatureView",
    "label_view": "LabelView",
}


@dataclass(frozen=True)
class Stored:
    """An object as a registry holds it.

    Attributes:
        table: Feast's table.
        content: Its message.
        meaning: What that means.
    """

    table: str
    content: bytes
    meaning: Meaning


@dataclass(frozen=True)
class PublishedRow:
    """A published object of a SQL registry.

    Attributes:
        project: Feast's project.
        key: Its name and family.
        table: Feast's table that holds it.
        meaning: What it means.
        content: Its message as it was published.
        reason: Why it is published: its reference, or what it reads or stands under.
        published_at: When, as ISO 8601 in UTC.
    """

    project: str
    key: Key
    table: str
    meaning: Meaning = field(hash=False)
    content: bytes
    reason: str
    published_at: str


def meaning_of(kind: str, content: bytes, where: str) -> Meaning:
    """What a message means.

    Raises:
        HandshakeError: G10 when it is no such message, so that nobody can tell what it means.
    """
    try:
        return _meaning(kind, bytes(content))
    except Exception as error:
        raise HandshakeError(
            "G10",
            found=f"the bytes are no {kind} that can be read ({error})",
            where=where,
            mend="write the object through Feast, with the version that firnline pins",
        ) from error


def objects(connection: Connection, project: str) -> dict[Key, Stored]:
    """Every object of a project that could be published, as this transaction sees it."""
    found: dict[Key, Stored] = {}
    for guarded in GUARDED.values():
        rows = guarded.rows()
        query = select(rows.c[guarded.name], rows.c[guarded.content]).where(
            rows.c.project_id == project
        )
        for name, content in connection.execute(query, execution_options=OWN):
            held = Stored(
                guarded.table, bytes(content), meaning_of(guarded.kind, content, guarded.table)
            )
            found.setdefault(Key(guarded.family, name), held)
    return found


def published(source: Engine | Connection, project: str | None = None) -> list[PublishedRow]:
    """What a registry has published; nothing where no guard has ever written to it.

    Args:
        source: An engine of the registry, or a connection whose transaction is to be seen.
        project: One project's; every project's when not given.

    Raises:
        HandshakeError: G7 when a row is not what was written.
    """
    if isinstance(source, Engine):
        with source.connect() as connection:
            return published(connection, project)
    if not inspect(source).has_table(PUBLISHED.name):
        return []
    query = select(PUBLISHED).order_by(*PUBLISHED.primary_key.columns)
    if project is not None:
        query = query.where(PUBLISHED.c.project_id == project)
    return [_published(*row) for row in source.execute(query, execution_options=OWN)]


def publish(connection: Connection, project: str, new: Mapping[Key, Stored], rules: Rules) -> None:
    """Record objects as published; a name that is published already makes the database refuse."""
    meanings = {key: held.meaning for key, held in new.items()} | dict(rules.published)
    standing = read_by(meanings)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for key, held in sorted(new.items()):
        line = rules.lines.get(key.name) if key.family == "view" else None
        under = ", ".join(dependants(key, standing))
        record = {
            "project_id": project,
            "family": key.family,
            "object_name": key.name,
            "table_name": held.table,
            "digest": digest(held.meaning),
            "meaning": canonical_json(held.meaning),
            "message": held.content,
            "reason": line.reference if line else under or "it reads a published version",
            "published_at": now,
        }
        connection.execute(insert(PUBLISHED).values(record), execution_options=OWN)


def permit(connection: Connection, table: str, project: str, name: str, content: bytes) -> None:
    """Let one rewrite of a published object pass the triggers, with exactly these bytes."""
    allowed = {
        "table_name": table,
        "project_id": project,
        "object_name": name,
        "content": content,
    }
    connection.execute(insert(PERMIT).values(allowed), execution_options=OWN)


def put(connection: Connection, row: PublishedRow) -> None:
    """Write a published object's message over what stands under its name, or where nothing does."""
    guarded = GUARDED[row.table]
    stamp: Any = column("last_updated_timestamp")
    rows = table(row.table, *(column(c.name) for c in guarded.rows().columns), stamp)
    here = and_(rows.c.project_id == row.project, rows.c[guarded.name] == row.key.name)
    values = {guarded.content: row.content, stamp.name: int(datetime.now(UTC).timestamp())}
    if connection.execute(update(rows).where(here).values(values), execution_options=OWN).rowcount:
        return
    values |= {guarded.name: row.key.name, "project_id": row.project}
    connection.execute(insert(rows).values(values), execution_options=OWN)


@lru_cache(maxsize=4096)
def _published(
    project: str,
    family: str,
    name: str,
    table: str,
    recorded_digest: str,
    recorded_text: str,
    content: bytes,
    reason: str,
    published_at: str,
) -> PublishedRow:
    """A row of `PUBLISHED`, its columns in order."""
    key = Key(family, name)
    recorded: Meaning = json.loads(recorded_text)
    if digest(recorded) != recorded_digest:
        raise HandshakeError(
            "G7",
            found=f"the record of {key} is not the one its digest was taken of",
            where=PUBLISHED.name,
            mend="put the registry's database back from a backup",
        )
    held = dict(meaning_of(GUARDED[table].kind, content, PUBLISHED.name))
    # The message tells more to a later firnline. But a function's byte code reads as its source
    # only on the Python that wrote it, so what that one made of it stands.
    if "transformation" in recorded:
        held["transformation"] = recorded["transformation"]
    return PublishedRow(project, key, table, held, content, reason, published_at)


@lru_cache(maxsize=4096)
def _meaning(kind: str, content: bytes) -> Meaning:
    return meaning(_messages()[kind].FromString(content))


@cache
def _messages() -> dict[str, Any]:
    from feast.protos.feast.core.DataSource_pb2 import DataSource
    from feast.protos.feast.core.Entity_pb2 import Entity
    from feast.protos.feast.core.FeatureService_pb2 import FeatureService
    from feast.protos.feast.core.FeatureView_pb2 import FeatureView
    from feast.protos.feast.core.LabelView_pb2 import LabelView
    from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView
    from feast.protos.feast.core.StreamFeatureView_pb2 import StreamFeatureView

    kinds = (
        FeatureView,
        StreamFeatureView,
        OnDemandFeatureView,
        LabelView,
        FeatureService,
        DataSource,
        Entity,
    )
    return {kind.DESCRIPTOR.name: kind for kind in kinds}
