"""The online store beside Feast's own: ``python -m benchmarks.online``.

100,000 entities with 20 float64 features go from Parquet into SQLite by `FeatureStore.materialize`,
and 100 random entities are read by `FeatureStore.get_online_features`, with and without turning
the answer into Python values. One side is Feast's path (DuckDB and SQLite stores, local provider),
the other firnline's stores and provider; firnline's own read, without Feast, stands beside them.
Each side runs in a process of its own. CPU-seconds are of that process with its threads. A read's
time is what a caller waits, so it grows with what else the machine does; its CPU time does not.
Every value read is compared with the one that was written.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

END = datetime(2026, 1, 2, tzinfo=UTC)
DIGEST = "b" * 64
ASKED = 100
STORES = {
    "feast": {
        "provider": "local",
        "offline_store": {"type": "duckdb"},
        "online_store": {"type": "sqlite"},
    },
    "firnline": {
        "provider": "firnline.adapters.feast_online.provider.FirnlineProvider",
        "offline_store": {"type": "firnline.adapters.feast_offline.store.FirnlineOfflineStore"},
        "online_store": {"type": "firnline.adapters.feast_online.store.FirnlineOnlineStore"},
    },
}


def rows(entities: int, features: int) -> pa.Table:
    """One window an entity."""
    random = np.random.default_rng(5)
    times = pa.array([END] * entities, pa.timestamp("us", tz="UTC"))
    columns = {f"f{place:02d}": random.normal(size=entities) for place in range(features)}
    keys = [f"REF-{entity:08d}" for entity in range(entities)]
    return pa.table({"device_id": keys, "window_end": times, **columns})


def measure(side: str, entities: int, features: int, reads: int, folder: Path) -> dict[str, Any]:
    """One side's figures, in this process."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, String

    data = rows(entities, features)
    pq.write_table(data, folder / "rows.parquet")
    names = [name for name in data.column_names if name.startswith("f")]
    chosen = STORES[side]
    config = RepoConfig(
        project="fleet",
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}"},
        entity_key_serialization_version=3,
        repo_path=folder,
        **{**chosen, "online_store": {**chosen["online_store"], "path": str(folder / "online.db")}},
    )
    store = FeatureStore(config=config)
    device = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="window_v1",
        entities=[device],
        ttl=timedelta(days=1),
        schema=[
            Field(name="device_id", dtype=String),
            *(Field(name=name, dtype=Float64) for name in names),
        ],
        source=FileSource(
            name="window_v1", path=str(folder / "rows.parquet"), timestamp_field="window_end"
        ),
        tags={"digest": DIGEST},
    )
    store.apply([device, view])
    cpu, wall, before = _cpu(), time.perf_counter(), _peak_bytes()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        store.materialize(END - timedelta(days=1), END)
    written = {
        "cpu_seconds": round(_cpu() - cpu, 3),
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "peak_bytes": _peak_bytes(),
        "peak_bytes_before": before,
        "store_bytes": sum(file.stat().st_size for file in folder.glob("online.db*")),
    }
    references = [f"window_v1:{name}" for name in names]

    def ask(keys: list[str]) -> Any:
        entity_rows = [{"device_id": key} for key in keys]
        return store.get_online_features(features=references, entity_rows=entity_rows)

    answers: dict[str, Callable[[list[str]], Any]] = {
        "get_online_features": ask,
        "get_online_features_to_dict": lambda keys: ask(keys).to_dict(),
    }
    if side == "firnline":
        from firnline.adapters.feast_online.read import read

        table = store._get_provider().online_store.rows(config)
        answers["read"] = lambda keys: read(
            table, "fleet_window_v1", {"device_id": keys}, names, DIGEST
        )
    return {"materialize": written} | {
        name: _times(answer, data, names, reads) for name, answer in answers.items()
    }


def _times(
    answer: Callable[[list[str]], Any], data: pa.Table, names: list[str], reads: int
) -> dict[str, Any]:
    random = np.random.default_rng(6)
    times, cpu, wrong = [], [], 0
    for _ in range(reads):
        places = random.integers(0, len(data), ASKED)
        keys = data["device_id"].take(places).to_pylist()
        start, start_cpu = time.perf_counter(), time.thread_time()
        found = answer(keys)
        times.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.thread_time() - start_cpu))
        values = found if isinstance(found, dict) else found.to_dict()
        wrong += sum(values[name] != data[name].take(places).to_pylist() for name in names)
    cuts = statistics.quantiles(times, n=100)
    return {
        "p50_milliseconds": round(cuts[49], 3),
        "p99_milliseconds": round(cuts[98], 3),
        "p50_cpu_milliseconds": round(statistics.median(cpu), 3),
        "reads": reads,
        "columns_wrong": wrong,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Measure both sides, print and write what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entities", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=20)
    parser.add_argument("--reads", type=int, default=300)
    parser.add_argument("--out", type=Path, help="write the document here, too")
    parser.add_argument("--side", choices=sorted(STORES), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sizes = (chosen.entities, chosen.features, chosen.reads)
    if chosen.side:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(chosen.side, *sizes, Path(folder))))
        return
    sides = {side: _apart(side, *sizes) for side in STORES}
    document = {
        "entities": chosen.entities,
        "features": chosen.features,
        "entities_a_read": ASKED,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "sides": sides,
        "materialize_cpu_ratio": round(
            sides["feast"]["materialize"]["cpu_seconds"]
            / sides["firnline"]["materialize"]["cpu_seconds"],
            1,
        ),
    }
    text = json.dumps(document, indent=2)
    if chosen.out:
        chosen.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def _apart(side: str, entities: int, features: int, reads: int) -> dict[str, Any]:
    sizes = ["--entities", str(entities), "--features", str(features), "--reads", str(reads)]
    command = [sys.executable, "-m", "benchmarks.online", "--side", side, *sizes]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
