"""Feast's objects for feature versions, built in one place for the flows and for `feast apply`."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float32, Float64, String

from firnline.adapters.lock_file import outputs_lock_path, read_lock
from firnline.contracts.features import table_name
from firnline.contracts.lock import Line, Versioned

_DTYPES = {"float64": Float64, "float32": Float32}


def entity(name: str, key: str) -> Entity:
    """What features are about, joined by one text column."""
    return Entity(name=name, join_keys=[key], value_type=ValueType.STRING)


def source(version: Versioned | Line) -> FileSource:
    """The place of a version's data: the same text on every machine.

    A registry can so be moved, and two clones define equal views; the offline store knows which
    folder the text stands for.
    """
    place = _record(version)["source"]
    return FileSource(
        name=table_name(version.reference),
        path=place["path"],
        file_format=ParquetFormat(),
        timestamp_field=place["timestamp_column"],
    )


def feature_view(
    version: Versioned | Line, about: Entity | None = None, files: FileSource | None = None
) -> FeatureView:
    """The Feast view of a version, under a name that holds the version.

    Args:
        version: A window view, a stage's outputs, or a line of the lock.
        about: Its entity; made from the record when not given.
        files: Its source; likewise.
    """
    record = _record(version)
    (key,) = record["entities"]
    return FeatureView(
        name=table_name(version.reference),
        entities=[about or entity(key["name"], key["key"])],
        ttl=timedelta(seconds=record["ttl_seconds"]),
        schema=[
            Field(name=key["key"], dtype=String),
            *(Field(name=name, dtype=_DTYPES[dtype]) for name, dtype in record["fields"]),
        ],
        source=files or source(version),
        tags={
            "reference": version.reference,
            "digest": version.digest if isinstance(version, Line) else version.digest(),
        },
    )


def _record(version: Versioned | Line) -> dict[str, Any]:
    return version.record if isinstance(version, Line) else version.record()


def feature_services(
    wanted: Mapping[str, Iterable[str]], views: Mapping[str, FeatureView]
) -> dict[str, FeatureService]:
    """One service a stage.

    Args:
        wanted: Service name -> references of the views it reads, in order.
        views: Reference -> its view; a service that reads another is left out.
    """
    known = {
        name: list(references)
        for name, references in wanted.items()
        if all(reference in views for reference in references)
    }
    return {
        name: FeatureService(name=name, features=[views[reference] for reference in references])
        for name, references in known.items()
    }


def output_views(state: Path, ensemble: str) -> dict[str, FeatureView]:
    """Reference -> view, for every version of the outputs of an ensemble's stages."""
    lines = read_lock(outputs_lock_path(state))
    return {
        line.reference: feature_view(line) for line in lines if line.record["ensemble"] == ensemble
    }


def services_path(state: Path) -> Path:
    """Where the services that flows have defined are named."""
    return state / "features" / "services.json"


def read_services(state: Path, ensemble: str | None = None) -> dict[str, list[str]]:
    """Service -> references, for every service that flows have ever defined.

    Args:
        state: The state folder.
        ensemble: Whose services; all when not given.
    """
    return {
        name: list(service["reads"])
        for name, service in read_document(services_path(state)).items()
        if ensemble in (None, service["ensemble"])
    }


def read_document(path: Path) -> dict[str, Any]:
    """A JSON file as a dict; empty when there is none yet."""
    if not path.is_file():
        return {}
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document
