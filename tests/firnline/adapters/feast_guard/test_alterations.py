"""Every way to alter or remove a published version, through every client: all are refused."""

import importlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from feast import FeatureStore
from feast.cli.cli import cli
from feast.repo_operations import parse_repo
from sqlalchemy import create_engine

from firnline.adapters.feast_guard import published_file
from firnline.contracts.lock import Line
from firnline.errors import HandshakeError
from tests.resources.feast_versions import PROJECT, file_registry, line, opened, repository
from tests.resources.feast_versions import write_lock
from tests.resources.postgres import server as postgres_server
from tests.resources.sql_registries import SqlRegistry

# Feast's command warns of what it will do otherwise in a later version.
pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).parents[4]
MODULE = "definitions"
TEXT = (ROOT / "tests" / "resources" / "feast_definitions.py").read_text("utf-8")
KINDS = ("file", "sqlite")


@dataclass(frozen=True)
class Repository:
    """A folder that Feast runs from, and its registry.

    Attributes:
        folder: Holds feature_store.yaml, features.lock and the definitions.
        sql: The SQL registry; None for a file.
    """

    folder: Path
    sql: SqlRegistry | None

    def define(self, text: str) -> None:
        """Write the definitions; Python is to read them anew."""
        (self.folder / f"{MODULE}.py").write_text(text, encoding="utf-8")
        sys.modules.pop(MODULE, None)
        importlib.invalidate_caches()

    def command(self, *arguments: str) -> str:
        """What `feast` prints, in this process.

        Raises:
            HandshakeError: When the guard refuses.
        """
        result = CliRunner().invoke(cli, ["--chdir", str(self.folder), *arguments])
        if result.exception is not None:
            raise result.exception
        return result.output

    def objects(self) -> list[Any]:
        """The definitions as Feast reads them."""
        with chdir(self.folder):
            contents = parse_repo(self.folder)
        return [each for group in contents for each in group]

    def apply(self, store: FeatureStore | None = None) -> None:
        """Apply the definitions with the SDK."""
        (store or opened(self.folder)).apply(self.objects())

    def dump(self) -> dict[str, Any]:
        """All that is stored, in the registry and in the online store."""
        online = self.folder / "online.db"
        found: dict[str, Any] = {"online": sqlite_dump(online) if online.exists() else []}
        if self.sql is not None:
            return found | self.sql.dump()
        names = ("registry.db", "registry.db.published")
        return found | {name: (self.folder / name).read_bytes() for name in names}


def sqlite_dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def published(folder: Path, kind: str, url: str | None = None) -> Repository:
    """A repository that has applied the definitions."""
    sql = None
    if kind != "file":
        sql = SqlRegistry(url or f"sqlite:///{folder / 'registry.db'}", folder)
    repo = Repository(folder, sql)
    repository(
        folder, file_registry() if sql is None else {"registry_type": "sql", "path": sql.url}
    )
    write_lock(folder, line())
    repo.define(definitions())
    repo.apply()
    return repo


def definitions() -> str:
    return TEXT.replace("DIGEST", line().digest)


def edited(*changes: tuple[str, str]) -> str:
    text = definitions()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


@pytest.fixture(scope="module", autouse=True)
def _at_home() -> Iterator[None]:
    """Feast's command goes into the repository; byte code of definitions would be a stale one."""
    place, path, writes = Path.cwd(), list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, "")
    yield
    os.chdir(place)
    sys.path[:] = path
    sys.dont_write_bytecode = writes
    sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module", params=KINDS)
