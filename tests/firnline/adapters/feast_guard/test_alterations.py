"""Ways to alter or remove a published version, through Feast's command and its SDK: all refused."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureService
from feast.base_feature_view import BaseFeatureView
from feast.data_source import DataSource

from tests.resources.feast_versions import PROJECT, line, opened, write_lock
from tests.resources.guarded import Repository, at_home, definitions, edited, published, refused
from tests.resources.postgres import server as postgres_server

# Feast's command warns of what it will do otherwise in a later version.
pytestmark = pytest.mark.filterwarnings("ignore")
KINDS = ("file", "sqlite")


@pytest.fixture(scope="module", autouse=True)
def _at_home() -> Iterator[None]:
    with at_home():
        yield


@pytest.fixture(scope="module", params=KINDS)
def repo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One for all tests: whatever is refused leaves it as it was."""
    return published(tmp_path_factory.mktemp(request.param), request.param)


WINDOW = '    name="window_v1",\n    entities=[device],\n'
PATH = 'path="firnline://window_v1"'
TAGS = ', "digest": "' + line().digest + '"}'
SERVICE = 'encoder = FeatureService(name="encoder", features=[window[["mean", "slope"]], kelvin])'
FIELDS = '        Field(name="mean", dtype=Float64),\n        Field(name="slope", dtype=Float64),\n'
IMPORTS = "from datetime import timedelta\n\nimport pandas as pd"
KEY = '["device_id"], value_type=ValueType.STRING'
# Way -> (codes, one of which refuses it; what of the definitions is edited).
EDITS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "source path": ("G1", [(PATH, 'path="data/other.parquet"')]),
    "source name": ("G1", [('name="window_v1",\n    path', 'name="other",\n    path')]),
    "source timestamp": ("G1", [('timestamp_field="window_end"', 'timestamp_field="start"')]),
    "source created column": ("G1", [(PATH, f'{PATH}, created_timestamp_column="made"')]),
    "source mapping": ("G1", [(PATH, f'{PATH}, field_mapping={{"raw": "mean"}}')]),
    "source format": (
        "G1",
        [
            ("ParquetFormat(),\n)", "DeltaFormat(),\n)"),
            ("import ParquetFormat", "import DeltaFormat, ParquetFormat"),
        ],
    ),
    "source of a push": (
        "G1",
        [
            ("    source=window_source,", "    source=pushed,"),
            ("window = F", 'pushed = PushSource(name="p", batch_source=window_source)\nwindow = F'),
            ("    RequestSource,", "    PushSource,\n    RequestSource,"),
        ],
    ),
    "longer ttl": ("G1", [("timedelta(hours=1)", "timedelta(hours=2)")]),
    "no ttl": ("G1", [("ttl=timedelta(hours=1)", "ttl=timedelta(0)")]),
    "dtype": ("G1", [('"load", dtype=Float32', '"load", dtype=Float64')]),
    "feature added": ("G1", [(FIELDS, FIELDS + '        Field(name="extra", dtype=Float64),\n')]),
    "feature removed": ("G1", [('        Field(name="load", dtype=Float32),\n', "")]),
    "feature renamed": ("G1", [('"load", dtype=Float32', '"current", dtype=Float32')]),
    "order of features": (
        "G1",
        [
            (
                FIELDS,
                '        Field(name="slope", dtype=Float64),\n'
                '        Field(name="mean", dtype=Float64),\n',
            )
        ],
    ),
    "join key": (
        "G1",
        [('join_keys=["device_id"]', 'join_keys=["id"]'), ('name="device_id"', 'name="id"')],
    ),
    "join key's dtype": (
        "G1",
        [
            (KEY, KEY.replace("STRING", "INT64")),
            ('name="device_id", dtype=String', 'name="device_id", dtype=Int64'),
            ("Float64, String\n", "Float64, Int64, String\n"),
            ('name="device_id", dtype=String', 'name="device_id", dtype=Int64'),
        ],
    ),
    "entity renamed": ("G1", [('Entity(name="device"', 'Entity(name="unit"')]),
    "another entity": (
        "G1",
        [(WINDOW, WINDOW.replace("device", "rig")), ('name="device_id"', 'name="rig_id"')],
    ),
    "one more entity": (
        "G1",
        [
            (WINDOW, WINDOW.replace("[device]", "[device, rig]")),
            (FIELDS, f'        Field(name="rig_id", dtype=String),\n{FIELDS}'),
        ],
    ),
    "no entity": ("G1", [(WINDOW, WINDOW.replace("[device]", "[]"))]),
    "transformation": ("G1", [(TAGS, ', "digest": "' + "0" * 64 + '"}')]),
    "no digest": ("G1", [(TAGS, "}")]),
    "pinned to its own version": ("G1", [(WINDOW, f'{WINDOW}    version="v0",\n')]),
    "pinned to a later version": ("G1", [(WINDOW, f'{WINDOW}    version="v7",\n')]),
    "another type of view": (
        "G1",
        [
            ("window = FeatureView(", "window = BatchFeatureView("),
            ("from feast.b", "from feast import BatchFeatureView\nfrom feast.b"),
        ],
    ),
    "renamed": ("G2", [(WINDOW, WINDOW.replace("window_v1", "window_new"))]),
    "batch function": ("G1", [('warmer(frame["heat"])', 'warmer(frame["heat"]) + 1')]),
    "batch function's helper": ("G1", [("heat * FACTOR", "heat + FACTOR")]),
    "batch function's constant": ("G1", [("FACTOR = 2", "FACTOR = 3")]),
    "on-demand function": ("G1", [('* inputs["scale"]', '/ inputs["scale"]')]),
    "on-demand function's helper": ("G1", [("celsius + OFFSET", "celsius - OFFSET")]),
    "on-demand function's constant": ("G1", [("OFFSET = 273.15", "OFFSET = 273.16")]),
    "on-demand request": ("G1", [('"scale", dtype=Float64', '"scale", dtype=Float32')]),
    "on-demand feature": (
        "G1",
        [('"kelvin", dtype', '"warmth", dtype'), ('out["kelvin"]', 'out["warmth"]')],
    ),
    "service reads fewer features": ("G4", [('[["mean", "slope"]], ', '[["mean"]], ')]),
    "service reads in another order": ("G4", [('[["mean", "slope"]]', '[["slope", "mean"]]')]),
    "service reads other features": ("G4", [('[["mean", "slope"]]', '[["mean", "load"]]')]),
    "service reads views in another order": ("G4", [("[window, cooked]", "[cooked, window]")]),
    "service reads one view less": ("G4", [("[window, cooked]", "[window]")]),
    "service reads one view more": ("G4", [("[window, cooked]", "[window, cooked, kelvin]")]),
    "service reads under another name": (
        "G4",
        [("[window, cooked]", '[window.with_name("w"), cooked]')],
    ),
    "service joins by another key": (
        "G4",
        [("[window, cooked]", '[window.with_join_key_map({"device_id": "unit"}), cooked]')],
    ),
    "service renamed": ("G5", [('name="encoder"', 'name="encoder_new"')]),
}  # fmt: skip
REMOVED = {"renamed", "service renamed"}
ACCEPTED: dict[str, list[tuple[str, str]]] = {
    "comment": [("OFFSET = 273.15", "OFFSET = 273.15  # of Kelvin to Celsius")],
    "comment in a function": [("    return frame", "    # Twice.\n    return frame")],
    "whitespace in a function": [('* inputs["scale"]', '*  (  inputs["scale"] )')],
    "order of imports": [(IMPORTS, "\n".join(reversed(IMPORTS.split("\n"))))],
    "description": [(WINDOW, f'{WINDOW}    description="A window.",\n')],
    "owner": [(WINDOW, f'{WINDOW}    owner="cold chain",\n')],
    "tag": [(TAGS, f', "team": "cold chain"{TAGS}')],
    "description of a source": [(PATH, f'{PATH}, description="Windows."')],
    "description of an entity": [('Entity(name="device"', 'Entity(description="A", name="device"')],
    "tag of a service": [('name="encoder"', 'tags={"team": "a"}, name="encoder"')],
    "online off": [(WINDOW, f"{WINDOW}    online=False,\n")],
    "another draft": [("rig = E", 'draft = Entity(name="draft")\nrig = E')],
}  # fmt: skip


