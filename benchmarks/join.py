"""Point-in-time joins side by side: ``python -m benchmarks.join`` writes results/join.json.

One table of feature rows, 100 a unit, a day and some hours apart, in the order in which days are
appended; entity rows of random units at random times. Each engine runs in a process of its own:
the store of firnline, on a plain file and on published partitions that it verifies, Feast's DuckDB
store, Feast's Dask store, and a bare ASOF join in DuckDB without TTL or Feast. Seconds count from
the call to the Arrow table, without imports; the peak is the whole process's.

Every result is compared, row by row and column by column, with the definition, written as SQL that
joins every pair and keeps the newest. A row differs when a value does, when it is missing, or when
it came twice. An engine that would leave the machine without memory is stopped, and that is told.
"""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

START = np.datetime64("2026-01-01", "us")
DAY = 86_400_000_000
STEPS = 100
TTL = timedelta(days=30)
TABLE = "unit_day_v1"
SLICES = 20
SPARE_BYTES = 1_500_000_000
RESULTS = Path(__file__).parent / "results" / "join.json"
ENGINES = ("firnline", "firnline_published", "bare_asof", "feast_duckdb", "feast_dask")


def names(features: int) -> list[str]:
    """The features' names."""
    return [f"feature_{number}" for number in range(features)]


def unit_names(numbers: Any) -> Any:
    """Keys as text, as fleets name their devices."""
    texts = pa.array([f"REF-{number:08d}" for number in range(int(numbers.max()) + 1)])
    return pa.DictionaryArray.from_arrays(pa.array(numbers, pa.int32()), texts).cast(pa.string())


def times(microseconds: Any) -> Any:
    """UTC timestamps from microseconds after the start."""
    return pa.array(START + microseconds.astype("timedelta64[us]")).cast(
        pa.timestamp("us", tz="UTC")
    )


def day_rows(random: Any, step: int, units: int, features: int) -> Any:
    """Every unit's row of one day, at a time of its own."""
    moments = step * DAY + random.integers(0, DAY, units)
    return pa.table(
        {"unit": unit_names(np.arange(units)), "ts": times(moments)}
        | {name: random.random(units, dtype=np.float32) for name in names(features)}
    )


