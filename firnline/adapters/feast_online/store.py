"""The online store on SQLite; Feast wants the class and its configuration in one module."""

from pathlib import Path
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel

from firnline.adapters.feast_online.base import PackedOnlineStore
from firnline.adapters.feast_online.sqlite_rows import SqliteRows

_TYPE = "firnline.adapters.feast_online.store.FirnlineOnlineStore"


class FirnlineOnlineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # no types
    """Where the rows lie.

    Attributes:
        type: Chooses this store in feature_store.yaml.
        path: SQLite file, relative to the Feast repo.
    """

    type: Literal["firnline.adapters.feast_online.store.FirnlineOnlineStore"] = _TYPE  # type: ignore[assignment]
    path: str = "data/online.db"


class FirnlineOnlineStore(PackedOnlineStore):
    """Packed rows in one SQLite file."""

    def __init__(self) -> None:
        self._rows: dict[Path, SqliteRows] = {}

    def rows(self, config: Any) -> SqliteRows:
        """The rows of a Feast configuration."""
        path = Path(config.online_store.path)
        if config.repo_path is not None and not path.is_absolute():
            path = Path(config.repo_path) / path
        if path not in self._rows:
            self._rows[path] = SqliteRows(path)
        return self._rows[path]

    async def close(self) -> None:
        """Close the connections of this thread."""
        for rows in self._rows.values():
            rows.close()
