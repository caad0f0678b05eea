"""Small clean readings of refrigeration devices, as the ingest step writes them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

START = datetime(2026, 1, 1, 22, tzinfo=UTC)
SENSORS = (
    "temperature_evaporator",
    "temperature_condenser",
    "temperature_ambient",
    "temperature_discharge",
    "temperature_suction",
    "pressure_high_side",
    "pressure_low_side",
    "current_compressor",
    "vibration_compressor",
    "humidity",
    "superheat",
    "subcooling",
)
FLAGS = ("door_open_close", "defrost_cycle")


def readings(devices: int = 3, hours: int = 3, seed: int = 7) -> pa.Table:
    """Irregular readings with nulls, flags, all-null stretches and lonely rows; UTC."""
    rng = np.random.default_rng(seed)
    rows = devices * hours * 60
    seconds = np.sort(rng.integers(0, hours * 3600, rows))
    micros = int(START.timestamp()) * 1_000_000 + seconds * 1_000_000 + rng.integers(0, 999_999)
    keys = np.array([f"REF-{number:03d}" for number in rng.integers(0, devices, rows)])
    # The first device is nearly silent, so that some of its windows hold one reading.
    keep = (keys != "REF-000") | (rng.random(rows) < 0.05)
    columns: dict[str, pa.Array] = {
        "event_id": pa.array([f"event-{number:06d}" for number in range(rows)]),
        "device_id": pa.array(keys),
        "timestamp_utc": pa.array(micros, pa.timestamp("us", tz="UTC")),
    }
    for sensor in SENSORS:
        values = rng.normal(1.0 if sensor == "pressure_low_side" else 20.0, 5.0, rows)
        null = (rng.random(rows) < 0.1) | ((keys == "REF-001") & (sensor == "subcooling"))
        columns[sensor] = pa.array(values, mask=null)
    for flag in FLAGS:
        columns[flag] = pa.array(rng.random(rows) < 0.2, mask=rng.random(rows) < 0.1)
    nulls = sum(
        columns[name].is_null().to_numpy(zero_copy_only=False).astype(np.int32)
        for name in (*SENSORS, *FLAGS)
    )
    flagged = rng.random(rows) < 0.1
    columns["quality_flags"] = pa.array(
        [["RANGE_VIOLATION"] if bad else [] for bad in flagged], pa.list_(pa.string())
    )
    columns["sensor_null_count"] = pa.array(nulls, pa.int32())
    columns["sequence_number"] = pa.array(np.arange(rows))
    return pa.table(columns).filter(pa.array(keep))


def write(table: pa.Table, clean: Path, shuffle_seed: int | None = None) -> Path:
    """Write readings as hour partitions, shuffled within each if asked."""
    hour = pc.floor_temporal(table["timestamp_utc"], unit="hour")
    for start in pc.unique(hour).to_pylist():
        part = table.filter(pc.equal(hour, pa.scalar(start, hour.type)))
        part = part.sort_by(
            [(name, "ascending") for name in ("device_id", "timestamp_utc", "event_id")]
        )
        if shuffle_seed is not None:
            part = part.take(np.random.default_rng(shuffle_seed).permutation(len(part)))
        folder = clean / f"date={start:%Y-%m-%d}" / f"hour={start:%H}"
        folder.mkdir(parents=True)
        pq.write_table(part, folder / "part-0.parquet")
    return clean


def at(**after: float) -> datetime:
    """A time after the first reading's hour began."""
    return START + timedelta(**after)