def prepare(folder: Path, entities: int, rows: int, features: int) -> None:
    """Write spine, feature file, published partitions, and the definition's answer."""
    random = np.random.default_rng(1)
    units = max(rows // STEPS, 1)
    partitions = folder / "computed"
    tables = (day_rows(random, step, units, features) for step in range(STEPS))
    first = next(tables)
    with pq.ParquetWriter(folder / "features.parquet", first.schema) as writer:
        for step, table in enumerate(itertools.chain([first], tables)):
            writer.write_table(table)
            day = partitions / f"date={START.astype('datetime64[D]') + step}"
            day.mkdir(parents=True)
            pq.write_table(table, day / "part-00.parquet")
    spine = {
        "unit": unit_names(random.integers(0, units, entities)),
        "event_timestamp": times(random.integers(0, STEPS * DAY, entities)),
        "row": np.arange(entities),
    }
    pq.write_table(pa.table(spine), folder / "spine.parquet")
    publish(folder, partitions)
    define(folder)


def publish(folder: Path, partitions: Path) -> None:
    """Commit the same rows as a published version's partitions."""
    from firnline.adapters.feature_data import FeatureData

    FeatureData(folder / "data").commit(TABLE, "0" * 64, partitions, timestamp_column="ts")


def define(folder: Path) -> None:
    """The number of the feature row that each entity row is to get, from all pairs."""
    with duckdb.connect() as engine:
        parts = []
        for number in range(SLICES):
            query = f"""
                SELECT e.row, arg_max(f.file_row_number, f.ts) AS found
                FROM '{folder}/spine.parquet' e
                LEFT JOIN read_parquet('{folder}/features.parquet', file_row_number = true) f
                  ON f.unit = e.unit AND f.ts <= e.event_timestamp
                 AND f.ts >= e.event_timestamp - INTERVAL {TTL.days} DAY
                WHERE hash(e.unit) % {SLICES} = {number}
                GROUP BY e.row"""
            parts.append(engine.execute(query).to_arrow_table())
    pq.write_table(pa.concat_tables(parts).sort_by("row"), folder / "definition.parquet")


def store(folder: Path, offline: dict[str, Any], path: str, features: int) -> Any:
    """A Feast repository with the one view on one offline store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float32

    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / f"registry-{os.getpid()}.db"),
        online_store={"type": "sqlite", "path": str(folder / "online.db")},
        offline_store=offline,
        entity_key_serialization_version=3,
        repo_path=folder,
    )
    unit = Entity(name="unit", join_keys=["unit"], value_type=ValueType.STRING)
    view = FeatureView(
        name=TABLE,
        entities=[unit],
        ttl=TTL,
        schema=[Field(name=name, dtype=Float32) for name in names(features)],
        source=FileSource(name=TABLE, path=path, timestamp_field="ts"),
    )
    found = FeatureStore(config=config)
    found.apply([unit, view])
    return found


def through_feast(folder: Path, offline: dict[str, Any], path: str, features: int) -> Any:
    """The call that is measured: from a pandas frame to Arrow, as Feast's users write it."""
    feast = store(folder, offline, path, features)
    frame = pq.read_table(folder / "spine.parquet").to_pandas()
    wanted = [f"{TABLE}:{name}" for name in names(features)]
    return lambda: feast.get_historical_features(frame, wanted).to_arrow()


def bare(folder: Path, features: int) -> Any:
    """DuckDB's own ASOF join, with no TTL."""
    engine = duckdb.connect()
    columns = ", ".join(f"f.{name}" for name in names(features))
    query = f"""
        SELECT e.row, {columns} FROM '{folder}/spine.parquet' e
        ASOF LEFT JOIN '{folder}/features.parquet' f
          ON f.unit = e.unit AND e.event_timestamp >= f.ts"""
    return lambda: engine.execute(query).to_arrow_table()


def engine(name: str, folder: Path, features: int) -> Any:
    """What an engine runs."""
    file = str(folder / "features.parquet")
    ours = {"type": "firnline.adapters.feast_offline.store.FirnlineOfflineStore", "data": "data"}
    made: dict[str, Callable[[], Any]] = {
        "firnline": lambda: through_feast(folder, ours, file, features),
        "firnline_published": lambda: through_feast(folder, ours, f"firnline://{TABLE}", features),
        "bare_asof": lambda: bare(folder, features),
        "feast_duckdb": lambda: through_feast(folder, {"type": "duckdb"}, file, features),
        "feast_dask": lambda: through_feast(folder, {"type": "dask"}, file, features),
    }
    return made[name]()


def usage() -> tuple[float, int]:
    """CPU-seconds and peak bytes of this process and those it has waited for."""
    own = resource.getrusage(resource.RUSAGE_SELF)
    others = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime
    return seconds, 1024 * (own.ru_maxrss + others.ru_maxrss)


def run_here(name: str, folder: Path, features: int) -> None:
    """Measure one engine in this process; the result goes to a file, the figures to stdout."""
    warnings.simplefilter("ignore")
    work = engine(name, folder, features)
    begin, (cpu, _) = time.monotonic(), usage()
    table = work()
    wall, (cpu_after, peak) = time.monotonic() - begin, usage()
    figures = {
        "wall_seconds": round(wall, 2),
        "cpu_seconds": round(cpu_after - cpu, 2),
        "peak_bytes": peak,
        "rows": table.num_rows,
    }
    pq.write_table(table.select(["row", *names(features)]), folder / "result.parquet")
    print(json.dumps(figures))


def run(name: str, folder: Path, features: int) -> dict[str, Any]:
    """Measure one engine in a process of its own and compare what it returned."""
    command = [sys.executable, "-m", "benchmarks.join", "--engine", name]
    command += ["--folder", str(folder), "--features", str(features)]
    about = {"engine": name, "features": features}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        while child.poll() is None:
            if psutil.virtual_memory().available < SPARE_BYTES:
                held = psutil.Process(child.pid).memory_info().rss
                child.kill()
                return about | {"stopped": "the machine ran out of memory", "peak_bytes": held}
            time.sleep(0.2)
        said = child.stdout.read() if child.stdout else ""
    if child.returncode:
        return about | {"stopped": f"exit code {child.returncode}"}
    figures = json.loads(said.splitlines()[-1])
    return about | figures | {"rows_that_differ": differing(folder, features)}


def differing(folder: Path, features: int) -> int:
    """Entity rows whose result is not the definition's: other values, missing, or twice."""
    wanted = pq.read_table(folder / "definition.parquet")["found"].combine_chunks()
    found = pq.read_table(folder / "result.parquet", columns=["row"])["row"].to_numpy()
    places, first, count = np.unique(found, return_index=True, return_counts=True)
    wrong = np.ones(len(wanted), bool)
    wrong[places] = count > 1
    for name in names(features):
        source = pq.read_table(folder / "features.parquet", columns=[name])[name].combine_chunks()
        right = source.take(wanted).to_numpy(zero_copy_only=False)[places]
        result = pq.read_table(folder / "result.parquet", columns=[name])[name]
        value = result.combine_chunks().take(pa.array(first)).to_numpy(zero_copy_only=False)
        wrong[places] |= ~((value == right) | (np.isnan(value) & np.isnan(right)))
    return int(wrong.sum())


def ratios(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """CPU-seconds of the others for one of ours, for each number of features."""
    found = []
    for features in sorted({item["features"] for item in runs}):
        cpu = {
            item["engine"]: item["cpu_seconds"]
            for item in runs
            if item["features"] == features and "cpu_seconds" in item
        }
        ours = cpu.get("firnline")
        if ours:
            others = {f"{name}_cpu": round(value / ours, 2) for name, value in cpu.items()}
            found.append({"features": features} | others)
    return found


def main() -> None:
    """Run every engine at one size and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="1000000x10000000", help="entity rows x feature rows")
    parser.add_argument("--features", type=int, nargs="+", default=[14, 20])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.engine:
        run_here(asked.engine, asked.folder, asked.features[0])
        return
    entities, rows = (int(number) for number in asked.sizes.split("x"))
    runs = []
    for features in asked.features:
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), entities, rows, features)
            for name in asked.engines:
                runs.append(run(name, Path(folder), features))
                print(json.dumps(runs[-1]), flush=True)
    document = {
        "entity_rows": entities,
        "feature_rows": rows // STEPS * STEPS,
        "units": rows // STEPS,
        "ttl_days": TTL.days,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "versions": {
            name: version(name) for name in ("feast", "duckdb", "dask", "pyarrow", "numpy")
        },
        "runs": runs,
        "cpu_for_one_of_firnline": ratios(runs),
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
