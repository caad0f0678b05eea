"""SQL registries of a test's own, seen through the plugin and past it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feast import FeatureStore
from sqlalchemy import Engine, NullPool, create_engine, inspect, text

from firnline.contracts.lock import Line
from tests.resources.feast_versions import PROJECT, opened, repository, write_lock


@dataclass(frozen=True)
class SqlRegistry:
    """One registry and the folder that Feast runs from.

    Attributes:
        bare: Its URL without the plugin.
        folder: Holds feature_store.yaml and features.lock.
        stores: Clients that were opened.
    """

    bare: str
    folder: Path
    stores: list[FeatureStore] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its URL with the plugin."""
        joint = "&" if "?" in self.bare else "?"
        lock = self.folder / "features.lock"
        return f"{self.bare}{joint}plugin=firnline&firnline_lock={lock}"

    def store(self) -> FeatureStore:
        """A client of its own, with the plugin."""
        self.stores.append(opened(self.folder))
        return self.stores[-1]

    def close(self) -> None:
        """Let go of every connection that clients have kept open."""
        for store in self.stores:
            store.registry.write_engine.dispose()

    def past(self) -> Engine:
        """An engine without the plugin."""
        return create_engine(self.bare, poolclass=NullPool)

    def sql(self, statement: str, **values: Any) -> None:
        """Run SQL past the plugin."""
        engine = self.past()
        try:
            with engine.begin() as connection:
                connection.execute(text(statement), values)
        finally:
            engine.dispose()

    def dump(self) -> dict[str, list[Any]]:
        """Every row of every table, the guard's too."""
        engine = self.past()
        try:
            with engine.connect() as connection:
                return {
                    name: sorted(map(repr, connection.execute(text(f"SELECT * FROM {name}"))))
                    for name in inspect(engine).get_table_names()
                }
        finally:
            engine.dispose()


def registry(bare: str, folder: Path, *lines: Line) -> SqlRegistry:
    """A registry whose repository has these lines in its lock; nothing is applied."""
    made = SqlRegistry(bare, folder / "repo")
    repository(made.folder, {"registry_type": "sql", "path": made.url})
    write_lock(made.folder, *lines)
    return made


def refused(made: SqlRegistry, code: str, action: Callable[[], Any]) -> str:
    """What an action was refused with; asserts its code, a mend, and that nothing changed."""
    before = made.dump()
    try:
        action()
    except Exception as error:
        told = str(error)
    else:
        raise AssertionError("it was accepted")
    assert f"[{code}]" in told, told
    assert "To mend: " in told, told
    assert made.dump() == before
    return told


__all__ = ["PROJECT", "SqlRegistry", "refused", "registry"]
