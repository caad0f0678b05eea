"""A Feast repository whose versions are published, on any registry, and what is done to it."""

import importlib
import linecache
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from feast import FeatureStore
from feast.cli.cli import cli
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryMessage
from feast.repo_operations import parse_repo

from firnline.adapters.feast_guard import published_file, sql_state
from firnline.adapters.feast_guard.meaning import object_digest
from firnline.adapters.feast_guard.registry_objects import HISTORY, entries, message_of
from firnline.digest import digest
from tests.resources.feast_versions import file_registry, line, opened, repository, write_lock
from tests.resources.sql_registries import SqlRegistry

MODULE = "definitions"
TEXT = Path(__file__).with_name("feast_definitions.py").read_text("utf-8")


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
        # Feast takes a function's text from here, and does not look whether the file has changed.
        linecache.clearcache()

    def command(self, *arguments: str) -> str:
        """What `feast` prints, in this process.

        Raises:
            HandshakeError: When the guard refuses.
        """
        result = CliRunner().invoke(cli, ["--chdir", str(self.folder), *arguments])
        if isinstance(result.exception, Exception):
            raise result.exception
        assert result.exit_code == 0, result.output
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

    def published(self) -> dict[str, str]:
        """Published object -> digest of what it means."""
        if self.sql is None:
            registry = RegistryMessage.FromString((self.folder / "registry.db").read_bytes())
            rows = published_file.read(self.folder / "registry.db.published").entries
            known = {(row.family, row.name) for row in rows}
            stands = {(each.family, each.name): each for each in entries(registry)}
            return {
                f"{family} {name}": object_digest(message_of(stands[family, name]))
                for family, name in sorted(known)
                if family != HISTORY
            }
        engine = self.sql.past()
        try:
            return {str(row.key): digest(row.meaning) for row in sql_state.published(engine)}
        finally:
            engine.dispose()


def sqlite_dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def published(folder: Path, kind: str, url: str | None = None, ours: bool = True) -> Repository:
    """A repository that has applied the definitions.

    Args:
        folder: Where.
        kind: `file`, or of a SQL registry.
        url: The SQL registry's; SQLite in the folder when not given.
        ours: With firnline's provider and online store, or Feast's.
    """
    sql = None
    if kind != "file":
        sql = SqlRegistry(url or f"sqlite:///{folder / 'registry.db'}", folder)
    repo = Repository(folder, sql)
    settings = file_registry() if sql is None else {"registry_type": "sql", "path": sql.url}
    repository(folder, settings, ours)
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


@contextmanager
def at_home() -> Iterator[None]:
    """Feast's command goes into the repository; byte code of definitions would be a stale one."""
    place, path, writes = Path.cwd(), list(sys.path), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    sys.path.insert(0, "")
    yield
    os.chdir(place)
    sys.path[:] = path
    sys.dont_write_bytecode = writes
    sys.modules.pop(MODULE, None)


def refused(repo: Repository, codes: str, action: Callable[[], Any]) -> str:
    """What an action was refused with: one of some codes, a mend, and nothing has changed."""
    before = repo.dump()
    try:
        action()
    except Exception as error:
        told = str(error)
    else:
        raise AssertionError("it was accepted")
    assert any(f"[{code}]" in told for code in codes.split()), told
    assert "To mend: " in told, told
    assert repo.dump() == before
    return told
