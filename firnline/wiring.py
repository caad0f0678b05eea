"""Composition root: settings -> adapters. A newcomer's table of contents.

Adapters are imported where they are made, so that a command pays only for what it uses.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from firnline.settings import Settings

if TYPE_CHECKING:
    from firnline.adapters.artifact_store import ArtifactStore
    from firnline.adapters.feast_store import FeastStore
    from firnline.adapters.feature_data import FeatureData
    from firnline.adapters.ledger_file import FileLedger
    from firnline.adapters.mlflow_registry import MlflowRegistry
    from firnline.adapters.offer_folder import OfferFolder
    from firnline.contracts.lock import Lock


@cache
def settings() -> Settings:
    """The one reading of FIRNLINE_* variables."""
    return Settings()


def artifacts() -> ArtifactStore:
    """What the steps made, by key."""
    from firnline.adapters.artifact_store import ArtifactStore

    return ArtifactStore(settings().state / "artifacts")


def ledger() -> FileLedger:
    """Every decision, in order."""
    from firnline.adapters.ledger_file import FileLedger

    return FileLedger(settings().state / "ledger")


def lock() -> Lock:
    """Every published feature version: those that ship, and the project's own."""
    from firnline.adapters.lock_file import effective_lock

    return effective_lock(settings().project)


def outputs_lock() -> Path:
    """The lock of what trained stages give."""
    from firnline.adapters.lock_file import outputs_lock_path

    return outputs_lock_path(settings().state)


def feature_data() -> FeatureData:
    """The partitions of every feature version, by content."""
    from firnline.adapters.feature_data import FeatureData

    return FeatureData(settings().state / "features" / "data")


def feature_store() -> FeastStore:
    """Feast on SQLite and DuckDB, guarded by the locks."""
    from firnline.adapters.feast_store import FeastStore
    from firnline.adapters.lock_file import lock_files

    chosen = settings()
    return FeastStore(
        chosen.state,
        locks=(*lock_files(chosen.project), outputs_lock()),
        memory_limit=chosen.memory_limit,
        threads=chosen.threads,
    )


def registry() -> MlflowRegistry:
    """MLflow on SQLite."""
    from firnline.adapters.mlflow_registry import MlflowRegistry

    return MlflowRegistry(settings().state)


def offers() -> OfferFolder:
    """Releases that wait for somebody's word."""
    from firnline.adapters.offer_folder import OfferFolder

    return OfferFolder(settings().state / "offers")


def prefect_environment() -> None:
    """Point Prefect at this project's state; only effective before prefect is imported."""
    home = settings().state / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    for name, value in {
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # A loaded machine answers late; giving up would fail a run that is sound.
        "PREFECT_API_REQUEST_TIMEOUT": "120",
    }.items():
        os.environ.setdefault(name, value)
