"""Protocols of the tools at the rim: what the flows need, whoever provides it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from firnline.contracts.handshake import Facts
from firnline.contracts.lock import Versioned


class FeatureStore(Protocol):
    """Holds feature versions, joins training sets point in time, serves the newest values."""

    def apply(self, entity: str, key: str, versions: Sequence[Versioned]) -> None:
        """Register versions; one that is published and would change is refused.

        Args:
            entity: What a row is about.
            key: The entity's column.
            versions: Window views or stage outputs.
        """
        ...

    def define(self, facts: Facts, reads: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Register a service a stage, if the stages belong together; stage -> service.

        Args:
            facts: What is known of the ensemble's stages.
            reads: Stage -> references it reads.
        """
        ...

    def training_set(
        self,
        spine: Path,
        references: Sequence[str],
        out: Path,
        snapshots: Mapping[str, str] | None = None,
    ) -> int:
        """Join features to a spine as of each row's time, never later.

        Args:
            spine: Parquet with the key, `event_timestamp` (UTC) and `label`.
            references: Versions as `name@vN`, in column order.
            out: Parquet to write: the spine's rows and `view__feature` float32 columns.
            snapshots: Reference -> digest of the data to read; the newest when not given.

        Returns:
            The rows written, equal to the spine's.
        """
        ...

    def materialize(self, end: datetime, views: Sequence[str]) -> None:
        """Bring the newest values up to `end` (UTC) of versions into the online store."""
        ...

    def online(
        self, keys: Sequence[str], references: Sequence[str], digests: Mapping[str, str]
    ) -> dict[str, list[Any]]:
        """The newest values: the key and each `view__feature`, one entry a key, in order.

        Args:
            keys: Entities by key.
            references: Versions as `name@vN`, in column order.
            digests: Reference -> digest the model was trained on; another one is refused.
        """
        ...
