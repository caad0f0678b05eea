from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RequestSource,
    ValueType,
)
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import (
    FileLoggingDestination,
    SavedDatasetFileStorage,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64

from firnline.adapters.feast_offline.store import FirnlineOfflineStore, FirnlineOfflineStoreConfig
from firnline.errors import HandshakeError
from tests.firnline.adapters.feast_offline.stores import as_feast_warns, offline

START = datetime(2026, 1, 1, tzinfo=UTC)
DRIVERS = 5


def at(hours: float) -> datetime:
    return START + timedelta(hours=float(hours))


def trips(rows: int = 60) -> pa.Table:
    rng = np.random.default_rng(2)
    return pa.table(
        {
            "driver_id": pa.array(rng.integers(0, DRIVERS, rows)),
            "happened": pa.array([at(hours) for hours in rng.integers(0, 48, rows)]),
            # Ties in the time above, never in both.
            "made": pa.array([at(0.001 * number) for number in rng.permutation(rows)]),
            "raw_km": pa.array(rng.random(rows)),
            "trips": pa.array(np.arange(rows), pa.int32()),
        }
    )


def fees() -> pa.Table:
    hours = range(0, 48, 3)
    return pa.table({"ts": [at(hour) for hour in hours], "fee": pa.array(hours, pa.int64())})


def spine(rows: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "driver_id": rng.integers(0, DRIVERS + 2, rows),
            "event_timestamp": [at(hours) for hours in rng.integers(-2, 60, rows)],
            "label": np.arange(rows),
            "factor": 2.0,
        }
    )


def objects(repository: Path) -> list[Any]:
    driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
    trip_rows = FileSource(
        name="trip_rows",
        path=str(repository / "trips"),
        timestamp_field="ts",
        created_timestamp_column="made",
        field_mapping={"raw_km": "km", "happened": "ts"},
    )
    day = FeatureView(
        name="trip",
        entities=[driver],
        ttl=timedelta(hours=6),
        schema=[Field(name="km", dtype=Float64), Field(name="trips", dtype=Int64)],
        source=trip_rows,
    )
    ever = FeatureView(
        name="ever",
        entities=[driver],
        ttl=timedelta(0),
        schema=[Field(name="km", dtype=Float64)],
        source=FileSource(
            name="more_rows",
            path="more.parquet",
            timestamp_field="happened",
            created_timestamp_column="made",
            field_mapping={"raw_km": "km"},
        ),
    )
    fee = FeatureView(
        name="fee",
        entities=[],
        ttl=timedelta(hours=4),
        schema=[Field(name="fee", dtype=Int64)],
        source=FileSource(name="fees", path="fees.parquet", timestamp_field="ts"),
    )

    @on_demand_feature_view(
        sources=[
            day,
            RequestSource(name="request", schema=[Field(name="factor", dtype=Float64)]),
        ],
        schema=[Field(name="scaled", dtype=Float64)],
    )
    def scaled(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"scaled": inputs["km"] * inputs["factor"]})

    both_ways = FeatureService(
        name="both_ways",
        features=[
            day.with_name("out").with_join_key_map({"driver_id": "first"})[["km"]],
            day.with_name("back").with_join_key_map({"driver_id": "second"})[["km"]],
        ],
    )
    return [driver, day, ever, fee, scaled, both_ways]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    repository = tmp_path_factory.mktemp("repository")
    (repository / "trips").mkdir()
    for number in range(2):
        half = trips().slice(number * 30, 30)
        pq.write_table(half, repository / "trips" / f"part-{number}.parquet")
    pq.write_table(trips(), repository / "more.parquet")
    pq.write_table(fees(), repository / "fees.parquet")
    store = offline(repository, rows_at_once=33)
    with as_feast_warns():
        store.apply(objects(repository))
    return store


