"""The SQL registry's guard, on SQLite and on PostgreSQL: clients with the plugin."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from feast import FeatureStore, Field, Project
from feast.infra.registry.sql import feature_views
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_contents import RepoContents
from feast.types import Float64
from sqlalchemy import insert, text

from firnline.adapters.feast_guard import precheck
from firnline.adapters.feast_guard.sql_plugin import guard_of
from firnline.adapters.feast_guard.sql_restore import restore
from firnline.adapters.feast_guard.sql_state import published
from firnline.errors import HandshakeError
from tests.resources.feast_versions import PROJECT, device, line, service, source, view, write_lock
from tests.resources.postgres import server
from tests.resources.sql_registries import SqlRegistry, refused, registry

pytestmark = pytest.mark.filterwarnings("ignore")
SHORT = timedelta(minutes=1)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with server() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def bare(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of an empty database."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres"))
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'registry.db'}"


@pytest.fixture(scope="module")
def made(bare: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlRegistry]:
    """A registry that has published `window@v1`; tests leave what it means as it is."""
    found = registry(bare, tmp_path_factory.mktemp("registry"), line())
    found.store().apply([device(), view(), service()])
    yield found
    found.close()


@pytest.fixture
def store(made: SqlRegistry) -> FeatureStore:
    return made.store()


@pytest.fixture
def fresh(tmp_path: Path) -> SqlRegistry:
    """A registry on SQLite that holds nothing."""
    return registry(f"sqlite:///{tmp_path / 'registry.db'}", tmp_path, line())


def keys(made: SqlRegistry) -> list[str]:
    return [str(row.key) for row in published(made.past(), PROJECT)]


def test_publishing_records_the_view_and_all_it_stands_on(made: SqlRegistry) -> None:
    assert keys(made) == [
        "entity device",
        "service encoder_reads",
        "data source window_v1",
        "view window_v1",
    ]
    reasons = {str(row.key): row.reason for row in published(made.past())}
    assert reasons["view window_v1"] == "window@v1"


APPLIES: dict[str, tuple[str, Callable[[], Any]]] = {
    "ttl": ("G1", lambda: view(ttl=SHORT)),
    "digest": ("G1", lambda: view(tags={})),
    "pin": ("G1", lambda: view(version="v0")),
    "forward pin": ("G1", lambda: view(version="v7")),
    "path": ("G6", lambda: view(source=source(path="elsewhere.parquet"))),
    "source": ("G6", lambda: source(timestamp_field="other")),
    "entity": ("G6", lambda: device(join_keys=["other"])),
    "service": ("G4", lambda: service(view()[["mean"]])),
    "next version beside a changed one": ("G1", lambda: [view("window@v2"), view(ttl=SHORT)]),
}


@pytest.mark.parametrize("case", APPLIES)
def test_an_apply_that_changes_a_published_object_does_nothing(
    made: SqlRegistry, store: FeatureStore, case: str
) -> None:
    code, wanted = APPLIES[case]
    told = refused(made, code, lambda: store.apply(wanted()))
    assert "published version would change" in told


REMOVALS: dict[str, tuple[str, Callable[[FeatureStore], Any]]] = {
    "view": ("G2", lambda store: store.registry.delete_feature_view("window_v1", PROJECT)),
    "service": (
        "G5",
        lambda store: store.registry.delete_feature_service("encoder_reads", PROJECT),
    ),
    "entity": ("G6", lambda store: store.registry.delete_entity("device", PROJECT)),
    "source": ("G6", lambda store: store.registry.delete_data_source("window_v1", PROJECT)),
    "project": ("G2", lambda store: store.registry.delete_project(PROJECT)),
    "registry": ("G2", lambda store: store.registry.teardown()),
    "teardown": ("G2", lambda store: store.teardown()),
    "apply": (
        "G2",
        lambda store: store.apply([], objects_to_delete=[view()], partial=False),
    ),
}


@pytest.mark.parametrize("case", REMOVALS)
def test_a_removal_of_a_published_object_does_nothing(
    made: SqlRegistry, store: FeatureStore, case: str
) -> None:
    code, remove = REMOVALS[case]
    refused(made, code, lambda: remove(store))


def test_the_sdk_below_the_store_is_refused_too(made: SqlRegistry, store: FeatureStore) -> None:
    told = refused(made, "G1", lambda: store.registry.apply_feature_view(view(ttl=SHORT), PROJECT))
    assert "view window_v1 (read by service encoder_reads)" in told
    assert "ttl_seconds 3600 -> 60" in told
    assert "window_v2" in told
    refused(made, "G1", lambda: store.registry.apply_feature_view(view(version="v7"), PROJECT))


@pytest.mark.parametrize(
    ("code", "statement"),
    [
        ("G1", "UPDATE feature_views SET project_id = 'other'"),
        ("G2", "DELETE FROM feature_views"),
        ("G7", "DROP TABLE feature_views"),
        ("G7", "DELETE FROM firnline_published"),
        ("G7", "/* */ INSERT INTO firnline_permit VALUES ('a', 'b', 'c', 'd')"),
    ],
)
def test_raw_sql_through_the_plugin_is_refused_with_its_error(
    made: SqlRegistry, store: FeatureStore, code: str, statement: str
) -> None:
    def run() -> None:
        with store.registry.write_engine.begin() as connection:
            connection.execute(text(statement))

    refused(made, code, run)


def test_what_is_no_change_is_accepted(made: SqlRegistry) -> None:
    before = {row.key: row.meaning for row in published(made.past())}
    store = made.store()
    edited = view(description="words", owner="me", tags={**view().tags, "team": "cold"})
    store.apply([edited, device(description="words"), service(), Project(name=PROJECT)])
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    store.registry.apply_materialization(edited, PROJECT, start, end)
    store.registry.apply_user_metadata(PROJECT, edited, b"seen")
    store.apply([device(), edited, service()])
    held = made.store().get_feature_view("window_v1")
    assert (held.description, held.tags["team"]) == ("words", "cold")
    assert held.materialization_intervals == [(start, end)]
    assert {row.key: row.meaning for row in published(made.past())} == before


def test_drafts_change_and_go_freely(made: SqlRegistry, store: FeatureStore) -> None:
    for ttl in (SHORT, 2 * SHORT):
        store.apply([view("draft@v1", ttl=ttl)])
    assert made.store().get_feature_view("draft_v1").ttl == 2 * SHORT
    store.registry.delete_feature_view("draft_v1", PROJECT)
    store.registry.delete_data_source("draft_v1", PROJECT)
    assert "view draft_v1" not in keys(made)


def test_a_version_is_what_its_line_says_in_a_fresh_registry_too(fresh: SqlRegistry) -> None:
    store = fresh.store()
    store.list_feature_views()
    told = refused(fresh, "G3", lambda: store.apply([device(), view(ttl=SHORT)]))
    assert "window@v1: ttl_seconds 3600 -> 60" in told
    with pytest.raises(HandshakeError, match=r"\[G3\]"):
        store.registry.apply_feature_view(view(ttl=SHORT), PROJECT)
    assert keys(fresh) == []


def test_a_draft_is_put_right_once_it_has_a_line(fresh: SqlRegistry) -> None:
    write_lock(fresh.folder)
    fresh.store().apply([device(), view(source=source(path="a.parquet")), service()])
    write_lock(fresh.folder, line())
    fresh.store().apply([view("draft@v1")])
    assert keys(fresh) == []
    refused(fresh, "G3", lambda: fresh.store().apply([view(ttl=SHORT)]))
    fresh.store().apply([view()])
    assert "service encoder_reads" in keys(fresh)


def test_raw_sql_does_not_bring_in_what_the_lock_denies(fresh: SqlRegistry) -> None:
    engine = fresh.store().registry.write_engine
    row = {"bytes": view(ttl=SHORT).to_proto().SerializeToString()}

    def run() -> None:
        with engine.begin() as connection:
            names = "feature_view_name, project_id, last_updated_timestamp, feature_view_proto"
            values = f"VALUES ('window_v1', '{PROJECT}', 1, :bytes)"
            connection.execute(text(f"INSERT INTO feature_views ({names}) {values}"), row)

    with pytest.raises(HandshakeError, match=r"\[G3\].*ttl_seconds 3600 -> 60"):
        run()
    row["bytes"] = view().to_proto().SerializeToString()
    run()
    assert keys(fresh) == ["view window_v1"]


def test_a_plan_is_checked_before_any_of_it_is_done(made: SqlRegistry, store: FeatureStore) -> None:
    wanted = RepoContents(
        projects=[Project(name=PROJECT)],
        data_sources=[source(), source("new_v1")],
        feature_views=[view("new@v1")],
        on_demand_feature_views=[],
        stream_feature_views=[],
        label_views=[],
        entities=[device()],
        feature_services=[],
        permissions=[],
    )
    plan = store.plan(wanted)
    told = refused(made, "G2", lambda: store._apply_diffs(*plan))
    assert "service encoder_reads" in told


def test_another_feast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(FeatureStore, precheck._MARK)
    monkeypatch.setattr("feast.__version__", "0.99.0")
    with pytest.raises(HandshakeError, match=r"\[G11\].*0\.99\.0"):
        precheck.install()


def test_a_line_that_was_altered_is_told(fresh: SqlRegistry) -> None:
    fresh.store().apply([device(), view()])
    write_lock(fresh.folder, line(ttl_seconds=60))
    assert "ttl_seconds 60 -> 3600" in refused(fresh, "G3", lambda: fresh.store().apply([view()]))
    write_lock(fresh.folder)
    refused(fresh, "G1", lambda: fresh.store().apply([view(ttl=SHORT)]))


def test_a_derived_view_is_published_with_what_it_reads(fresh: SqlRegistry) -> None:
    def ratio(name: str, factor: float) -> OnDemandFeatureView:
        return OnDemandFeatureView(
            name=name,
            sources=[view()],
            schema=[Field(name="y", dtype=Float64)],
            udf=lambda frame: frame[["mean"]].rename(columns={"mean": "y"}) * factor,
            udf_string="def ratio(frame): ...",
            mode="pandas",
        )

    store = fresh.store()
    store.apply([device(), view(), ratio("ratio_v1", 2.0), ratio("draft", 2.0)])
    store.apply([ratio("draft", 3.0)])
    told = refused(fresh, "G1", lambda: store.apply([ratio("ratio_v1", 3.0)]))
    assert "transformation" in told
    store.apply([service(view(), ratio("draft", 3.0))])
    refused(fresh, "G1", lambda: store.apply([ratio("draft", 4.0)]))


def test_an_insert_that_lost_a_race_is_not_swallowed(fresh: SqlRegistry) -> None:
    store = fresh.store()
    store.apply([device(), view("draft@v1")])
    lost = {
        "feature_view_name": "draft_v1",
        "project_id": PROJECT,
        "last_updated_timestamp": 1,
        "feature_view_proto": view("draft@v1", ttl=SHORT).to_proto().SerializeToString(),
    }

    def write() -> None:
        with store.registry.write_engine.begin() as connection:
            connection.execute(insert(feature_views).values(lost))

    refused(fresh, "G8", write)
    lost["feature_view_proto"] = b"no view"
    refused(fresh, "G10", write)


def test_of_two_clients_at_once_one_wins_and_nothing_is_lost(made: SqlRegistry) -> None:
    write_lock(made.folder, line(), line("race@v1"), line("race@v2"))
    outcomes: list[str] = []

    def client(reference: str, feature: str) -> None:
        reads = service(view()[[feature]], name="raced")
        try:
            made.store().apply([view(reference), reads])
            outcomes.append("won")
        except HandshakeError as error:
            outcomes.append(error.code)

    wanted = (("race@v1", "mean"), ("race@v2", "slope"))
    clients = [Thread(target=client, args=each) for each in wanted]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert sorted(outcomes) == ["G4", "won"]
    held = keys(made)
    assert "service raced" in held
    # The loser's whole apply is refused, so its version is not there either.
    assert ("view race_v1" in held) != ("view race_v2" in held)


def test_what_was_changed_past_the_guard_is_told_and_can_be_put_back(fresh: SqlRegistry) -> None:
    store = fresh.store()
    store.apply([device(), view()])
    for trigger in triggers(fresh):
        fresh.sql(f"DROP TRIGGER {trigger}")
    fresh.sql("DELETE FROM feature_views")
    told = refused(fresh, "G9", lambda: fresh.store().apply([view("draft@v1")]))
    assert "a published version was removed" in told
    assert restore(fresh.store().registry.write_engine) == [f"{PROJECT}: view window_v1"]
    fresh.store().apply([view()])
    assert fresh.store().get_feature_view("window_v1").ttl == timedelta(hours=1)
    assert triggers(fresh)
    refused(fresh, "G2", lambda: fresh.sql("DELETE FROM feature_views"))


def test_an_edited_record_is_told(fresh: SqlRegistry) -> None:
    fresh.store().apply([device(), view()])
    for trigger in triggers(fresh):
        fresh.sql(f"DROP TRIGGER {trigger}")
    fresh.sql("UPDATE firnline_published SET meaning = '{}' WHERE family = 'view'")
    refused(fresh, "G7", lambda: fresh.store().apply([view(ttl=SHORT)]))


def triggers(made: SqlRegistry) -> list[str]:
    engine = made.past()
    with engine.connect() as connection:
        query = text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        found = list(connection.execute(query).scalars())
    engine.dispose()
    return found


def test_a_url_without_a_lock_takes_the_one_beside_it(
    fresh: SqlRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import create_engine

    monkeypatch.chdir(fresh.folder)
    engine = create_engine(f"{fresh.bare}?plugin=firnline")
    guard = guard_of(engine)
    assert guard is not None
    assert guard.locks == (fresh.folder / "features.lock",)
    assert guard_of(fresh.past()) is None