@pytest.mark.parametrize("way", ACCEPTED)
def test_an_edit_that_changes_no_value_is_accepted(repo: Repository, way: str) -> None:
    before = repo.published()
    repo.define(edited(*ACCEPTED[way]))
    repo.command("apply", "--skip-source-validation")
    repo.apply()
    assert repo.published() == before


@pytest.mark.parametrize("way", EDITS)
def test_an_edited_repository_is_refused(repo: Repository, way: str) -> None:
    codes, changes = EDITS[way]
    repo.define(edited(*changes))
    # A partial apply, as the SDK makes it, removes nothing.
    if repo.sql is None or way in REMOVED:
        refused(repo, codes, lambda: repo.command("apply", "--skip-source-validation"))
    else:
        refused(repo, codes, repo.apply)


TYPES: dict[str, type] = {
    "feature_view": BaseFeatureView,
    "feature_service": FeatureService,
    "data_source": DataSource,
    "entity": Entity,
}


def delete(kind: str, name: str) -> Callable[[Repository], Any]:
    return lambda repo: getattr(opened(repo.folder).registry, f"delete_{kind}")(name, PROJECT)


def command(*arguments: str, text: str | None = None) -> Callable[[Repository], Any]:
    def run(repo: Repository) -> None:
        repo.define(definitions() if text is None else text)
        repo.command(*arguments)

    return run


