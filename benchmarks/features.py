"""Window features against pandas: ``python benchmarks/features.py``.

One fleet hour of readings, 15-minute windows. DuckDB runs all 45 features of `device_window@v1`;
pandas, the named peer, runs the 38 plain aggregations of the same windows and neither ratios nor
quality counts. The bare query is what firnline compiles, from Parquet to Parquet and no more;
firnline also compiles it, looks at the order of readings, sorts the windows and sees that each
stands once, so that its bytes depend on neither threads nor order, and digests what it wrote.
CPU-seconds are of the whole process with its threads, the least of three after a first round;
rounds take turns.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.refrigeration.transforms import FRACTIONS, SENSORS, VIEWS
from firnline.adapters.duckdb_features import compile_sql, compute

START = datetime(2026, 2, 2, 6, tzinfo=UTC)
MINUTES = 60
ROUNDS = 3


def readings(devices: int) -> pa.Table:
    """One hour of clean readings, one a minute and device."""
    random = np.random.default_rng(1)
    rows = devices * MINUTES
    minute = np.tile(np.arange(MINUTES), devices)
    start = np.datetime64(START.replace(tzinfo=None), "us")
    columns: dict[str, object] = {
        "event_id": pa.array(np.arange(rows)).cast(pa.string()),
        "device_id": np.repeat([f"REF-{device:08d}" for device in range(devices)], MINUTES),
        "timestamp_utc": pa.array(start + minute * np.timedelta64(60, "s")).cast(
            pa.timestamp("us", tz="UTC")
        ),
    }
    columns |= {sensor: random.normal(20, 3, rows).round(2) for sensor, _ in SENSORS.values()}
    columns |= {flag: random.random(rows) < 0.05 for flag in FRACTIONS.values()}
    columns |= {
        "quality_flags": pa.array([[]] * rows, pa.list_(pa.string())),
        "sensor_null_count": pa.array(np.zeros(rows, np.int32)),
        "sequence_number": np.arange(rows),
    }
    return pa.table(columns)


def with_pandas(source: Path, out: Path) -> None:
    """The aggregations in pandas; slopes as covariance over variance, as we do it."""
    sensors = [sensor for sensor, _ in SENSORS.values()]
    columns = ["device_id", "timestamp_utc", *sensors, *FRACTIONS.values()]
    frame = pd.read_parquet(source, columns=columns)
    frame = frame.assign(
        window=frame["timestamp_utc"].dt.floor("15min"),
        x=(frame["timestamp_utc"].dt.minute % 15).astype(float),
    )
    groups = frame.groupby(["device_id", "window"], sort=True)
    plain = {
        sensor: [kind for kind in kinds if kind not in {"slope", "p95"}]
        for sensor, kinds in SENSORS.values()
    }
    found = groups.agg({**plain, **dict.fromkeys(FRACTIONS.values(), "mean")})
    found["p95"] = groups["vibration_compressor"].quantile(0.95)
    centred = frame["x"] - groups["x"].transform("mean")
    keys = [frame["device_id"], frame["window"]]
    spread = (centred**2).groupby(keys).sum()
    for sensor, kinds in SENSORS.values():
        if "slope" in kinds:
            found[f"{sensor}_slope"] = (centred * frame[sensor]).groupby(keys).sum() / spread
    found.columns = ["_".join(name) for name in found.columns.to_flat_index()]
    found.reset_index().to_parquet(out, compression="zstd")


def bare(source: Path, out: Path) -> None:
    """The compiled query alone, from Parquet to Parquet."""
    query = compile_sql(VIEWS[0], source)
    with duckdb.connect(config={"threads": 1}) as database:
        database.execute("SET TimeZone='UTC'")
        database.execute(f"CREATE VIEW readings AS FROM read_parquet('{source}')")
        database.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")


def cpu_seconds(works: Sequence[Callable[[], object]]) -> list[float]:
    """Least CPU time of each in some rounds after a first one."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS + 1):
        for work, times in zip(works, taken, strict=True):
            begin = time.process_time()
            work()
            times.append(time.process_time() - begin)
    return [min(times[1:]) for times in taken]


def main() -> None:
    """Prints the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=20_000)
    devices = parser.parse_args().devices
    table = readings(devices)
    with tempfile.TemporaryDirectory() as folder:
        hour = Path(folder) / "clean" / f"date={START:%Y-%m-%d}" / f"hour={START:%H}"
        hour.mkdir(parents=True)
        pq.write_table(table, hour / "part-0.parquet")
        clean, source = Path(folder) / "clean", hour / "part-0.parquet"
        ours, query, peer = cpu_seconds(
            [
                lambda: compute(VIEWS[0], clean, Path(folder) / "out"),
                lambda: bare(source, Path(folder) / "bare.parquet"),
                lambda: with_pandas(source, Path(folder) / "peer.parquet"),
            ]
        )
    rows = table.num_rows
    hours = timedelta(minutes=MINUTES) / timedelta(hours=1)
    print(f"{devices:,} devices, {hours:g} h, {rows:,} readings, 15-minute windows")
    for name, taken in (("firnline", ours), ("bare query", query), ("pandas", peer)):
        print(f"{name:<10} {taken:6.2f} CPU-s  {rows / taken / 1e6:5.2f} M/s")
    print(f"firnline / bare query {ours / query:5.2f}")
    print(f"pandas / firnline     {peer / ours:5.2f}")


if __name__ == "__main__":
    main()
