"""Feast repositories on the store under test."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feast import FeatureStore, RepoConfig

FIRNLINE = {"type": "firnline.adapters.feast_offline.store.FirnlineOfflineStore"}


@contextmanager
def as_feast_warns() -> Iterator[None]:
    """Feast's own stores call pandas and DuckDB by old names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def offline(repository: Path, **settings: Any) -> FeatureStore:
    return FeatureStore(
        config=RepoConfig(
            project="trips",
            provider="local",
            registry=str(repository / "registry.db"),
            online_store={"type": "sqlite", "path": str(repository / "online.db")},
            offline_store={**FIRNLINE, **settings},
            entity_key_serialization_version=3,
            repo_path=repository,
        )
    )
