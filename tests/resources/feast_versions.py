"""A small Feast repository whose one version is published: what the guard's tests work on."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float32, Float64, String

from firnline.contracts.lock import Line, Lock, render
from firnline.digest import digest

PROJECT = "plant"
STORE = "firnline.adapters.feast_guard.file_store.FirnlineRegistryStore"

PROVIDER = "firnline.adapters.feast_online.provider.FirnlineProvider"
ONLINE = "firnline.adapters.feast_online.store.FirnlineOnlineStore"


def record(**changes: Any) -> dict[str, Any]:
    """What `window@v1` means."""
    return {
        "name": "window",
        "version": 1,
        "entities": [{"name": "device", "key": "device_id", "dtype": "string"}],
        "fields": [["mean", "float64"], ["slope", "float64"], ["load", "float32"]],
        "ttl_seconds": 3600,
        "source": {
            "kind": "parquet",
            "path": "firnline://window_v1",
            "timestamp_column": "window_end",
            "mapping": {},
        },
        "transformation": {"root": "mean", "definitions": {"mean": "0" * 64}, "imports": []},
        **changes,
    }


def line(reference: str = "window@v1", **changes: Any) -> Line:
    """A line of the lock, its digest that of its record."""
    name, _, version = reference.partition("@v")
    table = f"{name}_v{version}"
    held = record(name=name, version=int(version))
    held["source"] = {**held["source"], "path": f"firnline://{table}"}
    held |= changes
    return Line(reference, digest(held), held)


def write_lock(folder: Path, *lines: Line) -> None:
    """Publish versions in the folder's features.lock."""
    kept = tuple(sorted(lines, key=lambda each: each.order))
    (folder / "features.lock").write_text(render(Lock(kept)), encoding="utf-8")


def device(**changes: Any) -> Entity:
    """What a row is about."""
    wanted: dict[str, Any] = {
        "name": "device",
        "join_keys": ["device_id"],
        "value_type": ValueType.STRING,
    }
    return Entity(**(wanted | changes))


def source(name: str = "window_v1", **changes: Any) -> FileSource:
    """Where a version's data lies."""
    from feast.data_format import ParquetFormat

    wanted: dict[str, Any] = {
        "name": name,
        "path": f"firnline://{name}",
        "timestamp_field": "window_end",
        "file_format": ParquetFormat(),
    }
    return FileSource(**(wanted | changes))


def fields() -> list[Field]:
    """The columns of a version, its key first."""
    return [
        Field(name="device_id", dtype=String),
        Field(name="mean", dtype=Float64),
        Field(name="slope", dtype=Float64),
        Field(name="load", dtype=Float32),
    ]


def view(reference: str = "window@v1", **changes: Any) -> FeatureView:
    """The Feast view of a version, as its line records it."""
    table = reference.replace("@", "_")
    wanted: dict[str, Any] = {
        "name": table,
        "entities": [device()],
        "ttl": timedelta(hours=1),
        "schema": fields(),
        "source": source(table),
        "tags": {"reference": reference, "digest": line(reference).digest},
    }
    return FeatureView(**(wanted | changes))


def service(*views: Any, name: str = "encoder_reads") -> FeatureService:
    """What a stage reads."""
    return FeatureService(name=name, features=list(views or [view()]))


def repository(folder: Path, registry: dict[str, Any], ours: bool = False) -> Path:
    """A folder that Feast runs from.

    Args:
        folder: Made if it is not there.
        registry: The registry's part of feature_store.yaml.
        ours: With firnline's provider and online store instead of Feast's local ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "project": PROJECT,
        "provider": PROVIDER if ours else "local",
        "registry": registry,
        "online_store": {"type": ONLINE if ours else "sqlite", "path": "online.db"},
        "offline_store": {"type": "duckdb"},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return folder


def file_registry() -> dict[str, Any]:
    """The guarded file registry."""
    return {"path": "registry.db", "registry_store_type": STORE}


def opened(folder: Path) -> FeatureStore:
    """A client of its own, with a cache of its own."""
    return FeatureStore(repo_path=str(folder))
