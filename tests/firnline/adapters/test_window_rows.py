"""One entity at one time: the windows an answer was made of, and their readings."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.refrigeration.transforms import VIEWS
from firnline.adapters.duckdb_features import compute
from firnline.adapters.newest_windows import Windows, fresh
from firnline.adapters.window_rows import newest, readings
from tests.resources.clean_readings import START, write
from tests.resources.clean_readings import readings as clean_readings

VIEW = VIEWS[0]
SECOND = 1_000_000
BEGIN = int(START.timestamp()) * SECOND
QUARTER = 900 * SECOND


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ingested")
    write(clean_readings(), folder / "clean")
    aside = {
        "reason": ["duplicate", "all_null", "all_null", "bad_row"],
        "device_id": ["REF-002", "REF-002", "REF-001", None],
        "timestamp_device": pa.array(
            [BEGIN + 1, BEGIN + QUARTER, BEGIN + 1, None], pa.timestamp("us", tz="UTC")
        ),
    }
    pq.write_table(pa.table(aside), folder / "quarantine.parquet")
    return folder


@pytest.fixture(scope="module")
def files(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("views")
    compute(VIEW, ingested / "clean", out)
    return sorted((out / VIEW.table).rglob("*.parquet"))


def test_the_newest_window_that_had_ended_is_found(ingested, files, tmp_path) -> None:
    for late in (0, 1, QUARTER - 1):
        window = newest(files, VIEW, "REF-002", BEGIN + 4 * QUARTER + late)
        assert window is not None
        assert (window.start, window.end) == (BEGIN + 3 * QUARTER, BEGIN + 4 * QUARTER)
    again = fresh(VIEW, ingested / "clean", Windows(("REF-002",), (window.end,)), tmp_path)
    np.testing.assert_array_equal(window.values, again[0])


def test_beyond_its_ttl_a_window_is_none(files) -> None:
    last = newest(files, VIEW, "REF-002", BEGIN + 40 * QUARTER)
    ttl = VIEW.ttl_seconds * SECOND
    end = max(w.end for w in [newest(files, VIEW, "REF-002", BEGIN + 12 * QUARTER)] if w)
    assert newest(files, VIEW, "REF-002", end + ttl) is not None
    assert newest(files, VIEW, "REF-002", end + ttl + 1) is None
    assert last is None or last.end == end
    assert newest(files, VIEW, "REF-404", end) is None
    assert newest([], VIEW, "REF-002", end) is None


def test_readings_of_a_window_are_counted_by_what_became_of_them(ingested) -> None:
    table = clean_readings().to_pylist()
    wanted = sorted(
        (row["timestamp_utc"], row["event_id"])
        for row in table
        if row["device_id"] == "REF-002"
        and BEGIN <= row["timestamp_utc"].timestamp() * SECOND < BEGIN + QUARTER
    )
    found = readings(ingested, "device_id", "REF-002", BEGIN, BEGIN + QUARTER)
    assert found.events == tuple(event for _, event in wanted)
    assert (found.first, found.last) == (wanted[0][0], wanted[-1][0])
    assert found.quarantined == {"duplicate": 1}


def test_an_hour_without_readings_has_none(ingested) -> None:
    found = readings(ingested, "device_id", "REF-002", BEGIN - 8 * QUARTER, BEGIN)
    assert (found.events, found.first, found.last, found.quarantined) == ((), None, None, {})
