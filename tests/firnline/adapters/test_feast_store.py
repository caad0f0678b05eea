import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.adapters import spine
from firnline.adapters.duckdb_features import compute
from firnline.adapters.feast_store import FeastStore
from firnline.adapters.feature_data import FeatureData
from firnline.contracts.handshake import Facts, StageFacts
from firnline.contracts.lock import Lock, add, render
from firnline.errors import HandshakeError
from tests.resources import clean_readings

ROOT = Path(__file__).parents[3]
REFERENCES = tuple(view.reference for view in VIEWS)
LOCK = {view.reference: view.digest() for view in VIEWS}
READS = {"encoder": REFERENCES[:1], "classifier": REFERENCES}
UTC_TIME = pa.timestamp("us", tz="UTC")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("features")
    clean = clean_readings.write(clean_readings.readings(hours=6), root / "clean")
    for view in VIEWS:
        compute(view, clean, root)
    return root


@pytest.fixture(scope="module")
def store(features: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeastStore]:
    locks = (ROOT / "feature_repo" / "features.lock",)
    store = FeastStore(tmp_path_factory.mktemp("state"), locks, rows_at_once=70)
    apply(store, features)
    yield store


def apply(store: FeastStore, features: Path) -> dict[str, str]:
    """Commit what was computed and register it; the snapshots by reference."""
    data = FeatureData(store.state / "features" / "data")
    store.apply("device", "device_id", VIEWS)
    return {
        view.reference: data.commit(view.table, view.digest(), features / view.table).digest
        for view in VIEWS
    }


def facts(**digests: str) -> Facts:
    stages = tuple(
        StageFacts(name, {reference: LOCK[reference] for reference in references})
        for name, references in READS.items()
    )
    return Facts("fleet", tuple(READS), stages, {**LOCK, **digests})