def repo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One for all tests: whatever is refused leaves it as it was."""
    return published(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(params=KINDS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return published(tmp_path / "repo", request.param)


def refused(repo: Repository, codes: str, action: Callable[[], Any]) -> str:
    """What an action was refused with: one of some codes, a mend, and nothing has changed."""
    before = repo.dump()
    with pytest.raises(Exception) as caught:  # noqa: PT011  Each client has an error of its own.
        action()
    told = str(caught.value)
    assert any(f"[{code}]" in told for code in codes.split()), told
    assert "To mend: " in told, told
    assert repo.dump() == before
    return told


WINDOW = '    name="window_v1",\n    entities=[device],\n'
PATH = 'path="firnline://window_v1"'
TAGS = ', "digest": "' + line().digest + '"}'
SERVICE = 'encoder = FeatureService(name="encoder", features=[window[["mean", "slope"]], kelvin])'
FIELDS = (
    '        Field(name="mean", dtype=Float64),\n        Field(name="slope", dtype=Float64),\n'
)
# Way -> (codes, one of which refuses it; what of the definitions is edited).
EDITS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "source path": ("G1", [(PATH, 'path="data/other.parquet"')]),
    "source name": ("G1", [('name="window_v1",\n    path', 'name="other",\n    path')]),
    "source timestamp": ("G1", [('timestamp_field="window_end"', 'timestamp_field="start"')]),
    "source created column": ("G1", [(PATH, f'{PATH}, created_timestamp_column="made"')]),
    "source mapping": ("G1", [(PATH, f'{PATH}, field_mapping={{"slope": "mean"}}')]),
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
    "another view's source": (
        "G1",
        [("    source=window_source,", "    source=cooked_source,"), ("cooked_source = F", "x = F")],
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
            ("device_id\"], value_type=ValueType.STRING", "device_id\"], value_type=ValueType.INT64"),
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
    "another type of view": ("G1", [("window = FeatureView(", "window = BatchFeatureView(")]),
    "renamed": ("G2", [(WINDOW, WINDOW.replace("window_v1", "window_new"))]),
    "batch function": ("G1", [('    frame["heat"] = doubled', '    frame["heat"] = 1 + doubled')]),
    "batch function's helper": ("G1", [("    return values * 2", "    return values * 3")]),
    "on-demand function": ("G1", [('* inputs["scale"]', '/ inputs["scale"]')]),
    "on-demand function's helper": ("G1", [("return values + OFFSET", "return values - OFFSET")]),
    "on-demand function's constant": ("G1", [("OFFSET = 273.15", "OFFSET = 273.16")]),
    "on-demand request": ("G1", [('"scale", dtype=Float64', '"scale", dtype=Float32')]),
    "on-demand dtype": ("G1", [('"kelvin", dtype=Float64', '"kelvin", dtype=Float32')]),
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
    "comment in a function": [("    return values * 2", "    # Twice.\n    return values * 2")],
    "whitespace": [("return values + OFFSET", "return  (values  +  OFFSET)")],
    "order of imports": [
        ("import os\nfrom datetime import timedelta\n", "from datetime import timedelta\nimport os\n")
    ],
    "description": [(WINDOW, f'{WINDOW}    description="A window.",\n')],
    "owner": [(WINDOW, f'{WINDOW}    owner="cold chain",\n')],
    "tag": [(TAGS, f', "team": "cold chain"{TAGS}')],
    "description of a source": [(PATH, f'{PATH}, description="Windows."')],
    "description of an entity": [('Entity(name="device"', 'Entity(description="A", name="device"')],
    "tag of a service": [('name="encoder"', 'tags={"team": "a"}, name="encoder"')],
    "online off": [(WINDOW, f"{WINDOW}    online=False,\n")],
    "another draft": [("classifier = F", 'draft = FeatureService(name="draft", features=[cooked])\nclassifier = F')],
}  # fmt: skip


@pytest.mark.parametrize("way", EDITS)
def test_an_edited_repository_is_refused(repo: Repository, way: str) -> None:
    codes, changes = EDITS[way]
    repo.define(edited(*changes))
    clients: list[Callable[[], Any]] = [lambda: repo.command("apply", "--skip-source-validation")]
    if way not in REMOVED:
        clients.append(repo.apply)
    for client in clients:
        refused(repo, codes, client)