def joined(store: FeatureStore, entity_df: Any, features: Any, **options: Any) -> pa.Table:
    return store.get_historical_features(entity_df, features, **options).to_arrow()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("known_by_then", [False, True])
def test_the_same_as_feasts_duckdb_store(
    store: FeatureStore, full: bool, known_by_then: bool, tmp_path: Path
) -> None:
    pq.write_table(trips(), tmp_path / "trips.parquet")
    rows = FileSource(
        name="trip_rows",
        path=str(tmp_path / "trips.parquet"),
        timestamp_field="ts",
        created_timestamp_column="made",
        field_mapping={"raw_km": "km", "happened": "ts"},
    )
    view = store.get_feature_view("trip")
    view.batch_source = rows
    options = {
        "feature_views": [view],
        "feature_refs": ["trip:trips", "trip:km"],
        "registry": store.registry,
        "project": "trips",
        "full_feature_names": full,
        "filter_by_created_timestamp": known_by_then,
    }
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig

    ours = FirnlineOfflineStore.get_historical_features(
        config=store.config, entity_df=spine(), **options
    ).to_df()
    config = store.config.model_copy()
    config.__dict__["_offline_store"] = DuckDBOfflineStoreConfig()
    with as_feast_warns():
        theirs = DuckDBOfflineStore.get_historical_features(
            config=config, entity_df=spine(), **options
        ).to_df()
    theirs = theirs.sort_values("label", ignore_index=True)
    assert list(ours.columns) == list(theirs.columns)
    assert 0 < ours.iloc[:, -1].isna().sum() < len(ours)
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)


def value(entity: Any, rows: pa.Table, ttl: timedelta | None, column: str) -> Any:
    found = [
        (row["happened"], row["made"], row[column])
        for row in rows.to_pylist()
        if row["driver_id"] == entity[0]
        and row["happened"] <= entity[1]
        and (ttl is None or row["happened"] >= entity[1] - ttl)
    ]
    return max(found)[2] if found else None


def test_several_views_and_an_on_demand_view(store: FeatureStore) -> None:
    wanted = ["ever:km", "trip:trips", "fee:fee", "scaled:scaled"]
    entities = spine()
    found = joined(store, entities, wanted, full_feature_names=True)
    assert found.column_names == [
        *entities.columns,
        *("ever__km", "trip__trips", "trip__km", "fee__fee", "scaled__scaled"),
    ]
    assert found["label"].to_pylist() == list(range(len(entities)))
    fee_rows = fees().to_pylist()
    for row in found.to_pylist():
        at_time = (row["driver_id"], row["event_timestamp"])
        assert row["ever__km"] == value(at_time, trips(), None, "raw_km")
        assert row["trip__trips"] == value(at_time, trips(), timedelta(hours=6), "trips")
        km = row["trip__km"]
        assert row["scaled__scaled"] == (km and km * 2)
        recent = [
            fee["fee"]
            for fee in fee_rows
            if timedelta(0) <= at_time[1] - fee["ts"] <= timedelta(hours=4)
        ]
        assert row["fee__fee"] == (max(recent) if recent else None)


def test_one_view_twice_by_other_keys(store: FeatureStore) -> None:
    entities = pd.DataFrame(
        {"first": [0, 1, 2, 9], "second": [1, 1, 0, 3], "event_timestamp": [at(24)] * 4}
    )
    service = store.get_feature_service("both_ways")
    found = joined(store, entities, service, full_feature_names=True)
    for name, key in (("out__km", "first"), ("back__km", "second")):
        assert found[name].to_pylist() == [
            value((driver, at(24)), trips(), timedelta(hours=6), "raw_km")
            for driver in entities[key]
        ]


