from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

from firnline.adapters.feast_offline.store import FirnlineOfflineStore
from firnline.adapters.feature_data import FeatureData, Snapshot
from firnline.errors import HandshakeError
from tests.firnline.adapters.feast_offline.stores import as_feast_warns, offline

START = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = "pump_window_v1"
VERSION = "a" * 64
HOURS = 6


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def commit(repository: Path, late: float = 0.0) -> Snapshot:
    """Two pumps, one window and one partition an hour; `late` changes the fourth."""
    folder = repository / f"computed-{late}"
    (folder / "date=2026-01-01").mkdir(parents=True)
    for hour in range(HOURS):
        pressure = hour + late if hour == 3 else float(hour)
        rows = {
            "pump_id": ["a", "b"],
            "window_end": pa.array([at(hour)] * 2, pa.timestamp("us", tz="UTC")),
            "pressure": [pressure, pressure + 100],
        }
        pq.write_table(pa.table(rows), folder / "date=2026-01-01" / f"part-{hour:02d}.parquet")
    return FeatureData(repository / "data").commit(TABLE, VERSION, folder)


def apply(repository: Path, version: str = VERSION, **settings: Any) -> FeatureStore:
    store = offline(repository, data="data", **settings)
    pump = Entity(name="pump", join_keys=["pump_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name=TABLE,
        entities=[pump],
        ttl=timedelta(hours=1),
        schema=[Field(name="pressure", dtype=Float64)],
        source=FileSource(name=TABLE, path=f"firnline://{TABLE}", timestamp_field="window_end"),
        tags={"digest": version},
    )
    with as_feast_warns():
        store.apply([pump, view])
    return store


def job(store: FeatureStore, *hours: float) -> Any:
    rows = [(pump, at(hour)) for hour in hours for pump in "ab"]
    entities = pd.DataFrame(rows, columns=["pump_id", "event_timestamp"])
    return store.get_historical_features(entities, [f"{TABLE}:pressure"])


def values(store: FeatureStore, *hours: float) -> list[float | None]:
    found: list[float | None] = job(store, *hours).to_arrow()["pressure"].to_pylist()
    return found


def part(repository: Path, hour: int) -> Path:
    (found,) = (repository / "data" / TABLE / "parts").rglob(f"part-{hour:02d}.*")
    return found


def overwrite(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])


def test_a_version_needs_data_before_it_is_read_not_before_it_is_applied(tmp_path: Path) -> None:
    store = apply(tmp_path)
    source = store.get_data_source(TABLE)
    FirnlineOfflineStore().validate_data_source(store.config, source)
    with pytest.raises(HandshakeError) as caught:
        values(store, 1)
    assert caught.value.code == "O2"
    commit(tmp_path)
    assert values(store, 0, 1.5, 3, 6.5, -1) == [0, 100, 1, 101, 3, 103, None, None, None, None]
    latest = FirnlineOfflineStore.pull_latest_from_table_or_query(
        store.config, source, ["pump_id"], ["pressure"], "window_end", None, at(0), at(4)
    ).to_arrow()
    assert latest["pressure"].to_pylist() == [4, 104]
    assert values(store, 99) == [None, None]


def test_late_data_leaves_a_pinned_snapshot_as_it_was(tmp_path: Path) -> None:
    first = commit(tmp_path)
    asked_before = job(apply(tmp_path), 3)
    second = commit(tmp_path, late=0.5)
    assert asked_before.snapshots == {TABLE: first.digest}
    assert asked_before.to_arrow()["pressure"].to_pylist() == [3, 103]
    newest = apply(tmp_path)
    assert job(newest, 3).snapshots == {TABLE: second.digest}
    assert values(newest, 3) == [3.5, 103.5]
    assert values(apply(tmp_path, snapshots={TABLE: first.digest}), 3) == [3, 103]


def test_a_damaged_partition_is_named_before_it_is_read(tmp_path: Path) -> None:
    commit(tmp_path)
    store = apply(tmp_path)
    overwrite(part(tmp_path, 3))
    # Pruned away, so neither read nor looked at.
    assert values(store, 0.5) == [0, 100]
    with pytest.raises(HandshakeError, match="part-03") as caught:
        values(store, 3)
    assert caught.value.code == "P3"


def test_the_data_is_of_the_version_that_the_view_says(tmp_path: Path) -> None:
    commit(tmp_path)
    with pytest.raises(HandshakeError) as caught:
        values(apply(tmp_path, "b" * 64), 1)
    assert caught.value.code == "O10"


def test_published_data_is_not_written_through_feast(tmp_path: Path) -> None:
    commit(tmp_path)
    store = apply(tmp_path)
    rows = pa.table({"pump_id": ["a"], "window_end": [at(9)], "pressure": [9.0]})
    with pytest.raises(HandshakeError) as caught:
        FirnlineOfflineStore.offline_write_batch(
            store.config, store.get_feature_view(TABLE), rows, None
        )
    assert caught.value.code == "O7"
    assert values(store, 9) == [None, None]
