from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.refrigeration.transforms import FEATURES, SENSORS, VIEWS, aggregation
from firnline.adapters.duckdb_features import compute
from tests.resources import clean_readings

WINDOW = VIEWS[0]
SLIDING = replace(WINDOW, name="device_sliding", every_seconds=300)
ALL_SENSORS = (*clean_readings.SENSORS, *clean_readings.FLAGS)


def slope(values: pd.Series, minutes: pd.Series) -> float:
    both = values.notna()
    x, y = minutes[both].to_numpy(float), values[both].to_numpy(float)
    if len(x) < 2 or np.ptp(x) == 0:
        return np.nan
    return float(np.polyfit(x, y, 1)[0])


PLAIN: dict[str, Callable[[pd.Series, pd.Series], float]] = {
    "mean": lambda values, _: values.mean(),
    "std": lambda values, _: values.std(ddof=1),
    "min": lambda values, _: values.min(),
    "max": lambda values, _: values.max(),
    "p95": lambda values, _: values.quantile(0.95, interpolation="linear"),
    "slope": slope,
}


def plain_features(rows: pd.DataFrame, minutes: pd.Series) -> dict[str, float]:
    """The 45 features of one window, written out in pandas."""
    found = {
        f"{prefix}_{kind}": PLAIN[kind](rows[sensor], minutes)
        for prefix, (sensor, kinds) in SENSORS.items()
        for kind in kinds
    }
    found["door_open_fraction"] = rows.door_open_close.astype(float).mean()
    found["defrost_active_fraction"] = rows.defrost_cycle.astype(float).mean()
    low = found["pressure_low_mean"]
    found["pressure_ratio"] = found["pressure_high_mean"] / low if low > 0 else np.nan
    spread = found["temp_condenser_mean"] - found["temp_evaporator_mean"]
    found["temp_spread_evap_cond"] = spread
    found["temp_spread_discharge_suction"] = (
        found["temp_discharge_mean"] - found["temp_suction_mean"]
    )
    found["current_per_temp_spread"] = (
        found["current_compressor_mean"] / spread if spread else np.nan
    )
    found["reading_count"] = float(len(rows))
    found["sensor_completeness"] = float((rows[list(ALL_SENSORS)].notna().sum(axis=1) / 14).mean())
    found["quality_flag_count"] = float((rows.quality_flags.map(len) > 0).sum())
    return found


def plain(rows: pd.DataFrame, window_seconds: int, every_seconds: int) -> pd.DataFrame:
    seconds = rows.timestamp_utc.astype("datetime64[s, UTC]").astype("int64")
    found = []
    ends = range(
        int(seconds.min()) // every_seconds * every_seconds + every_seconds,
        int(seconds.max()) + window_seconds + 1,
        every_seconds,
    )
    for end in ends:
        inside = (seconds >= end - window_seconds) & (seconds < end)
        for device, group in rows[inside].groupby("device_id"):
            minutes = (seconds[group.index] - (end - window_seconds)) / 60
            found.append({"device_id": device, "end": end, **plain_features(group, minutes)})
    return pd.DataFrame(found).sort_values(["device_id", "end"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    root = tmp_path_factory.mktemp("refrigeration")
    clean = clean_readings.write(clean_readings.readings(), root / "clean")
    frames = {}
    for view in (*VIEWS, SLIDING):
        compute(view, clean, root)
        frame = read(root / view.table)
        frame["end"] = frame.window_end.astype("datetime64[s, UTC]").astype("int64")
        frames[view.name] = frame.sort_values(["device_id", "end"]).reset_index(drop=True)
    return frames


@pytest.fixture(scope="module")
def expected() -> dict[str, pd.DataFrame]:
    rows = clean_readings.readings().to_pandas()
    views = (*VIEWS, SLIDING)
    return {view.name: plain(rows, view.window_seconds, view.every_seconds) for view in views}


def read(folder: Path) -> pd.DataFrame:
    files = sorted(folder.glob("date=*/*.parquet"))
    return pd.concat([pq.ParquetFile(file).read().to_pandas() for file in files])


def test_there_are_45_features_each_once() -> None:
    assert len(FEATURES) == len(set(FEATURES)) == 45


@pytest.mark.parametrize("view", [*VIEWS, SLIDING], ids=lambda view: view.name)
@pytest.mark.parametrize("feature", FEATURES)
def test_feature_equals_plain_reference(
    feature: str,
    view: object,
    computed: dict[str, pd.DataFrame],
    expected: dict[str, pd.DataFrame],
) -> None:
    ours, reference = computed[view.name], expected[view.name]
    assert ours[["device_id", "end"]].equals(reference[["device_id", "end"]])
    np.testing.assert_allclose(
        ours[feature].to_numpy(float), reference[feature].to_numpy(float), rtol=1e-9, atol=1e-12
    )


def test_the_data_reaches_the_edges(expected: dict[str, pd.DataFrame]) -> None:
    reference = expected["device_window"]
    assert (reference.reading_count == 1).any()
    assert reference.subcooling_mean.isna().any()
    assert reference.pressure_ratio.isna().any() and reference.pressure_ratio.notna().any()
    assert reference.temp_evaporator_slope.isna().any()


def sql_of(kind: str) -> str:
    rows = ibis.table({"value": "float64", "minutes": "float64"}, name="rows")
    measure = aggregation(rows["value"], rows["minutes"], kind)
    return str(ibis.to_sql(rows.aggregate(found=measure), dialect="duckdb"))


QUERIES = {kind: sql_of(kind) for kind in PLAIN}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-1e3, 1e3).map(lambda value: round(value, 3)),
            st.integers(0, 3600),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_aggregations_hold_for_any_readings(rows: list[tuple[float | None, int]]) -> None:
    values = pd.Series([value for value, _ in rows], dtype=float)
    minutes = pd.Series([second / 60 for _, second in rows])
    with duckdb.connect() as database:
        database.execute("CREATE TABLE rows (value DOUBLE, minutes DOUBLE)")
        database.executemany(
            "INSERT INTO rows VALUES (?, ?)",
            [(value, second / 60) for value, second in rows],
        )
        for kind, query in QUERIES.items():
            (found,) = database.execute(query).fetchone()
            wanted = PLAIN[kind](values, minutes)
            assert (found is None) == bool(np.isnan(wanted)), kind
            if found is not None:
                assert found == pytest.approx(wanted, rel=1e-6, abs=1e-6), kind
