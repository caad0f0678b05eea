"""Every clean reading is found again in the file and row it came in."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from firnline.adapters.raw_rows import raw_rows
from tests.firnline.adapters.test_duckdb_readings import (
    WRITERS,
    contract,
    ingest,
    narrow_rows,
    row,
    rows,
    source,
    write_parquet,
)

__all__ = ["source"]


def clean_of(found: list[dict], tank: str) -> dict[str, dict]:
    return {str(r["event_id"]): r for r in found if r["tank_id"] == tank}


@pytest.mark.parametrize("form", WRITERS)
def test_a_wide_reading_is_a_row(source: Path, tmp_path: Path, form: str) -> None:
    WRITERS[form](source / f"raw/a.{form}", rows(6))
    # Copies of the last two come again in another file; the first is what was kept.
    WRITERS[form](source / f"raw/b.{form}", [row(4), row(5), row(6), row(7)])
    _, found = ingest(source, tmp_path / "out")
    events = clean_of(found, "t0")
    assert sorted(events) == ["e0000", "e0002", "e0004", "e0006"]
    assert raw_rows(source, contract(), "t0", events) == {
        "e0000": (f"raw/a.{form}", 1),
        "e0002": (f"raw/a.{form}", 3),
        "e0004": (f"raw/a.{form}", 5),
        "e0006": (f"raw/b.{form}", 3),
    }
    assert raw_rows(source, contract(), "t1", ["e0001", "e0002"]) == {"e0001": (f"raw/a.{form}", 2)}
    assert raw_rows(source, contract(), "t1' OR '1'='1", events) == {}


@pytest.mark.parametrize("form", WRITERS)
def test_a_narrow_reading_is_the_first_of_its_rows(source: Path, tmp_path: Path, form: str) -> None:
    values = narrow_rows(rows(6))
    WRITERS[form](source / f"raw/a.{form}", values[:7])
    # The third reading's other values, a copy of one it has, and a value that is none.
    broken = {**values[8], "value": None, "sensor_type": "nothing"}
    WRITERS[form](source / f"raw/b.{form}", [broken, values[6], *values[7:]])
    write_parquet(source / "raw/c.parquet", [row(8), row(9)])
    _, found = ingest(source, tmp_path / "out")
    for tank in ("t0", "t1"):
        events = clean_of(found, tank)
        at = raw_rows(source, contract(), tank, events)
        assert at.keys() == events.keys() and len(at) == 4
        for event, (file, place) in at.items():
            if file.endswith("c.parquet"):
                (raw,) = pq.read_table(source / file).slice(place - 1, 1).to_pylist()
                assert raw["event"] == event
                continue
            lines = values[:7] if "a." in file else [broken, values[6], *values[7:]]
            raw = lines[place - 1]
            assert (raw["device_id"], raw["timestamp"]) == (tank, events[event]["timestamp_utc"])
            assert raw["sensor_type"] == "level"
