"""The online store beside Feast's own: ``python -m benchmarks.online [--redis]``.

100,000 entities with 20 float64 features go from Parquet into SQLite by `FeatureStore.materialize`,
and 100 random entities are read by `FeatureStore.get_online_features`, with and without turning
the answer into Python values. One side is Feast's path (DuckDB and SQLite stores, local provider),
the other firnline's stores and provider; firnline's own read, without Feast, stands beside them.
With `--redis` the same two sides run on Redis, too: each on a server of its own, over a socket.

Each side runs in a process of its own. CPU-seconds are of that process with its threads, and the
server's stand beside them. A read's time is what a caller waits, so it grows with what else the
machine does; its CPU time does not. Every value read is compared with the one that was written.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from redis import Redis

from tests.resources.redis_server import serving

END = datetime(2026, 1, 2, tzinfo=UTC)
DIGEST = "b" * 64
ASKED = 100
FEAST = {"provider": "local", "offline_store": {"type": "duckdb"}}
OURS = {
    "provider": "firnline.adapters.feast_online.provider.FirnlineProvider",
    "offline_store": {"type": "firnline.adapters.feast_offline.store.FirnlineOfflineStore"},
}
# A side is Feast's or ours, and on SQLite or, with this ending, on Redis.
REDIS = "_redis"
SIDES = ("feast", "firnline")
ALL_SIDES = (*SIDES, *(side + REDIS for side in SIDES))


@dataclass(frozen=True)
class Online:
    """An online store to measure.

    Attributes:
        config: Feast's `online_store`.
        bytes: What it takes, on disk or in the server's memory.
        server_cpu: CPU-seconds of its server so far; 0 where there is none.
    """

    config: dict[str, Any]
    bytes: Callable[[], int]
    server_cpu: Callable[[], float]


@contextmanager
def online(side: str, folder: Path) -> Iterator[Online]:
    """The online store of a side, empty."""
    ours = side.startswith("firnline")
    if not side.endswith(REDIS):
        name = "firnline.adapters.feast_online.store.FirnlineOnlineStore" if ours else "sqlite"
        yield Online(
            {"type": name, "path": str(folder / "online.db")},
            lambda: sum(file.stat().st_size for file in folder.glob("online.db*")),
            lambda: 0.0,
        )
        return
    with serving(folder) as socket, Redis(unix_socket_path=str(socket)) as client:
        name = "firnline.adapters.feast_online.redis_store.FirnlineRedisOnlineStore"
        empty = client.info("memory")["used_memory"]
        yield Online(
            {"type": name, "url": f"unix://{socket}"}
            if ours
            # Feast wants a host; redis-py goes by the socket where there is one.
            else {"type": "redis", "connection_string": f"socket:0,unix_socket_path={socket}"},
            lambda: client.info("memory")["used_memory"] - empty,
            lambda: sum(client.info("cpu")[f"used_cpu_{part}"] for part in ("user", "sys")),
        )


def rows(entities: int, features: int) -> pa.Table:
    """One window an entity."""
    random = np.random.default_rng(5)
    times = pa.array([END] * entities, pa.timestamp("us", tz="UTC"))
    columns = {f"f{place:02d}": random.normal(size=entities) for place in range(features)}
    keys = [f"REF-{entity:08d}" for entity in range(entities)]
    return pa.table({"device_id": keys, "window_end": times, **columns})


def measure(side: str, entities: int, features: int, reads: int, folder: Path) -> dict[str, Any]:
    """One side's figures, in this process."""
    data = rows(entities, features)
    pq.write_table(data, folder / "rows.parquet")
    names = [name for name in data.column_names if name.startswith("f")]
    with online(side, folder) as there:
        store = _applied(side, folder, there, names)
        return {"materialize": _materialized(store, there)} | {
            name: _times(answer, data, names, reads, there)
            for name, answer in _answers(side, store, names).items()
        }


def _applied(side: str, folder: Path, there: Online, names: list[str]) -> Any:
    """A Feast store with one view of the rows."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, String

    config = RepoConfig(
        project="fleet",
        registry={"registry_type": "sql", "path": f"sqlite:///{folder / 'registry.db'}"},
        entity_key_serialization_version=3,
        repo_path=folder,
        online_store=there.config,
        **(OURS if side.startswith("firnline") else FEAST),
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
    return store


def _materialized(store: Any, there: Online) -> dict[str, Any]:
    cpu, server, before = _cpu(), there.server_cpu(), _peak_bytes()
    wall = time.perf_counter()
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        store.materialize(END - timedelta(days=1), END)
    return {
        "cpu_seconds": round(_cpu() - cpu, 3),
        "server_cpu_seconds": round(there.server_cpu() - server, 3),
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "peak_bytes": _peak_bytes(),
        "peak_bytes_before": before,
        "store_bytes": there.bytes(),
    }


def _answers(side: str, store: Any, names: list[str]) -> dict[str, Callable[[list[str]], Any]]:
    """The ways to read of a side, each from keys to an answer."""
    references = [f"window_v1:{name}" for name in names]

    def ask(keys: list[str]) -> Any:
        entity_rows = [{"device_id": key} for key in keys]
        return store.get_online_features(features=references, entity_rows=entity_rows)

    found: dict[str, Callable[[list[str]], Any]] = {
        "get_online_features": ask,
        "get_online_features_to_dict": lambda keys: ask(keys).to_dict(),
    }
    if side.startswith("firnline"):
        from firnline.adapters.feast_online.read import read

        table = store._get_provider().online_store.rows(store.config)
        found["read"] = lambda keys: read(
            table, "fleet_window_v1", {"device_id": keys}, names, DIGEST
        )
    return found


def _times(
    answer: Callable[[list[str]], Any],
    data: pa.Table,
    names: list[str],
    reads: int,
    there: Online,
) -> dict[str, Any]:
    random = np.random.default_rng(6)
    times, cpu, wrong = [], [], 0
    server = there.server_cpu()
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
        "mean_server_cpu_milliseconds": round(1e3 * (there.server_cpu() - server) / reads, 3),
        "reads": reads,
        "columns_wrong": wrong,
    }


def _ratio(feast: dict[str, Any], ours: dict[str, Any]) -> float:
    """How many times more CPU Feast's materialisation takes, its server's with it."""
    theirs, own = (
        float(side["materialize"]["cpu_seconds"] + side["materialize"]["server_cpu_seconds"])
        for side in (feast, ours)
    )
    return round(theirs / own, 1)


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
    parser.add_argument("--redis", action="store_true", help="measure both on Redis, too")
    parser.add_argument("--out", type=Path, help="write the document here, too")
    parser.add_argument("--side", choices=ALL_SIDES, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sizes = (chosen.entities, chosen.features, chosen.reads)
    if chosen.side:
        warnings.simplefilter("ignore")
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(chosen.side, *sizes, Path(folder))))
        return
    load = os.getloadavg()
    kept = ("", REDIS) if chosen.redis else ("",)
    sides = {side + where: _apart(side + where, *sizes) for where in kept for side in SIDES}
    document = {
        "entities": chosen.entities,
        "features": chosen.features,
        "entities_a_read": ASKED,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average_before": [round(each, 2) for each in load],
        "sides": sides,
    } | {
        f"materialize_cpu_ratio{where}": _ratio(sides["feast" + where], sides["firnline" + where])
        for where in kept
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