def offline(features: Path, table: str) -> list[dict[str, Any]]:
    files = sorted((features / table).rglob("*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def write_spine(path: Path, rows: list[tuple[str, datetime]]) -> Path:
    pq.write_table(
        pa.table(
            {
                "device_id": pa.array([key for key, _ in rows], pa.string()),
                "event_timestamp": pa.array([time for _, time in rows], UTC_TIME),
                "label": pa.array([f"row {number}" for number in range(len(rows))]),
            }
        ),
        path,
    )
    return path


def scattered(rows: int = 120) -> list[tuple[str, datetime]]:
    """Times on, just before and just after window ends, far from any, twice, out of order."""
    rng = np.random.default_rng(11)
    found = [
        (
            f"REF-{rng.integers(0, 4):03d}",
            clean_readings.at(minutes=15 * int(rng.integers(-4, 60)))
            + timedelta(microseconds=int(rng.integers(-1, 2))),
        )
        for _ in range(rows)
    ]
    return [*found, *found[:5]]


def as_of(
    history: list[dict[str, Any]], key: str, time: datetime, ttl: timedelta
) -> dict[str, Any] | None:
    fits = [
        row
        for row in history
        if row["device_id"] == key and row["window_end"] <= time <= row["window_end"] + ttl
    ]
    return max(fits, key=lambda row: row["window_end"]) if fits else None


def test_training_set_is_the_as_of_join(store: FeastStore, features: Path, tmp_path: Path) -> None:
    rows = scattered()
    out = tmp_path / "training_set.parquet"
    assert store.training_set(write_spine(tmp_path / "s", rows), REFERENCES, out) == len(rows)
    found = pq.read_table(out).to_pylist()
    assert [(row["device_id"], row["event_timestamp"]) for row in found] == rows
    assert [row["label"] for row in found] == [f"row {number}" for number in range(len(rows))]
    matched = 0
    for view in VIEWS:
        history = offline(features, view.table)
        for row in found:
            best = as_of(
                history,
                row["device_id"],
                row["event_timestamp"],
                timedelta(seconds=view.ttl_seconds),
            )
            matched += best is not None
            for feature in view.features:
                value = best[feature] if best else None
                wanted = None if value is None else float(np.float32(value))
                assert row[f"{view.name}__{feature}"] == wanted
    assert 0 < matched < 2 * len(rows)


def test_columns_are_in_view_order_as_float32(store: FeastStore, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    source = write_spine(tmp_path / "spine", scattered(3))
    store.training_set(source, REFERENCES[::-1], out)
    schema = pq.read_schema(out)
    wanted = [f"{view.name}__{feature}" for view in VIEWS[::-1] for feature in view.features]
    assert schema.names == ["device_id", "event_timestamp", *wanted, "label"]
    assert {schema.field(name).type for name in wanted} == {pa.float32()}
    assert schema.field("event_timestamp").type == UTC_TIME


def test_bytes_depend_on_neither_run_nor_threads(store: FeastStore, tmp_path: Path) -> None:
    source = write_spine(tmp_path / "spine", scattered())
    made = []
    for number, threads in enumerate((1, 2)):
        out = tmp_path / f"{number}.parquet"
        replace(store, threads=threads).training_set(source, REFERENCES, out)
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_the_future_does_not_leak(store: FeastStore, tmp_path: Path) -> None:
    now = clean_readings.at(hours=3)
    readings = clean_readings.readings(hours=6)
    future = pc.greater_equal(readings["timestamp_utc"], pa.scalar(now, UTC_TIME))
    place = readings.schema.get_field_index("temperature_evaporator")
    changed = readings.set_column(
        place,
        "temperature_evaporator",
        pc.if_else(future, 1e6, readings["temperature_evaporator"]),
    )
    clean = clean_readings.write(changed, tmp_path / "clean")
    for view in VIEWS:
        compute(view, clean, tmp_path)
    other = FeastStore(tmp_path / "state")
    apply(other, tmp_path)
    past = [(key, time) for key, time in scattered() if time <= now]
    source = write_spine(tmp_path / "spine", past)
    for number, each in enumerate((store, other)):
        replace(each, rows_at_once=500).training_set(source, REFERENCES, tmp_path / f"{number}.out")
    assert (tmp_path / "0.out").read_bytes() == (tmp_path / "1.out").read_bytes()


def test_online_equals_the_last_offline_row(store: FeastStore, features: Path) -> None:
    end = clean_readings.at(hours=4, minutes=10)
    store.materialize(end, REFERENCES)
    keys = ["REF-002", "REF-000", "REF-001", "REF-404"]
    found = store.online(keys, REFERENCES, LOCK)
    wanted = [f"{view.name}__{feature}" for view in VIEWS for feature in view.features]
    assert list(found) == ["device_id", *wanted]
    assert found["device_id"] == keys
    for view in VIEWS:
        history = offline(features, view.table)
        for place, key in enumerate(keys):
            last = as_of(history, key, end, timedelta(seconds=view.ttl_seconds))
            for feature in view.features:
                value = found[f"{view.name}__{feature}"][place]
                assert value == (last[feature] if last else None)


def test_an_online_read_refuses_a_version_that_is_not_the_models(
    store: FeastStore, features: Path, tmp_path: Path
) -> None:
    store.materialize(clean_readings.at(hours=4), REFERENCES[:1])
    with pytest.raises(HandshakeError) as caught:
        store.online(["REF-000"], REFERENCES[:1], {REFERENCES[0]: "0" * 64})
    assert caught.value.code == "H1" and "#000000" in caught.value.found
    # Published here, but the store was filled from another definition of the same name.
    other = replace(VIEWS[0], ttl_seconds=60)
    lock = tmp_path / "features.lock"
    lock.write_text(render(add(Lock(()), [other])))
    with pytest.raises(HandshakeError) as caught:
        replace(store, locks=(lock,)).online(
            ["REF-000"], REFERENCES[:1], {REFERENCES[0]: other.digest()}
        )
    assert caught.value.code == "N1"


def test_a_service_a_choice_of_versions(store: FeastStore) -> None:
    names = store.define(facts(), READS)
    assert names == store.define(facts(), READS)
    registered = store._store()
    services = {service.name: service for service in registered.list_feature_services()}
    assert {
        name: [projection.name for projection in services[name].feature_view_projections]
        for name in names.values()
    } == {
        names["encoder"]: ["device_window_v1"],
        names["classifier"]: ["device_window_v1", "device_hour_v1"],
    }
    view = registered.get_feature_view("device_hour_v1")
    assert view.tags == {"reference": "device_hour@v1", "digest": VIEWS[1].digest()}
    assert view.batch_source.path == "firnline://device_hour_v1"
    # Another choice is another service, and the first one stays.
    other = store.define(facts(), {"encoder": REFERENCES[1:]})
    assert other["encoder"] != names["encoder"]
    known = {service.name for service in store._store().list_feature_services()}
    assert {other["encoder"], *names.values()} <= known


def test_stages_that_do_not_belong_together_get_no_service(store: FeastStore) -> None:
    before = [service.name for service in store._store().list_feature_services()]
    with pytest.raises(HandshakeError) as caught:
        store.define(facts(**{REFERENCES[0]: "0" * 64}), {"encoder": REFERENCES})
    assert caught.value.code == "H1" and "definition" in caught.value.where
    assert [service.name for service in store._store().list_feature_services()] == before


def test_a_training_set_reads_the_snapshot_it_names(features: Path, tmp_path: Path) -> None:
    store = FeastStore(tmp_path / "state")
    first = apply(store, features)
    spine_file = write_spine(tmp_path / "spine", scattered())
    store.training_set(spine_file, REFERENCES, tmp_path / "before", first)
    readings = clean_readings.readings(hours=6)
    place = readings.schema.get_field_index("temperature_evaporator")
    late = readings.set_column(
        place, "temperature_evaporator", pc.add(readings["temperature_evaporator"], 1.0)
    )
    clean = clean_readings.write(late, tmp_path / "clean")
    for view in VIEWS:
        compute(view, clean, tmp_path)
    second = apply(store, tmp_path)
    assert set(first.values()).isdisjoint(second.values())
    for name, snapshots in (("newest", None), ("second", second), ("again", first)):
        store.training_set(spine_file, REFERENCES, tmp_path / name, snapshots)
    before, newest, named, again = (
        (tmp_path / name).read_bytes() for name in ("before", "newest", "second", "again")
    )
    assert again == before != newest == named


def test_damaged_data_is_named_before_a_row_is_joined(features: Path, tmp_path: Path) -> None:
    store = FeastStore(tmp_path / "state")
    apply(store, features)
    table = store.state / "features" / "data" / "device_window_v1"
    part = sorted((table / "parts").rglob("*.parquet"))[2]
    part.chmod(0o644)
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(HandshakeError) as caught:
        store.training_set(
            write_spine(tmp_path / "spine", scattered()), REFERENCES, tmp_path / "out"
        )
    assert caught.value.code.startswith("P")
    assert part.name.partition(".")[0] in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("call", ["training_set", "materialize", "online", "define"])
def test_a_view_nobody_registered(
    call: str, store: FeastStore, features: Path, tmp_path: Path
) -> None:
    unknown = ("device_window@v9",)
    calls = {
        "training_set": lambda: store.training_set(
            write_spine(tmp_path / "spine", scattered(2)), unknown, tmp_path / "out"
        ),
        "materialize": lambda: store.materialize(clean_readings.START, unknown),
        "online": lambda: store.online(["REF-000"], unknown, {unknown[0]: "0" * 64}),
        "define": lambda: store.define(facts(), {"encoder": unknown}),
    }
    with pytest.raises(HandshakeError) as caught:
        calls[call]()
    assert caught.value.code == "FV8"
    assert not (tmp_path / "out").exists()


def test_feast_apply_gives_the_same_objects(features: Path, tmp_path: Path) -> None:
    for name in ("refrigeration", "feature_store.yaml", "features.lock"):
        place = ROOT / "feature_repo" / name
        copy = shutil.copytree if place.is_dir() else shutil.copy
        (tmp_path / "feature_repo").mkdir(exist_ok=True)
        copy(place, tmp_path / "feature_repo" / name)
    state = tmp_path / ".firnline"
    ours = FeastStore(state, (tmp_path / "feature_repo" / "features.lock",))
    apply(ours, features)
    ours.define(replace(facts(), ensemble="refrigeration"), READS)
    before = described(ours)
    done = subprocess.run(
        [sys.executable, "-m", "feast.cli.cli", "-c", "feature_repo", "apply"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert described(ours) == before


def described(store: FeastStore) -> dict[str, Any]:
    registered = store._store()
    # Feast's objects compare by what they are, not by when they were applied.
    return {
        "views": sorted(registered.list_feature_views(), key=lambda found: found.name),
        "services": sorted(registered.list_feature_services(), key=lambda found: found.name),
        "entities": sorted(registered.list_entities(), key=lambda found: found.name),
        "sources": sorted(registered.list_data_sources(), key=lambda found: found.name),
    }


def test_spine_labels_by_the_episode_that_covers_the_end(features: Path, tmp_path: Path) -> None:
    def label(start: int, end: int, name: str | None, key: str = "REF-002") -> dict[str, Any]:
        return {
            "device_id": key,
            "start": clean_readings.at(minutes=start),
            "end": clean_readings.at(minutes=end),
            "label": name,
        }

    episodes = [
        label(30, 60, "leak"),
        label(45, 75, "icing"),
        label(0, 600, "other device", "REF-404"),
        label(90, 105, None),
    ]
    rows = labelled(episodes, features, tmp_path)
    found = {row["event_timestamp"]: row["label"] for row in rows if row["device_id"] == "REF-002"}
    by_minute = {
        (time - clean_readings.START) // timedelta(minutes=1): text for time, text in found.items()
    }
    assert {minute: by_minute[minute] for minute in (15, 30, 45, 60, 75, 90, 105, 120)} == {
        15: "normal",
        30: "normal",
        45: "leak",
        60: "leak",
        75: "icing",
        90: "normal",
        105: "",
        120: "normal",
    }
    assert {row["label"] for row in rows if row["device_id"] != "REF-002"} == {"normal"}
    ends = [(row["device_id"], row["window_end"]) for row in offline(features, "device_window_v1")]
    assert [(row["device_id"], row["event_timestamp"]) for row in rows] == sorted(ends)


def test_spine_takes_the_most_severe(features: Path, tmp_path: Path) -> None:
    whole = {"device_id": "REF-002", "start": clean_readings.START}
    whole["end"] = clean_readings.at(hours=6)
    episodes = [{**whole, "label": "a", "severity": 0.1}, {**whole, "label": "b", "severity": 0.9}]
    rows = labelled(episodes, features, tmp_path)
    assert {row["label"] for row in rows if row["device_id"] == "REF-002"} == {"b"}


def test_spine_without_any_episode_knows_nothing(features: Path, tmp_path: Path) -> None:
    assert {row["label"] for row in labelled([], features, tmp_path)} == {""}


def labelled(
    episodes: list[dict[str, Any]], features: Path, tmp_path: Path
) -> list[dict[str, Any]]:
    fields = [
        ("device_id", pa.string()),
        ("start", UTC_TIME),
        ("end", UTC_TIME),
        ("label", pa.string()),
    ]
    if episodes and "severity" in episodes[0]:
        fields.append(("severity", pa.float64()))
    pq.write_table(pa.Table.from_pylist(episodes, pa.schema(fields)), tmp_path / "labels.parquet")
    out = tmp_path / "spine.parquet"
    rows = spine.build(features / "device_window_v1", tmp_path / "labels.parquet", "device_id", out)
    found = pq.read_table(out).to_pylist()
    assert len(found) == rows
    assert {row["event_timestamp"].tzinfo is not None for row in found} <= {True}
    assert all(row["event_timestamp"].astimezone(UTC) for row in found)
    return found
