"""Protocols of the tools at the rim: what the flows need, whoever provides it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from firnline.contracts.features import WindowView


class FeatureStore(Protocol):
    """Holds feature views, joins training sets point in time, serves the newest values."""

    def apply(
        self,
        ensemble: str,
        entity: str,
        key: str,
        views: Sequence[tuple[WindowView, Path]],
        services: Mapping[str, Sequence[str]],
    ) -> None:
        """Register an ensemble's views on their computed files, and one service a stage.

        Args:
            ensemble: The ensemble's name.
            entity: What a row is about.
            key: The entity's column.
            views: Each view with the folder that one computation of it wrote.
            services: `<ensemble>_<stage>` -> feature references as `name@vN`.
        """
        ...

    def training_set(self, spine: Path, references: Sequence[str], out: Path) -> int:
        """Join features to a spine as of each row's time, never later.

        Args:
            spine: Parquet with the key, `event_timestamp` (UTC) and `label`.
            references: Views as `name@vN`, in column order.
            out: Parquet to write: the spine's rows and `view__feature` float32 columns.

        Returns:
            The rows written, equal to the spine's.
        """
        ...

    def materialize(self, end: datetime, views: Sequence[str]) -> None:
        """Bring the newest values up to `end` (UTC) of views (`name@vN`) into the online store."""
        ...

    def online(self, keys: Sequence[str], references: Sequence[str]) -> dict[str, list[Any]]:
        """The newest values: the key and each `view__feature`, one entry a key, in order."""
        ...
