"""Feast's objects for a window view, built in one place for the flow and for `feast apply`."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, String

from firnline.contracts.features import TIMESTAMP_COLUMN, WindowView

PROJECT = "firnline"


def entity(name: str, key: str) -> Entity:
    """What features are about, joined by one text column."""
    return Entity(name=name, join_keys=[key], value_type=ValueType.STRING)


def source(view: WindowView, folder: Path) -> FileSource:
    """The Parquet folder that one computation of a view wrote.

    Args:
        view: The view.
        folder: Absolute path; its content never changes once it is there.
    """
    return FileSource(
        name=view.table,
        path=str(folder),
        file_format=ParquetFormat(),
        timestamp_field=TIMESTAMP_COLUMN,
    )


def feature_view(view: WindowView, about: Entity, files: FileSource) -> FeatureView:
    """A view under a name that holds its version, so that Feast cannot change it in place."""
    return FeatureView(
        name=view.table,
        entities=[about],
        ttl=timedelta(seconds=view.ttl_seconds),
        schema=[
            Field(name=view.key, dtype=String),
            *(Field(name=feature, dtype=Float64) for feature in view.features),
        ],
        source=files,
        tags={"reference": view.reference, "digest": view.digest()},
    )


def feature_services(
    wanted: Mapping[str, Iterable[str]], views: Mapping[str, FeatureView]
) -> dict[str, FeatureService]:
    """One service a stage.

    Args:
        wanted: Service name -> feature references.
        views: Feature reference -> its view.
    """
    return {
        name: FeatureService(name=name, features=[views[reference] for reference in references])
        for name, references in wanted.items()
    }


def pointer_path(state: Path, ensemble: str) -> Path:
    """Where an ensemble's newest computed features are named."""
    return state / "features" / f"{ensemble}.json"


def read_pointer(state: Path, ensemble: str) -> dict[str, Any]:
    """The ensemble's newest computed features.

    Returns:
        `views`: reference -> folder; `services`: name -> references. Both are empty before the
        first computation.
    """
    path = pointer_path(state, ensemble)
    if not path.is_file():
        return {"views": {}, "services": {}}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def computed_folder(state: Path, ensemble: str, view: WindowView) -> Path:
    """The newest folder of a view; before there is one, the place that says so."""
    folder = read_pointer(state, ensemble)["views"].get(view.reference)
    return Path(folder) if folder else state / "features" / "not_computed_yet" / view.table
