"""Two clients that apply at the same moment: ``python -m benchmarks.two_writers``.

Each round both processes begin together. Each applies an entity of its own, and again when the
guard tells it that the registry has moved on; and each applies a service of the round's name that
reads other features of a published view, once. A third client reads all the while. Then every
entity that a client was told is applied must be there (`lost`), of every contested service one
version and the winner's (`both_won`, `wrong`), and no read may have failed (`torn`). Prints JSON;
exit code 1 when one of these is not 0.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, String

from firnline.contracts.lock import Line, Lock, render
from firnline.digest import digest
from firnline.errors import HandshakeError

ROUNDS = 200
WRITERS = 2
KINDS = ("file", "sqlite")
FEATURES = ("left", "right")
PROJECT = "race"
WAIT_SECONDS = 120.0
PAUSE_SECONDS = 0.02
# The registry has moved on: what the guard answers to a client that is to apply again.
_AGAIN = {"G20"}
TO_BE_ZERO = ("lost", "both_won", "wrong", "torn")
_BARRIER: list[Barrier] = []


@dataclass
class Told:
    """What one client was told.

    Attributes:
        applied: Entities that were applied.
        won: Contested services that were applied.
        refused: Contested services that were refused.
        retries: Applies that had to be done again.
        cpu_seconds: Of the client's process, for all its rounds.
    """

    applied: list[str] = field(default_factory=list)
    won: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    retries: int = 0
    cpu_seconds: float = 0.0


def repository(folder: Path, kind: str) -> Path:
    """A Feast repository with one published view."""
    folder.mkdir(parents=True)
    registries = {
        "file": {
            "path": "registry.db",
            "registry_store_type": "firnline.adapters.feast_guard.file_store.FirnlineRegistryStore",
        },
        "sqlite": {
            "registry_type": "sql",
            "path": f"sqlite:///{folder}/registry.db?plugin=firnline"
            f"&firnline_lock={folder}/features.lock",
        },
    }
    settings = {
        "project": PROJECT,
        "provider": "local",
        "registry": registries[kind],
        "online_store": {"type": "sqlite", "path": "online.db"},
        "offline_store": {"type": "duckdb"},
        "entity_key_serialization_version": 3,
    }
    (folder / "feature_store.yaml").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "features.lock").write_text(render(Lock((_line(),))), encoding="utf-8")
    FeatureStore(repo_path=str(folder)).apply([_device(), _view()])
    return folder


def write(number: int, folders: dict[str, Path], rounds: int) -> dict[str, Told]:
    """One client's rounds, on each registry.

    Args:
        number: Which client.
        folders: Kind of registry -> its repository.
        rounds: How many.
    """
    return {kind: _rounds(number, folder, rounds) for kind, folder in folders.items()}


def measure(root: Path, kinds: tuple[str, ...] = KINDS, rounds: int = ROUNDS) -> dict[str, Any]:
    """All rounds on all registries.

    Args:
        root: An empty folder.
        kinds: Of `KINDS`.
        rounds: Rounds on each.

    Returns:
        Kind -> its counts; `lost`, `both_won`, `wrong` and `torn` are to be 0.
    """
    folders = {kind: repository(root / kind, kind) for kind in kinds}
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(WRITERS, timeout=WAIT_SECONDS)
    with context.Pool(WRITERS, _meet_at, (barrier,)) as pool:
        writers = [pool.apply_async(write, (each, folders, rounds)) for each in range(WRITERS)]
        reads, torn = dict.fromkeys(kinds, 0), {kind: set[str]() for kind in kinds}
        while not all(writer.ready() for writer in writers):
            for kind, folder in folders.items():
                reads[kind] += 1
                torn[kind] |= _read(folder)
            time.sleep(PAUSE_SECONDS)
        told = [writer.get() for writer in writers]
    return {
        kind: _counts(folder, [each[kind] for each in told], rounds)
        | {"reads": reads[kind], "torn": len(torn[kind]), "errors": sorted(torn[kind])}
        for kind, folder in folders.items()
    }


def _meet_at(barrier: Barrier) -> None:
    """A barrier reaches a process only as it starts."""
    _BARRIER.append(barrier)


def _rounds(number: int, folder: Path, rounds: int) -> Told:
    store, told = FeatureStore(repo_path=str(folder)), Told()
    store.list_entities()
    begin = time.process_time()
    for turn in range(rounds):
        _BARRIER[0].wait()
        name = f"entity_{turn}_{number}"
        _until_applied(store, Entity(name=name, value_type=ValueType.STRING), told)
        told.applied.append(name)
        name = f"contested_{turn}"
        service = FeatureService(name=name, features=[_view()[[FEATURES[number]]]])
        try:
            _until_applied(store, service, told)
            told.won.append(name)
        except HandshakeError:
            told.refused.append(name)
    told.cpu_seconds = time.process_time() - begin
    return told


def _until_applied(store: FeatureStore, wanted: Any, told: Told) -> None:
    while True:
        try:
            store.apply([wanted])
            return
        except HandshakeError as error:
            if error.code not in _AGAIN:
                raise
            told.retries += 1


def _read(folder: Path) -> set[str]:
    """What went wrong with one read of everything."""
    try:
        store = FeatureStore(repo_path=str(folder))
        names = {entity.name for entity in store.list_entities()}
        views = {view.name for view in store.list_feature_views()}
        store.list_feature_services()
    except Exception as error:
        return {repr(error)}
    return set() if "device" in names and "sums_v1" in views else {"objects are missing"}


def _counts(folder: Path, told: list[Told], rounds: int) -> dict[str, Any]:
    store = FeatureStore(repo_path=str(folder))
    entities = {entity.name for entity in store.list_entities()}
    services = {service.name: service for service in store.list_feature_services()}
    held = {
        name: [column.name for part in service.feature_view_projections for column in part.features]
        for name, service in services.items()
    }
    won = [(name, FEATURES[number]) for number, each in enumerate(told) for name in each.won]
    return {
        "rounds": rounds,
        "writers": len(told),
        "applied": sum(len(each.applied) for each in told),
        "lost": sum(name not in entities for each in told for name in each.applied),
        "contested": len(held),
        "both_won": len(won) - len({name for name, _ in won}),
        "wrong": sum(held.get(name) != [feature] for name, feature in won)
        + len(held.keys() ^ {name for name, _ in won}),
        "refused": sum(len(each.refused) for each in told),
        "retries": sum(each.retries for each in told),
        "cpu_seconds": round(sum(each.cpu_seconds for each in told), 1),
    }


def _device() -> Entity:
    return Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)


def _line() -> Line:
    record = {
        "name": "sums",
        "version": 1,
        "entities": [{"name": "device", "key": "device_id", "dtype": "string"}],
        "fields": [[name, "float64"] for name in FEATURES],
        "ttl_seconds": 60,
        "source": {
            "kind": "parquet",
            "path": "firnline://sums_v1",
            "timestamp_column": "time",
            "mapping": {},
        },
    }
    return Line("sums@v1", digest(record), record)


def _view() -> FeatureView:
    return FeatureView(
        name="sums_v1",
        entities=[_device()],
        ttl=timedelta(minutes=1),
        schema=[
            Field(name="device_id", dtype=String),
            *(Field(name=name, dtype=Float64) for name in FEATURES),
        ],
        source=FileSource(
            name="sums_v1",
            path="firnline://sums_v1",
            timestamp_field="time",
            file_format=ParquetFormat(),
        ),
        tags={"digest": _line().digest},
    )


def main() -> int:
    """Prints the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), tuple(options.kinds), options.rounds)
    print(json.dumps(found, indent=2))
    return int(any(counts[name] for counts in found.values() for name in TO_BE_ZERO))


if __name__ == "__main__":
    sys.exit(main())