def test_whatever_the_entity_rows_come_as(store: FeatureStore, tmp_path: Path) -> None:
    entities = spine()
    wanted = ["trip:km", "fee:fee"]
    frame = joined(store, entities, wanted)
    table = pa.Table.from_pandas(entities, preserve_index=False)
    pq.write_table(table, tmp_path / "spine.parquet")
    as_text = entities.assign(event_timestamp=entities["event_timestamp"].astype(str))
    without_zone = entities.assign(event_timestamp=entities["event_timestamp"].dt.tz_localize(None))
    query = f"SELECT * FROM '{tmp_path / 'spine.parquet'}' ORDER BY label"
    for given in (table, as_text, without_zone, query):
        found = joined(store, given, wanted)
        assert found["event_timestamp"].type.tz == "UTC"
        assert found.to_pylist() == frame.to_pylist()
    floating = entities.assign(driver_id=entities["driver_id"].astype("float64"))
    assert joined(store, floating, wanted)["km"] == frame["km"]
    none = joined(store, entities.iloc[:0], wanted)
    assert (none.num_rows, none.column_names) == (0, frame.column_names)


def test_without_entity_rows_every_entity_as_of_the_end(store: FeatureStore) -> None:
    found = joined(store, None, ["trip:km", "fee:fee"], start_date=at(12), end_date=at(30))
    drivers = {
        row["driver_id"] for row in trips().to_pylist() if at(12) <= row["happened"] <= at(30)
    }
    assert set(found["driver_id"].to_pylist()) == drivers
    for row in found.to_pylist():
        entity = (row["driver_id"], row["event_timestamp"])
        assert entity[1] == at(30)
        assert row["km"] == value(entity, trips(), timedelta(hours=6), "raw_km")
        assert row["fee"] == 30


def test_materialized_values_are_those_of_the_join(store: FeatureStore) -> None:
    with as_feast_warns():
        store.materialize(at(0), at(40), feature_views=["ever", "fee"])
        online = store.get_online_features(
            ["ever:km", "fee:fee"], [{"driver_id": driver} for driver in range(DRIVERS + 1)]
        ).to_dict()
    entities = pd.DataFrame({"driver_id": range(DRIVERS + 1), "event_timestamp": at(40)})
    assert online["km"] == joined(store, entities, ["ever:km"])["km"].to_pylist()
    assert online["fee"] == [39] * (DRIVERS + 1)


def test_pulling_rows(store: FeatureStore) -> None:
    source = store.get_feature_view("ever").batch_source
    given = (["driver_id"], ["raw_km"], "happened", "made", at(10), at(20))
    latest = FirnlineOfflineStore.pull_latest_from_table_or_query(store.config, source, *given)
    every = FirnlineOfflineStore.pull_all_from_table_or_query(store.config, source, *given)
    inside = [row for row in trips().to_pylist() if at(10) <= row["happened"] <= at(20)]
    columns = ["driver_id", "raw_km", "happened", "made"]
    assert every.to_arrow().to_pylist() == [{name: row[name] for name in columns} for row in inside]
    best: dict[int, Any] = {}
    for row in sorted(inside, key=lambda row: (row["happened"], row["made"])):
        best[row["driver_id"]] = row["raw_km"]
    assert latest.to_arrow().column_names == columns
    assert dict(zip(*latest.to_arrow().select([0, 1]).to_pydict().values(), strict=True)) == best


