"""Small clean readings made from a reading contract, and the labels of their windows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from firnline.contracts.features import WindowView
from firnline.contracts.reading import ReadingContract, Sensor

START = datetime(2026, 3, 2, tzinfo=UTC)
ENTITIES = 8
WINDOWS = 40
MAX_READINGS = 1_200
_FAULTY_FROM = 0.8


@dataclass(frozen=True)
class Plan:
    """When readings are taken.

    Attributes:
        step_seconds: Time between an entity's readings.
        count: Readings of each entity.
    """

    step_seconds: float
    count: int

    @property
    def faulty_from_seconds(self) -> float:
        """From here on every third entity has a fault, in seconds from the start."""
        return _FAULTY_FROM * self.step_seconds * self.count


def plan(contract: ReadingContract, views: Sequence[WindowView]) -> Plan:
    """Enough time for forty windows of the first view and two of the longest."""
    span = max(
        WINDOWS * views[0].every_seconds + views[0].window_seconds,
        2 * max(view.window_seconds for view in views),
    )
    step = max(contract.time.step_seconds, math.ceil(span / MAX_READINGS))
    return Plan(step, max(int(span / step), 2))


def write(contract: ReadingContract, when: Plan, clean: Path, *, nulls: bool) -> None:
    """Write `date=/hour=/part-0.parquet` as the ingest step does; the same ones every time.

    Args:
        contract: Gives key and sensors.
        when: Gives the times.
        clean: Folder to write.
        nulls: One value in ten is missing, one entity lacks the first sensor, another has a
            stretch without any value, and a third a single reading.
    """
    random = np.random.default_rng(0)
    rows = ENTITIES * when.count
    entity = np.repeat(np.arange(ENTITIES), when.count)
    order = np.tile(np.arange(when.count), ENTITIES)
    micros = np.int64(START.timestamp() * 1e6) + (order * when.step_seconds * 1e6).astype(np.int64)
    faulty = (entity % 3 == 0) & (order * when.step_seconds >= when.faulty_from_seconds)
    columns = {
        "event_id": pa.array([f"event-{row:07d}" for row in range(rows)]),
        contract.key.name: pa.array([name_of(place) for place in entity.tolist()]),
        "timestamp_utc": pa.array(micros, pa.timestamp("us", tz="UTC")),
    }
    missing = np.zeros(rows, np.int32)
    for place, sensor in enumerate(contract.sensor):
        gone = _gone(random, entity, order, when.count, first=place == 0) & nulls
        columns[sensor.name] = pa.array(_values(random, sensor, entity, order, faulty), mask=gone)
        missing += gone
    flags = [["SENSOR_GAP"] if count else [] for count in missing]
    columns["quality_flags"] = pa.array(flags, pa.list_(pa.string()))
    columns["sensor_null_count"] = pa.array(missing)
    columns["sequence_number"] = pa.array(np.arange(rows))
    table = pa.table(columns)
    if nulls:
        table = table.filter(pa.array((entity != ENTITIES - 1) | (order == 0)))
    _by_hour(table, contract.key.name, clean)


def labels(
    entities: NDArray[np.str_], ends_micros: NDArray[np.int64], when: Plan, faults: Sequence[str]
) -> NDArray[np.str_]:
    """`normal`, or one of the faults in turn; shape [rows]. Without faults all are unknown."""
    if not faults:
        return np.full(len(entities), "", dtype=str)
    seconds = ends_micros / 1e6 - START.timestamp()
    numbers = np.array([int(name.rpartition("-")[2]) for name in entities.tolist()])
    faulty = (numbers % 3 == 0) & (seconds > when.faulty_from_seconds)
    turn = np.array(faults)[np.arange(len(entities)) % len(faults)]
    return np.where(faulty, turn, "normal").astype(str)


def name_of(place: int) -> str:
    """Key of an entity."""
    return f"entity-{place:02d}"


def _values(
    random: np.random.Generator,
    sensor: Sensor,
    entity: NDArray[np.int64],
    order: NDArray[np.int64],
    faulty: NDArray[np.bool_],
) -> NDArray[np.float64] | NDArray[np.bool_]:
    if sensor.dtype == "bool":
        return random.random(len(entity)) < 0.2
    low, high = sensor.range or (0.0, 20.0)
    own = random.random(ENTITIES)[entity]
    swing = np.sin(order / random.uniform(5, 50))
    share = 0.4 + 0.1 * own + 0.05 * swing + 0.02 * random.normal(size=len(entity)) + 0.2 * faulty
    return np.asarray(low + (high - low) * share.clip(0, 1), dtype=np.float64)


def _gone(
    random: np.random.Generator,
    entity: NDArray[np.int64],
    order: NDArray[np.int64],
    count: int,
    *,
    first: bool,
) -> NDArray[np.bool_]:
    silent = (entity == 2) & (order >= count // 4) & (order < count // 2)
    lacking = (entity == 1) & first
    return np.asarray((random.random(len(entity)) < 0.1) | silent | lacking, dtype=bool)


def _by_hour(table: pa.Table, key: str, clean: Path) -> None:
    hours = pc.floor_temporal(table["timestamp_utc"], unit="hour")
    by = [(name, "ascending") for name in (key, "timestamp_utc", "event_id")]
    for hour in pc.unique(hours).to_pylist():
        folder = clean / f"date={hour:%Y-%m-%d}" / f"hour={hour:%H}"
        folder.mkdir(parents=True)
        rows = table.filter(pc.equal(hours, pa.scalar(hour, hours.type)))
        pq.write_table(rows.sort_by(by), folder / "part-0.parquet")
