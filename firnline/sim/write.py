"""Streams a simulated fleet to files: readings, registry, labels and a carbon-intensity series.

Time runs in the outer loop, so a day's files are done before the next begins; what stays in
memory is one hour of one shard and the small state of each device.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from firnline.errors import ContractError
from firnline.sim.fleet import WEEK_MINUTES, Episode, Fleet, FleetSpec
from firnline.sim.grid import write_carbon_intensity
from firnline.sim.hours import HOUR, ChunkState, advance, warmed_up
from firnline.sim.registry import Chunk
from firnline.sim.sensors import BOOLEAN_SENSORS, SENSORS
from firnline.sim.streams import CHUNK
from firnline.sim.table import SCHEMA, TIMESTAMP, device_dictionary, event_time, to_table

SHARD_CHUNKS = 8
"""Chunks a file: 2,048 devices, so a row group of one hour stays near 20 MB."""

WRITTEN = {"readings", "devices.csv", "labels.parquet", "carbon_intensity.csv"}
ROW_GROUP_ROWS = 131_072
CARBON_DAYS_BEYOND = 4
LABELS = pa.schema(
    [
        pa.field("device_id", pa.string(), nullable=False),
        pa.field("start", TIMESTAMP, nullable=False),
        pa.field("end", TIMESTAMP, nullable=False),
        pa.field("fault", pa.string(), nullable=False),
        pa.field("severity", pa.float64(), nullable=False),
    ]
)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SimulationSummary:
    """What was written.

    Attributes:
        devices: In the registry.
        readings: Rows in all, dirt included.
        episodes: Fault episodes in the labels.
        faults: Episodes by fault.
        dirt: Spoilt rows by kind.
        bytes: On disk, all files.
        paths: Files, relative to the output directory, sorted.
    """

    devices: int
    readings: int
    episodes: int
    faults: dict[str, int]
    dirt: dict[str, int]
    bytes: int
    paths: tuple[str, ...]


def simulate(
    spec: FleetSpec, out: Path, *, force: bool = False, progress: Progress | None = None
) -> SimulationSummary:
    """Simulates a fleet into a directory that appears only when it is whole.

    The work is done in ``<out>.partial`` beside it; what a killed run left there, the next
    run removes. The same spec gives the same bytes.

    Args:
        spec: What to simulate.
        out: Directory to make; may exist if it is empty.
        force: Replace a former simulation in `out`; anything else there is never removed.
        progress: Called with the device-hours done and the device-hours in all.

    Raises:
        ContractError: SIM2 when `out` holds something that may not be replaced.
    """
    out = out.absolute()
    _refuse_to_lose(out, force)
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "readings").mkdir(parents=True)
    fleet = Fleet(spec)
    faults = _write_labels(fleet, partial / "labels.parquet")
    _write_registry(fleet, partial / "devices.csv")
    carbon_hours = (spec.days + CARBON_DAYS_BEYOND) * 24
    write_carbon_intensity(partial / "carbon_intensity.csv", spec.seed, spec.start, carbon_hours)
    readings, dirt = _write_readings(fleet, partial / "readings", progress)
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    summary = SimulationSummary(
        devices=spec.devices,
        readings=readings,
        episodes=faults.total(),
        faults=dict(sorted(faults.items())),
        dirt=dict(sorted(dirt.items())),
        bytes=sum(path.stat().st_size for path in files),
        paths=tuple(path.relative_to(partial).as_posix() for path in files),
    )
    _replace(partial, out)
    return summary


def _refuse_to_lose(out: Path, force: bool) -> None:
    """Lets through what is absent, empty, or a former simulation that `force` gives up."""
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    foreign = sorted(held - WRITTEN) if out.is_dir() or not out.exists() else [out.name]
    if foreign or (held and not force):
        raise ContractError(
            "SIM2",
            found=f"it holds {', '.join((foreign or sorted(held))[:3])}",
            where=str(out),
            mend="name another directory"
            + ("" if foreign else ", or pass --force to replace the simulation in this one"),
        )


def _replace(partial: Path, out: Path) -> None:
    """Puts the finished directory in its place."""
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)


@dataclass
class _Running:
    """A chunk on its way through time."""

    chunk: Chunk
    state: ChunkState
    episodes: list[Episode]


def _write_readings(
    fleet: Fleet, folder: Path, progress: Progress | None
) -> tuple[int, Counter[str]]:
    chunks = [fleet.chunk(number) for number in range(fleet.chunks)]
    running = [_Running(chunk, warmed_up(fleet, chunk), []) for chunk in chunks]
    shards = [running[i : i + SHARD_CHUNKS] for i in range(0, len(running), SHARD_CHUNKS)]
    total, done, readings = fleet.spec.devices * fleet.spec.days * 24, 0, 0
    dirt: Counter[str] = Counter()
    for day in range(fleet.spec.days):
        date = fleet.spec.start + timedelta(days=day)
        for number, shard in enumerate(shards):
            suffix = f"-{number:03d}" if len(shards) > 1 else ""
            with _writer(folder / f"{date:%Y-%m-%d}{suffix}.parquet") as writer:
                dictionary = device_dictionary([one.chunk for one in shard])
                hours = _row_group_hours(len(dictionary) - 1)
                for first in range(day * 24, day * 24 + 24, hours):
                    tables = [
                        _hour_table(fleet, shard, hour, dictionary, dirt)
                        for hour in range(first, first + hours)
                    ]
                    table = pa.concat_tables(tables)
                    writer.write_table(table, row_group_size=len(table))
                    readings += len(table)
                    done += hours * (len(dictionary) - 1)
                    if progress:
                        progress(done, total)
    return readings, dirt


def _row_group_hours(devices: int) -> int:
    """Whole hours a row group: small fleets gather several, for the cost of each column chunk."""
    fitting = ROW_GROUP_ROWS // (devices * HOUR)
    return max(hours for hours in (1, 2, 3, 4, 6, 8, 12) if hours <= max(fitting, 1))


def _hour_table(
    fleet: Fleet, shard: list[_Running], hour: int, dictionary: pa.Array, dirt: Counter[str]
) -> pa.Table:
    """Moves every chunk of a shard on by an hour and lays the readings under each other."""
    tables = []
    for place, one in enumerate(shard):
        if hour * HOUR % WEEK_MINUTES == 0:
            one.episodes = fleet.episodes(one.chunk.number, hour * HOUR // WEEK_MINUTES)
        one.state, block = advance(fleet, one.chunk, one.state, hour, one.episodes)
        for kind, rows in block.dirt.rows.items():
            dirt[kind] += len(rows)
        tables.append(to_table(fleet.spec, one.chunk, block, dictionary, place * CHUNK))
    return pa.concat_tables(tables)


def _writer(path: Path) -> pq.ParquetWriter:
    """Opens a file; values of few levels go through dictionaries, counters through deltas."""
    numeric = [name for name in SENSORS if name not in BOOLEAN_SENSORS]
    return pq.ParquetWriter(
        path,
        SCHEMA,
        compression="snappy",
        use_dictionary=["device_id", *numeric],
        column_encoding={
            "event_id": "DELTA_BYTE_ARRAY",
            "timestamp_device": "DELTA_BINARY_PACKED",
            "timestamp_ingested": "DELTA_BINARY_PACKED",
            "_sequence_number": "DELTA_BINARY_PACKED",
        },
        # Bounds that a reader can skip row groups by; on noise they only cost time.
        write_statistics=["device_id", "timestamp_device"],
        write_batch_size=16_384,
    )


def _write_registry(fleet: Fleet, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(
            [
                "device_id",
                "cohort",
                "region",
                "refrigerant",
                "horsepower",
                "firmware",
                "latitude",
                "sensors",
            ]
        )
        for device in fleet.devices():
            out.writerow(
                [
                    device.device_id,
                    device.cohort,
                    device.region,
                    device.refrigerant,
                    device.horsepower,
                    device.firmware,
                    device.latitude,
                    " ".join(device.sensors),
                ]
            )


def _label_rows(fleet: Fleet) -> Iterator[dict[str, list[object]]]:
    """Yields the episodes of one chunk in one week as columns."""
    for week in range(-(-fleet.spec.days // 7)):
        for number in range(fleet.chunks):
            episodes = fleet.episodes(number, week)
            devices = fleet.chunk(number).devices
            first = number * CHUNK
            yield {
                "device_id": [devices[e.index - first].device_id for e in episodes],
                "start": [event_time(fleet.spec, e.start_minute) for e in episodes],
                "end": [event_time(fleet.spec, e.end_minute) for e in episodes],
                "fault": [e.fault for e in episodes],
                "severity": [e.severity for e in episodes],
            }


def _write_labels(fleet: Fleet, path: Path) -> Counter[str]:
    faults: Counter[str] = Counter()
    with ExitStack() as stack:
        writer = stack.enter_context(pq.ParquetWriter(path, LABELS, compression="zstd"))
        for columns in _label_rows(fleet):
            if columns["device_id"]:
                writer.write_table(pa.table(columns, schema=LABELS))
                faults.update(str(fault) for fault in columns["fault"])
    return faults