def one_by_one(way: str, kind: str, name: str, **options: Any) -> Callable[[Repository], Any]:
    """One object of the edited definitions, past `FeatureStore.apply`."""

    def run(repo: Repository) -> None:
        repo.define(edited(*EDITS[way][1]))
        (wanted,) = [
            each for each in repo.objects() if each.name == name and isinstance(each, TYPES[kind])
        ]
        getattr(opened(repo.folder).registry, f"apply_{kind}")(wanted, PROJECT, **options)

    return run


def apply_deletions(repo: Repository) -> None:
    repo.define(definitions())
    gone = [each for each in repo.objects() if each.name == "window_v1"]
    opened(repo.folder).apply([], objects_to_delete=gone, partial=False)


def made_anew(repo: Repository) -> None:
    store = opened(repo.folder)
    store.delete_feature_view("window_v1")
    repo.define(edited(*EDITS["dtype"][1]))
    repo.apply(store)


ACTIONS: dict[str, tuple[str, Callable[[Repository], Any]]] = {
    "view deleted": ("G2", lambda repo: opened(repo.folder).delete_feature_view("window_v1")),
    "view deleted below the store": ("G2", delete("feature_view", "window_v1")),
    "batch view deleted": ("G2", delete("feature_view", "cooked")),
    "on-demand view deleted": ("G2", delete("feature_view", "kelvin")),
    "service deleted": ("G5", lambda repo: opened(repo.folder).delete_feature_service("encoder")),
    "source deleted": ("G6", delete("data_source", "window_v1")),
    "entity deleted": ("G6", delete("entity", "device")),
    "deleted and made anew": ("G2", made_anew),
    "deleted by an apply": ("G2", apply_deletions),
    "project deleted": (
        "G2 G5",
        lambda repo: opened(repo.folder).registry.delete_project(PROJECT),
    ),
    "store torn down": ("G2", lambda repo: opened(repo.folder).teardown()),
    "registry torn down": ("G2", lambda repo: opened(repo.folder).registry.teardown()),
    "feast teardown": ("G2", command("teardown")),
    "feast delete": ("G2", command("delete", "window_v1")),
    "feast apply of nothing": ("G2", command("apply", text="")),
    "feast apply --no-promote": (
        "G1",
        lambda repo: command("apply", "--no-promote", text=edited(*EDITS["feature added"][1]))(
            repo
        ),
    ),
    "ttl, by the registry": ("G1", one_by_one("longer ttl", "feature_view", "window_v1")),
    "dtype, by the registry": ("G1", one_by_one("dtype", "feature_view", "window_v1")),
    "history, by the registry": (
        "G1 G7",
        one_by_one("dtype", "feature_view", "window_v1", no_promote=True),
    ),
    "pin, by the registry": (
        "G1 G7",
        one_by_one("pinned to a later version", "feature_view", "window_v1"),
    ),
    "source, by the registry": ("G6", one_by_one("source timestamp", "data_source", "window_v1")),
    "entity, by the registry": ("G6", one_by_one("join key", "entity", "device")),
    "service, by the registry": (
        "G4",
        one_by_one("service reads fewer features", "feature_service", "encoder"),
    ),
}


