"""Feast repositories on the online store under test, and on Feast's own beside it."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, String

OURS = {"type": "firnline.adapters.feast_online.store.FirnlineOnlineStore", "path": "online.db"}
OURS_IN_REDIS = {"type": "firnline.adapters.feast_online.redis_store.FirnlineRedisOnlineStore"}
OFFLINE = {"type": "firnline.adapters.feast_offline.store.FirnlineOfflineStore"}
FEASTS = {"type": "sqlite", "path": "online.db"}
PROVIDER = "firnline.adapters.feast_online.provider.FirnlineProvider"
DIGEST = "a" * 64
END = datetime(2026, 1, 2, tzinfo=UTC)
DEVICE = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)


@contextmanager
def as_feast_warns() -> Iterator[None]:
    """Feast itself uses old names of its dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def feast(folder: Path, online: dict[str, Any] = OURS, provider: str = PROVIDER) -> FeatureStore:
    folder.mkdir(parents=True, exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project="fleet",
            provider=provider,
            registry=str(folder / "registry.db"),
            online_store=online,
            offline_store=OFFLINE if provider == PROVIDER else {"type": "duckdb"},
            entity_key_serialization_version=3,
            repo_path=folder,
        )
    )


def view(
    folder: Path,
    fields: Sequence[tuple[str, Any]] = (("first", Float64), ("second", Float64)),
    *,
    name: str = "window_v1",
    digest: str = DIGEST,
    entities: Sequence[Entity] = (DEVICE,),
    keys: Sequence[tuple[str, Any]] = (("device_id", String),),
    **source: Any,
) -> FeatureView:
    return FeatureView(
        name=name,
        entities=list(entities),
        ttl=timedelta(days=1),
        schema=[Field(name=each, dtype=dtype) for each, dtype in (*keys, *fields)],
        source=FileSource(
            name=name,
            path=str(folder / "data.parquet"),
            **{"timestamp_field": "window_end", **source},
        ),
        tags={"digest": digest} if digest else {},
    )


def table(rows: int = 3, **columns: Any) -> pa.Table:
    """Rows of `device_id` d0, d1, ... that ended at END."""
    times = pa.array([END] * rows, pa.timestamp("us", tz="UTC"))
    return pa.table(
        {"device_id": [f"d{row}" for row in range(rows)], "window_end": times} | columns
    )


def materialized(store: FeatureStore, folder: Path, objects: list[Any], data: pa.Table) -> None:
    pq.write_table(data, folder / "data.parquet")
    with as_feast_warns():
        store.apply(objects)
        store.materialize(END - timedelta(hours=12), END + timedelta(hours=1))


def read(store: FeatureStore, features: list[str], keys: Sequence[Any], **how: Any) -> Any:
    rows = [key if isinstance(key, dict) else {"device_id": key} for key in keys]
    with as_feast_warns():
        return store.get_online_features(features=features, entity_rows=rows, **how)
