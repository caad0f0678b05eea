from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.refrigeration.transforms import VIEWS, assigned
from firnline.adapters.duckdb_features import compute
from firnline.adapters.partitions import hour_files, partitions
from firnline.contracts.features import WindowView
from firnline.errors import ContractError, HandshakeError
from tests.resources import clean_readings


def sums(readings: Any, view: WindowView) -> Any:
    """Small window features: a count, and a sum that rounding makes depend on order."""
    rows = assigned(readings, view)
    found = rows.group_by(view.key, "start_epoch").aggregate(
        total=rows.humidity.sum(), readings=rows.count().cast("float64")
    )
    return found.select(
        found[view.key],
        window_start=found.start_epoch.as_timestamp("s"),
        window_end=(found.start_epoch + view.window_seconds).as_timestamp("s"),
        total=found.total,
        readings=found.readings,
    )


def view(**changes: Any) -> WindowView:
    base = WindowView(
        name="sums",
        version=1,
        entity="device",
        key="device_id",
        window_seconds=900,
        every_seconds=900,
        ttl_seconds=900,
        features=("total", "readings"),
        transform=sums,
    )
    return replace(base, **changes)


@pytest.fixture(scope="module")
def readings() -> pa.Table:
    return clean_readings.readings()


@pytest.fixture(scope="module")
def clean(readings: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean_readings.write(readings, tmp_path_factory.mktemp("clean"))


def windows(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("date=*/*.parquet"))
    rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
    return sorted(rows, key=lambda row: (row["device_id"], row["window_end"]))


@pytest.mark.parametrize("name", ["device_window", "device_hour"])
def test_bytes_depend_on_neither_threads_nor_order(
    name: str, readings: pa.Table, clean: Path, tmp_path: Path
) -> None:
    chosen = next(view for view in VIEWS if view.name == name)
    shuffled = clean_readings.write(readings, tmp_path / "shuffled", shuffle_seed=3)
    digests = {
        compute(chosen, source, tmp_path / f"{source.name}{threads}", threads=threads).digest
        for source in (clean, shuffled)
        for threads in (1, 2, 4)
    }
    assert len(digests) == 1


def test_counts_and_layout(clean: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    counts = compute(view(), clean, tmp_path, progress=lambda *step: steps.append(step))
    files = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.parquet"))
    assert [str(file) for file in files] == [
        "sums_v1/date=2026-01-01/part-22.parquet",
        "sums_v1/date=2026-01-01/part-23.parquet",
        "sums_v1/date=2026-01-02/part-00.parquet",
    ]
    rows = windows(tmp_path / "sums_v1")
    ends = [row["window_end"] for row in rows]
    assert (counts.windows, counts.first_window_end, counts.last_window_end) == (
        len(rows),
        min(ends),
        max(ends),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sums_v1"]


def test_files_are_sorted_with_plain_types(clean: Path, tmp_path: Path) -> None:
    compute(view(), clean, tmp_path)
    for file in (tmp_path / "sums_v1").rglob("*.parquet"):
        table = pq.ParquetFile(file).read()
        assert table.schema.types == [
            pa.string(),
            pa.timestamp("us", tz="UTC"),
            pa.timestamp("us", tz="UTC"),
            pa.float64(),
            pa.float64(),
        ]
        assert table == table.sort_by([("device_id", "ascending"), ("window_end", "ascending")])


@pytest.mark.parametrize("every", [100, 300, 900])
def test_partitions_emit_each_window_once(every: int, clean: Path, tmp_path: Path) -> None:
    found = {}
    for kind in ("hour", "day", "whole"):
        compute(view(every_seconds=every, partition=kind), clean, tmp_path / kind)
        found[kind] = windows(tmp_path / kind / "sums_v1")
    keys = [(row["device_id"], row["window_end"]) for row in found["whole"]]
    assert len(set(keys)) == len(keys)
    for kind in ("hour", "day"):
        assert [(row["device_id"], row["window_end"]) for row in found[kind]] == keys
        for row, whole in zip(found[kind], found["whole"], strict=True):
            assert row["readings"] == whole["readings"]
            assert row["total"] == pytest.approx(whole["total"])


def test_every_reading_is_in_as_many_windows_as_overlap(
    readings: pa.Table, clean: Path, tmp_path: Path
) -> None:
    compute(view(every_seconds=300), clean, tmp_path)
    assert sum(row["readings"] for row in windows(tmp_path / "sums_v1")) == 3 * len(readings)


def test_a_window_cut_by_the_end_of_data_is_emitted_with_its_count(tmp_path: Path) -> None:
    readings = clean_readings.readings()
    cut = clean_readings.at(minutes=5)
    short = readings.filter(
        pa.compute.less(readings["timestamp_utc"], pa.scalar(cut, pa.timestamp("us", tz="UTC")))
    )
    clean = clean_readings.write(short, tmp_path / "clean")
    counts = compute(view(), clean, tmp_path)
    assert counts.last_window_end == clean_readings.at(minutes=15)
    assert sum(row["readings"] for row in windows(tmp_path / "sums_v1")) == len(short)


def test_a_partition_in_which_no_window_ends_leaves_nothing(tmp_path: Path) -> None:
    readings = clean_readings.readings()
    cut = pa.scalar(clean_readings.at(hours=1, minutes=5), pa.timestamp("us", tz="UTC"))
    short = readings.filter(pa.compute.less(readings["timestamp_utc"], cut))
    clean = clean_readings.write(short, tmp_path / "clean")
    sliding = view(every_seconds=300)
    assert len(partitions(sliding, hour_files(clean))) == 3
    compute(sliding, clean, tmp_path)
    assert sorted(path.name for path in (tmp_path / "sums_v1").rglob("*")) == [
        "date=2026-01-01",
        "part-22.parquet",
        "part-23.parquet",
    ]


def test_a_second_run_replaces_what_a_killed_one_left(clean: Path, tmp_path: Path) -> None:
    first = compute(view(), clean, tmp_path)
    (tmp_path / ".sums_v1").mkdir()
    (tmp_path / ".sums_v1" / "half.parquet").write_bytes(b"PAR1")
    assert compute(view(), clean, tmp_path) == first


def test_a_day_window_reads_its_day(clean: Path, tmp_path: Path) -> None:
    day = view(window_seconds=86_400, every_seconds=86_400, partition="day")
    compute(day, clean, tmp_path)
    ends = {row["window_end"] - clean_readings.START for row in windows(tmp_path / "sums_v1")}
    assert ends == {timedelta(hours=2), timedelta(hours=26)}


def test_lookback_names_the_hours_it_needs(clean: Path) -> None:
    hours = hour_files(clean)
    parts = partitions(view(every_seconds=300), hours)
    assert [len(part.files) for part in parts] == [1, 2, 2, 1]


def test_no_readings(tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        compute(view(), tmp_path, tmp_path)
    assert caught.value.code == "FV4"


def broken(readings: Any, view: WindowView) -> Any:
    return readings.group_by(view.key).aggregate(total=readings.no_such_sensor.sum())


def unaligned(readings: Any, view: WindowView) -> Any:
    found = sums(readings, view)
    return found.mutate(window_end=found.window_end + ibis.interval(seconds=1))


def doubled(readings: Any, view: WindowView) -> Any:
    return sums(readings, view).union(sums(readings, view))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"transform": broken}, "FV5"),
        ({"features": ("total", "readings", "missing")}, "FV6"),
        ({"features": ("total",)}, "FV6"),
        ({"transform": unaligned}, "FV6"),
        ({"transform": doubled}, "FV6"),
    ],
)
def test_a_transformation_that_does_not_fit(
    changes: dict[str, Any], code: str, clean: Path, tmp_path: Path
) -> None:
    with pytest.raises(HandshakeError) as caught:
        compute(view(**changes), clean, tmp_path)
    assert caught.value.code == code
    assert not (tmp_path / "sums_v1").exists()


def test_limits_hold(clean: Path, tmp_path: Path) -> None:
    with pytest.raises(HandshakeError) as caught:
        compute(VIEWS[0], clean, tmp_path, memory_limit="1MB", temp_limit="1KB")
    assert caught.value.code == "FV7"
    assert not (tmp_path / ".spill").exists()
