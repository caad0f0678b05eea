import csv
import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from firnline.errors import ContractError
from firnline.sim import write
from firnline.sim.dirt import UNKNOWN_DEVICE
from firnline.sim.fleet import Fleet, FleetSpec
from firnline.sim.registry import expected_sensors
from firnline.sim.sensors import RANGES, SENSORS
from firnline.sim.write import simulate

SPEC = FleetSpec(devices=24, days=2, fault_share=1.0, dirt=2e-3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("sim") / "fleet"
    return out, simulate(SPEC, out)


@pytest.fixture(scope="module")
def readings(written):
    out, _ = written
    return pa.concat_tables(pq.read_table(path) for path in sorted((out / "readings").iterdir()))


def digests(out: Path) -> dict[str, str]:
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def test_layout_and_summary(written, readings):
    out, summary = written
    assert tuple(digests(out)) == summary.paths
    assert set(summary.paths) == {
        "carbon_intensity.csv",
        "devices.csv",
        "labels.parquet",
        "readings/2026-02-02.parquet",
        "readings/2026-02-03.parquet",
    }
    assert summary.readings == len(readings) == 24 * 2 * 1440 + summary.dirt["duplicate"]
    assert summary.bytes == sum((out / path).stat().st_size for path in summary.paths)
    assert summary.episodes == sum(summary.faults.values())


def test_columns_are_those_of_the_landing_zone(readings):
    stamp = pa.timestamp("us", tz="UTC")
    expected = {
        "event_id": pa.string(),
        "timestamp_device": stamp,
        "timestamp_ingested": stamp,
        **{name: pa.float32() for name in SENSORS},
        "door_open_close": pa.bool_(),
        "defrost_cycle": pa.bool_(),
        "_sequence_number": pa.int64(),
    }
    types = {field.name: field.type for field in readings.schema}
    assert types.pop("device_id").value_type == pa.string()
    assert types == expected
    for name in set(readings.column_names) - set(SENSORS):
        assert readings[name].null_count == 0


def test_dirt_is_there_as_counted(written, readings):
    _, summary = written
    ids = readings["event_id"].to_pylist()
    assert len(ids) - len(set(ids)) == summary.dirt["duplicate"] > 0
    clean = readings.group_by(readings.column_names).aggregate([])
    assert len(clean) == len(set(ids)), "a duplicate is the same row again"
    devices = clean["device_id"].cast(pa.string())
    unknown = pc.sum(pc.equal(devices, UNKNOWN_DEVICE)).as_py()
    assert unknown == summary.dirt["unknown_device"] > 0
    delay = pc.subtract(
        clean["timestamp_ingested"].cast(pa.int64()), clean["timestamp_device"].cast(pa.int64())
    ).to_numpy()
    seconds = delay / 1e6
    assert (np.abs(seconds) > 86_400).sum() == summary.dirt["clock_off"] > 0
    usual = seconds[np.abs(seconds) < 86_400]
    assert usual.min() >= 1
    assert usual.max() <= 10
    broken = np.zeros(len(clean), dtype=bool)
    for name, (lowest, highest) in RANGES.items():
        if clean[name].type == pa.float32():
            values = clean[name].to_numpy()
            broken |= (values == -127) | (values == 9999)
            assert lowest > -127
            assert highest < 9999
    assert broken.sum() == summary.dirt["out_of_range"] > 0


def test_registry_names_every_device_and_what_it_reports(written, readings):
    out, _ = written
    with (out / "devices.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    seen = set(readings["device_id"].cast(pa.string()).unique().to_pylist())
    assert seen - {UNKNOWN_DEVICE} == {row["device_id"] for row in rows}
    for row in rows:
        assert row["sensors"].split() == list(expected_sensors(row["firmware"], row["region"]))
        own = readings.filter(pc.equal(readings["device_id"].cast(pa.string()), row["device_id"]))
        for name in SENSORS:
            reported = own[name].null_count < len(own)
            assert reported == (name in row["sensors"].split())


def test_labels_are_the_episodes(written):
    out, summary = written
    labels = pq.read_table(out / "labels.parquet").to_pylist()
    fleet = Fleet(SPEC)
    ids = [device.device_id for device in fleet.devices()]
    start = datetime(2026, 2, 2, tzinfo=UTC)
    assert labels == [
        {
            "device_id": ids[episode.index],
            "start": start + timedelta(minutes=episode.start_minute),
            "end": start + timedelta(minutes=episode.end_minute),
            "fault": episode.fault,
            "severity": episode.severity,
        }
        for episode in fleet.episodes(0, 0)
    ]
    assert Counter(label["fault"] for label in labels) == summary.faults


def test_time_runs_minute_by_minute_for_every_device(readings):
    ids = readings["event_id"].to_pylist()
    sequence = readings["_sequence_number"].to_numpy()
    first = {id_: number for id_, number in zip(ids, sequence, strict=True) if "-0000003-" in id_}
    assert sorted(first.values()) == list(range(2 * 1440))


def test_carbon_series_covers_the_days_and_four_more(written):
    out, _ = written
    with (out / "carbon_intensity.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (2 + 4) * 24
    assert rows[0]["datetime"] == "2026-02-02T00:00:00Z"
    assert rows[-1]["datetime"] == "2026-02-07T23:00:00Z"
    assert {row["zone"] for row in rows} == {"SIM"}
    values = np.array([float(row["carbon_intensity"]) for row in rows])
    assert ((values >= 25) & (values <= 750)).all()


def test_same_spec_same_bytes_and_force_replaces(written, tmp_path):
    out, _ = written
    again = tmp_path / "again"
    simulate(FleetSpec(devices=1, days=3), again)
    simulate(SPEC, again, force=True)
    assert digests(again) == digests(out)


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_of_other_things_is_refused_and_left_alone(tmp_path, force):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ContractError, match=r"mine\.txt") as refusal:
        simulate(FleetSpec(devices=1, days=1), tmp_path / "out", force=force)
    assert refusal.value.code == "SIM2"
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine.txt"]


def test_a_former_simulation_is_replaced_only_by_force(tmp_path):
    spec = FleetSpec(devices=1, days=1)
    before = simulate(spec, tmp_path / "out")
    with pytest.raises(ContractError, match="--force"):
        simulate(spec, tmp_path / "out")
    assert simulate(spec, tmp_path / "out", force=True) == before


def test_a_killed_run_leaves_a_partial_directory_that_the_next_run_removes(tmp_path):
    out, spec = tmp_path / "out", FleetSpec(devices=2, days=2, dirt=0.0)

    class KilledError(Exception):
        pass

    def kill(done: int, total: int) -> None:
        assert total == 2 * 48
        if done >= total // 2:
            raise KilledError

    with pytest.raises(KilledError):
        simulate(spec, out, progress=kill)
    assert [path.name for path in tmp_path.iterdir()] == ["out.partial"]
    (tmp_path / "out.partial" / "readings" / "stale.parquet").write_bytes(b"stale")
    seen = []
    summary = simulate(spec, out, progress=lambda done, total: seen.append((done, total)))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "readings/stale.parquet" not in summary.paths
    assert seen[-1] == (96, 96)
    assert seen == sorted(seen)


def test_a_large_fleet_is_split_into_files_with_the_same_readings(tmp_path, monkeypatch):
    spec = FleetSpec(devices=300, days=1, dirt=1e-3)
    simulate(spec, tmp_path / "one")
    monkeypatch.setattr(write, "SHARD_CHUNKS", 1)
    summary = simulate(spec, tmp_path / "two")
    names = [path for path in summary.paths if path.startswith("readings/")]
    assert names == ["readings/2026-02-02-000.parquet", "readings/2026-02-02-001.parquet"]

    def rows(out: Path) -> pa.Table:
        table = pa.concat_tables(
            pq.read_table(path, columns=["event_id", "superheat", "timestamp_ingested"])
            for path in sorted((out / "readings").iterdir())
        )
        return table.sort_by([("event_id", "ascending")])

    assert rows(tmp_path / "one").equals(rows(tmp_path / "two"))
