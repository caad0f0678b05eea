"""The triggers in the database: clients that know nothing of firnline."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from feast.infra.registry.sql import SqlRegistry as FeastRegistry
from feast.infra.registry.sql import SqlRegistryConfig

from tests.resources.feast_versions import PROJECT, device, line, service, view
from tests.resources.postgres import server
from tests.resources.sql_registries import SqlRegistry, refused, registry

pytestmark = pytest.mark.filterwarnings("ignore")
ROW = "feature_view_name, project_id, last_updated_timestamp, feature_view_proto"
HISTORY = "feature_view_version_history"
TAKES = "SET feature_view_name = 'window_v1' WHERE feature_view_name = 'draft_v1'"
ANYWHERE = [
    ("G1", "UPDATE feature_views SET feature_view_proto = :bytes"),
    ("G1", "UPDATE feature_views SET feature_view_name = 'away' WHERE project_id = 'plant'"),
    ("G1", f"UPDATE feature_views {TAKES}"),
    ("G1", f"INSERT INTO stream_feature_views ({ROW}) VALUES ('window_v1', 'plant', 1, :bytes)"),
    ("G1", f"INSERT INTO on_demand_feature_views ({ROW}) SELECT {ROW} FROM feature_views"),
    ("G2", "DELETE FROM feature_views WHERE feature_view_name = 'window_v1'"),
    ("G4", "UPDATE feature_services SET feature_service_proto = :bytes"),
    ("G5", "DELETE FROM feature_services"),
    ("G6", "UPDATE data_sources SET data_source_proto = :bytes"),
    ("G6", "DELETE FROM entities WHERE entity_name = 'device'"),
    ("G7", f"UPDATE {HISTORY} SET feature_view_proto = :bytes"),
    ("G7", f"DELETE FROM {HISTORY}"),
    ("G7", f"INSERT INTO {HISTORY} VALUES ('window_v1', 'plant', 7, 'x', :bytes, 1, '', '')"),
    ("G7", "DELETE FROM firnline_published"),
    ("G7", "UPDATE firnline_published SET digest = 'other'"),
    ("G2", "DELETE FROM projects"),
    ("G2", "UPDATE projects SET project_id = 'other', project_name = 'other'"),
]
UPSERT = (
    f"INSERT INTO feature_views ({ROW}) VALUES ('window_v1', 'plant', 1, :bytes) "
    "ON CONFLICT (feature_view_name, project_id) DO UPDATE SET feature_view_proto = :bytes"
)
ROW_ID = "(SELECT rowid FROM feature_views WHERE feature_view_name = 'window_v1')"
OLD_ROW_ID = f"(SELECT rowid FROM {HISTORY} WHERE feature_view_name = 'window_v1')"
# REPLACE removes the row in its way without a delete trigger, found by its key or its row id.
SQLITE = [
    ("G1", UPSERT),
    ("G1", f"REPLACE INTO feature_views ({ROW}) VALUES ('window_v1', 'plant', 1, :bytes)"),
    ("G1", f"REPLACE INTO feature_views (rowid, {ROW}) VALUES ({ROW_ID}, 'x', 'y', 1, :bytes)"),
    ("G1", f"UPDATE OR REPLACE feature_views SET rowid = {ROW_ID} WHERE rowid <> {ROW_ID}"),
    ("G1", f"UPDATE OR REPLACE feature_views {TAKES}"),
    ("G7", f"REPLACE INTO {HISTORY} SELECT * FROM {HISTORY}"),
    ("G7", f"UPDATE OR REPLACE {HISTORY} {TAKES}"),
    ("G7", f"UPDATE OR REPLACE {HISTORY} SET rowid = {OLD_ROW_ID} WHERE rowid <> {OLD_ROW_ID}"),
    ("G7", "REPLACE INTO firnline_published SELECT * FROM firnline_published"),
]
POSTGRES = [
    ("G1", UPSERT),
    ("G7", "TRUNCATE feature_views"),
    ("G7", "TRUNCATE data_sources, entities, feature_services"),
    ("G7", "TRUNCATE feature_view_version_history"),
    ("G7", "TRUNCATE firnline_published"),
]


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> SqlRegistry:
    folder = tmp_path_factory.mktemp("sqlite")
    return _published(f"sqlite:///{folder / 'registry.db'}", folder)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlRegistry]:
    with server() as url:
        made = _published(url, tmp_path_factory.mktemp("postgres"))
        yield made
        made.close()


def _published(bare: str, folder: Path) -> SqlRegistry:
    made = registry(bare, folder, line())
    made.store().apply([device(), view(), service(), view("draft@v1")])
    return made


@pytest.mark.parametrize(("code", "statement"), ANYWHERE + SQLITE)
def test_sqlite_refuses(sqlite: SqlRegistry, code: str, statement: str) -> None:
    values = {"bytes": b"\x00"} if ":bytes" in statement else {}
    refused(sqlite, code, lambda: sqlite.sql(statement, **values))


@pytest.mark.parametrize(("code", "statement"), ANYWHERE + POSTGRES)
def test_postgres_refuses(postgres: SqlRegistry, code: str, statement: str) -> None:
    values = {"bytes": b"\x00"} if ":bytes" in statement else {}
    refused(postgres, code, lambda: postgres.sql(statement, **values))


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_feast_without_the_plugin_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    made: SqlRegistry = request.getfixturevalue(kind)
    bare = FeastRegistry(SqlRegistryConfig(path=made.bare), PROJECT, None)
    changed = view(ttl=timedelta(minutes=1))
    refused(made, "G1", lambda: bare.apply_feature_view(changed, PROJECT))
    refused(made, "G2", lambda: bare.delete_feature_view("window_v1", PROJECT))
    told = refused(made, "G1", lambda: bare.apply_feature_view(view(owner="me"), PROJECT))
    assert "?plugin=firnline" in told
    bare.apply_feature_view(view("draft@v1", ttl=timedelta(minutes=1)), PROJECT)
    assert bare.get_feature_view("draft_v1", PROJECT).ttl == timedelta(minutes=1)
    bare.write_engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_words_name_the_version_its_readers_and_the_next(
    kind: str, request: pytest.FixtureRequest
) -> None:
    made: SqlRegistry = request.getfixturevalue(kind)
    told = refused(made, "G2", lambda: made.sql("DELETE FROM feature_views"))
    assert "view window_v1 (read by service encoder_reads)" in told
    assert "define window_v2 beside it" in told


@pytest.mark.parametrize(
    "taken",
    [
        "ALTER TABLE feature_views DISABLE TRIGGER firnline_feature_views",
        "DROP TRIGGER firnline_feature_views ON feature_views",
        "CREATE OR REPLACE FUNCTION firnline_guard() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN NULL; END'",
    ],
)
def test_what_was_taken_away_comes_back_with_the_next_write(
    postgres: SqlRegistry, taken: str
) -> None:
    postgres.sql(taken)
    postgres.store().apply([view("draft@v1", description=taken)])
    refused(postgres, "G2", lambda: postgres.sql("DELETE FROM feature_views"))