@pytest.mark.parametrize("way", ACTIONS)
def test_an_action_is_refused(repo: Repository, way: str) -> None:
    codes, action = ACTIONS[way]
    refused(repo, codes, lambda: action(repo))


def resigned(repo: Repository) -> None:
    write_lock(repo.folder, line(ttl_seconds=7200))


def altered(repo: Repository) -> None:
    path = repo.folder / "features.lock"
    path.write_text(path.read_text("utf-8").replace("3600", "7200"), "utf-8")


def doubled(repo: Repository) -> None:
    path = repo.folder / "features.lock"
    other = line(ttl_seconds=7200).text()
    path.write_text(f"{path.read_text('utf-8')}{other}\n", "utf-8")


def dropped(repo: Repository) -> None:
    write_lock(repo.folder)
    repo.define(edited(*EDITS["longer ttl"][1]))


LOCKS: dict[str, tuple[str, Callable[[Repository], Any]]] = {
    "line altered": ("L3", altered),
    "line altered and signed": ("G3", resigned),
    "line doubled": ("L5", doubled),
    "line dropped, view altered": ("G1", dropped),
    "lock file gone, view altered": (
        "G1",
        lambda repo: (dropped(repo), (repo.folder / "features.lock").unlink()),
    ),
}


@pytest.mark.parametrize("way", LOCKS)
def test_a_lock_that_was_tampered_with_opens_nothing(repo: Repository, way: str) -> None:
    codes, tamper = LOCKS[way]
    repo.define(definitions())
    tamper(repo)
    try:
        refused(repo, codes, repo.apply)
    finally:
        write_lock(repo.folder, line())


@pytest.mark.parametrize("way", ["source path", "dtype", "service renamed", "renamed"])
def test_a_plan_of_feast_s_own_provider_is_refused_too(
    tmp_path_factory: pytest.TempPathFactory, way: str
) -> None:
    """With Feast's local provider `feast apply` changes the online store first."""
    codes, changes = EDITS[way]
    repo = published(tmp_path_factory.mktemp("plan"), "file", ours=False)
    repo.define(edited(*changes))
    refused(repo, codes, lambda: repo.command("apply", "--skip-source-validation"))


def test_postgres_refuses_as_well(tmp_path: Path) -> None:
    with postgres_server() as url:
        repo = published(tmp_path / "repo", "postgres", url)
        for way in ("source path", "order of features", "batch function", "service renamed"):
            codes, changes = EDITS[way]
            repo.define(edited(*changes))
            refused(repo, codes, lambda: repo.command("apply", "--skip-source-validation"))
        for way in ("view deleted", "entity deleted", "store torn down", "pin, by the registry"):
            codes, action = ACTIONS[way]
            refused(repo, codes, lambda action=action: action(repo))


def test_feast_in_a_process_of_its_own_prints_the_error(tmp_path: Path) -> None:
    own = published(tmp_path / "repo", "file")
    own.define(edited(*EDITS["longer ttl"][1]))

    def apply() -> None:
        program = Path(sys.executable).with_name("feast")
        done = subprocess.run(
            [program, "apply"], cwd=own.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        raise RuntimeError(done.stdout + done.stderr)

    told = refused(own, "G1", apply)
    assert "ttl_seconds 3600 -> 7200" in told
    assert "read by service classifier, service encoder, view kelvin" in told
    assert "define window_v2 beside it" in told


def test_there_are_enough_ways() -> None:
    assert len({*EDITS, *ACTIONS, *LOCKS}) >= 60