def test_writing(tmp_path: Path) -> None:
    (tmp_path / "trips").mkdir()
    pq.write_table(trips(), tmp_path / "trips" / "part-0.parquet")
    pq.write_table(trips(), tmp_path / "more.parquet")
    pq.write_table(fees(), tmp_path / "fees.parquet")
    store = offline(tmp_path)
    with as_feast_warns():
        store.apply(objects(tmp_path))
    late = trips().slice(0, 2).set_column(3, "raw_km", pa.array([-1.0, -2.0]))
    for name in ("trip", "ever"):
        FirnlineOfflineStore.offline_write_batch(
            store.config, store.get_feature_view(name), late, None
        )
        rows = late.to_pylist()
        entities = pd.DataFrame(
            {
                "driver_id": [row["driver_id"] for row in rows],
                "event_timestamp": [row["happened"] for row in rows],
            }
        )
        # Equal in time and created time: the row written later counts.
        newest = joined(store, entities, [f"{name}:km"])["km"].to_pylist()
        assert -2.0 in newest and len(set(newest)) <= 2
    job = store.get_historical_features(spine(), ["ever:km"])
    for path in ("set.parquet", "set"):
        job.persist(SavedDatasetFileStorage(path))
        assert pq.read_table(tmp_path / path).equals(job.to_arrow())
        with pytest.raises(SavedDatasetLocationAlreadyExists):
            job.persist(SavedDatasetFileStorage(path))
        job.persist(SavedDatasetFileStorage(path), allow_overwrite=True)
    logging = type("Logging", (), {"destination": FileLoggingDestination(path="log")})
    for _ in range(2):
        FirnlineOfflineStore.write_logged_features(store.config, late, None, logging, None)
    assert pq.read_table(tmp_path / "log").num_rows == 4


def test_schemas_come_from_the_source(store: FeatureStore) -> None:
    engine = FirnlineOfflineStore()
    source = store.get_feature_view("trip").batch_source
    found = dict(engine.get_table_column_names_and_types_from_data_source(store.config, source))
    assert found["raw_km"] == "double"
    engine.validate_data_source(store.config, source)
    engine.validate_data_source(store.config, FileSource(path="not_yet.parquet"))
    missing = FileSource(path="fees.parquet", timestamp_field="when")
    with pytest.raises(HandshakeError, match=r"O3.*when.*fee"):
        engine.validate_data_source(store.config, missing)


def refused(store: FeatureStore, source: Any = None, entities: Any = None) -> HandshakeError:
    """What a join says whose source or entity rows are not as they should be."""
    view = store.get_feature_view("ever")
    view.batch_source = source or view.batch_source
    with pytest.raises(HandshakeError) as caught:
        FirnlineOfflineStore.get_historical_features(
            store.config,
            [view],
            ["ever:km"],
            spine() if entities is None else entities,
            store.registry,
            "trips",
        ).to_arrow()
    return caught.value


def test_refusals_of_sources(store: FeatureStore, tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("no")
    times = fees().append_column("km", fees()["fee"]).append_column("driver_id", fees()["fee"])
    pq.write_table(times.set_column(0, "ts", times["fee"]), tmp_path / "numbers.parquet")
    of = lambda path, time="ts": FileSource(path=str(path), timestamp_field=time)  # noqa: E731
    assert refused(store, of("nowhere/*.parquet")).code == "O1"
    assert refused(store, of("s3://bucket/rows.parquet")).code == "O1"
    assert refused(store, of("firnline://trip_v1")).code == "O2"
    lacking = refused(store, of("fees.parquet"))
    assert lacking.code == "O3" and "driver_id" in lacking.found
    assert refused(store, of(tmp_path / "numbers.parquet")).code == "O6"
    assert refused(store, of(tmp_path / "broken.parquet")).code == "O9"


def test_refusals_of_entity_rows(store: FeatureStore) -> None:
    rows = spine()
    no_key = refused(store, entities=rows.rename(columns={"driver_id": "who", "label": "km"}))
    assert no_key.code == "O4" and "no column driver_id; column km twice" in no_key.found
    assert refused(store, entities=rows.drop(columns="event_timestamp")).code == "O4"
    assert refused(store, entities=rows.assign(driver_id="seven")).code == "O5"
    assert refused(store, entities=rows.assign(event_timestamp="soon")).code == "O6"
    assert refused(store, entities=[1, 2]).code == "O8"
    assert refused(store, entities="SELECT nothing").code == "O8"


def test_the_configuration_names_the_class() -> None:
    kind = FirnlineOfflineStoreConfig().type
    assert kind == f"{FirnlineOfflineStore.__module__}.{FirnlineOfflineStore.__qualname__}"
