import csv
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firnline.adapters.duckdb_readings import PROGRESS_STEPS, IngestCounts, clean, inspect
from firnline.contracts.reading import ReadingContract, load
from firnline.digest import tree_digest
from firnline.errors import ContractError

START = datetime(2026, 2, 2, 23, 30, tzinfo=UTC)
CONTRACT = {
    "name": "tank",
    "files": {"readings": ["raw/*.*"], "nested": "readings"},
    "key": {"name": "tank_id"},
    "time": {"device": "taken", "ingested": "arrived"},
    "event": {"id": "event", "sequence": "number"},
    "sensor": [
        {"name": "level", "unit": "m", "range": [0, 10]},
        {"name": "warmth", "source": "Temp", "unit": "degC", "range": [-40, 60]},
        {"name": "open", "dtype": "bool"},
    ],
    "unit": [{"source": "degF", "to": "degC", "factor": 5 / 9, "offset": -160 / 9}],
    "narrow": {"good": ["ok"]},
    "registry": {"file": "tanks.csv", "sensors": "sensors", "numbers": ["litres"]},
    "labels": {"file": "labels.csv"},
}
SENSORS = ("level", "warmth", "open")
Row = dict[str, Any]


def contract(**changes: Any) -> ReadingContract:
    return ReadingContract.model_validate(CONTRACT | changes)


def row(index: int, **changes: Any) -> Row:
    taken = START + timedelta(minutes=index)
    return {
        "event": f"e{index:04d}",
        "tank_id": f"t{index % 2}",
        "taken": taken,
        "arrived": taken + timedelta(seconds=3),
        "number": index,
        "level": index % 10 + 0.1,
        "Temp": 20.0 - index % 50,
        "open": index % 3 == 0,
    } | changes


def rows(count: int = 40) -> list[Row]:
    return [row(index) for index in range(count)]


def write_parquet(path: Path, content: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(content), path)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def write_csv(path: Path, content: list[Row], encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding=encoding) as stream:
        writer = csv.DictWriter(stream, list(content[0]))
        writer.writeheader()
        writer.writerows([{k: _plain(v) for k, v in r.items()} for r in content])


def write_jsonl(path: Path, content: list[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({k: _plain(v) for k, v in r.items() if v is not None}) for r in content]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "jsonl": write_jsonl,
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "tanks.csv").write_text(
        "tank_id,site,litres,sensors\nt0,north,12.5,level Temp open\nt1,south,,level;warmth\n"
    )
    return folder


def ingest(
    source: Path, out: Path, declared: ReadingContract | None = None, threads: int = 2
) -> tuple[IngestCounts, list[Row]]:
    declared = declared or contract()
    out.mkdir(parents=True)
    counts = clean(inspect(source, declared), declared, out, threads=threads)
    assert counts.readings == counts.clean + sum(counts.quarantined.values())
    assert not list(out.parent.glob(".*"))
    files = sorted((out / "clean").glob("date=*/hour=*/part-0.parquet"))
    assert len(files) == len(list((out / "clean").rglob("*.*")))
    found = [r for file in files for r in pq.ParquetFile(file).read().to_pylist()]
    assert len(found) == counts.clean
    return counts, found


def quarantine(out: Path) -> list[Row]:
    return list(pq.read_table(out / "quarantine.parquet").to_pylist())


def fails(source: Path, code: str, declared: ReadingContract | None = None) -> ContractError:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        with pytest.raises(ContractError) as caught:
            ingest(source, out, declared)
        assert caught.value.code == code
        assert not out.exists() or not list(out.iterdir()), "something is half written"
        assert not list(Path(folder).glob(".*"))
    return caught.value


def test_clean_readings_have_the_declared_form(source: Path, tmp_path: Path) -> None:
    write_parquet(source / "raw/a.parquet", rows())
    counts, found = ingest(source, tmp_path / "out")
    assert counts.document() == {
        "readings": 40,
        "clean": 40,
        "quarantined": {},
        "flags": {},
        "first": "2026-02-02T23:30:00+00:00",
        "last": "2026-02-03T00:09:00+00:00",
        "entities": 2,
    }
    file = tmp_path / "out/clean/date=2026-02-02/hour=23/part-0.parquet"
    schema = pq.ParquetFile(file).schema_arrow
    assert tuple(schema.names) == contract().clean_columns()
    assert [str(field.type) for field in schema] == [
        "string",
        "string",
        "timestamp[us, tz=UTC]",
        "double",
        "double",
        "bool",
        "list<element: string>",
        "int32",
        "int64",
    ]
    hour = pq.ParquetFile(file).read().to_pylist()
    order = [(r["tank_id"], r["timestamp_utc"], r["event_id"]) for r in hour]
    assert order == sorted(order)
    assert found[0]["quality_flags"] == [] and found[0]["sensor_null_count"] == 0
    entities = pq.read_table(tmp_path / "out/entities.parquet").to_pylist()
    assert entities[0] == {
        "tank_id": "t0",
        "site": "north",
        "litres": 12.5,
        "sensors": "level Temp open",
    }


def test_same_bytes_with_any_threads_and_file_cut(source: Path, tmp_path: Path) -> None:
    content = [row(i, level=-0.0 if i % 5 else 0.0) for i in range(3000)]
    content += content[100:300]
    write_parquet(source / "raw/a.parquet", content)
    ingest(source, tmp_path / "one", threads=1)
    ingest(source, tmp_path / "two", threads=2)
    assert tree_digest(tmp_path / "one") == tree_digest(tmp_path / "two")
    (source / "raw/a.parquet").unlink()
    write_parquet(source / "raw/b.parquet", content[:777])
    write_parquet(source / "raw/c.parquet", content[777:])
    ingest(source, tmp_path / "cut")
    assert tree_digest(tmp_path / "one/clean") == tree_digest(tmp_path / "cut/clean")


def test_parquet_csv_and_json_lines_are_one(source: Path, tmp_path: Path) -> None:
    content = [*rows(), row(40, Temp=None), row(41, level=99.0), row(0), row(42, tank_id="no")]
    digests = set()
    for form, write in WRITERS.items():
        for old in source.glob("raw/*"):
            old.unlink()
        write(source / f"raw/a.{form}", content)
        ingest(source, tmp_path / form)
        digests.add(tree_digest(tmp_path / form / "clean"))
        assert [r["reason"] for r in quarantine(tmp_path / form)] == ["duplicate", "unknown_device"]
    assert len(digests) == 1


def test_nested_json_messages(source: Path, tmp_path: Path) -> None:
    flat = rows(12)
    nested = [
        {k: v for k, v in r.items() if k not in ("level", "Temp", "open")}
        | {"readings": {k: r[k] for k in ("level", "Temp", "open")}}
        for r in flat
    ]
    write_jsonl(source / "raw/a.jsonl", flat)
    _, expected = ingest(source, tmp_path / "flat")
    write_jsonl(source / "raw/a.jsonl", nested)
    assert ingest(source, tmp_path / "nested")[1] == expected


def narrow_rows(content: list[Row], fahrenheit: bool = False) -> list[Row]:
    units = {"level": "m", "Temp": "degC", "open": ""}
    return [
        {
            "device_id": r["tank_id"],
            "timestamp": r["taken"],
            "sensor_type": sensor,
            "value": r[sensor] * 9 / 5 + 32
            if fahrenheit and sensor == "Temp"
            else float(r[sensor]),
            "unit": "degF" if fahrenheit and sensor == "Temp" else unit or None,
            "quality": "ok",
        }
        for r in content
        for sensor, unit in units.items()
        if r[sensor] is not None
    ]


def measured(found: list[Row]) -> list[Row]:
    left_out = ("event_id", "sequence_number")
    return [{k: v for k, v in r.items() if k not in left_out} for r in found]


@pytest.mark.parametrize("form", WRITERS)
def test_narrow_and_wide_are_one(source: Path, tmp_path: Path, form: str) -> None:
    content = [*rows(), row(40, Temp=None), row(41, level=99.0)]
    write_parquet(source / "raw/a.parquet", content)
    _, wide = ingest(source, tmp_path / "wide")
    (source / "raw/a.parquet").unlink()
    WRITERS[form](source / f"raw/a.{form}", narrow_rows(content))
    counts, narrow = ingest(source, tmp_path / "narrow")
    assert measured(narrow) == measured(wide)
    assert counts.readings == 42


def test_narrow_units_are_converted_or_refused(source: Path, tmp_path: Path) -> None:
    write_parquet(source / "raw/a.parquet", narrow_rows(rows(10), fahrenheit=True))
    _, found = ingest(source, tmp_path / "out")
    warmth = {r["timestamp_utc"]: r["warmth"] for r in found}
    assert all(math.isclose(warmth[r["taken"]], r["Temp"], abs_tol=1e-12) for r in rows(10))
    content = [r | {"unit": "furlong"} if r["unit"] == "m" else r for r in narrow_rows(rows(10))]
    write_parquet(source / "raw/a.parquet", content)
    error = fails(source, "C06")
    assert "furlong" in error.found and "level" in error.where


def test_narrow_values_are_rejected_one_by_one(source: Path, tmp_path: Path) -> None:
    content = narrow_rows(rows(10))
    content += [
        content[0],
        content[1] | {"sensor_type": "speed"},
        content[2] | {"device_id": None},
        content[3] | {"timestamp": None},
    ]
    content[4] |= {"quality": "bad"}
    write_parquet(source / "raw/a.parquet", content)
    counts, found = ingest(source, tmp_path / "out")
    assert counts.quarantined == {
        "bad_timestamp": 1,
        "duplicate": 1,
        "missing_key": 1,
        "unknown_sensor": 1,
    }
    assert counts.readings == 14
    assert counts.flags == {"BAD_QUALITY": 1, "SENSOR_GAP": 1}
    assert [r["warmth"] for r in found if r["quality_flags"]] == [None]


def test_values_are_nulled_and_flagged(source: Path, tmp_path: Path) -> None:
    content = [
        *rows(6),
        row(6, level=10.5),
        row(7, level=math.nan, Temp=math.inf),
        row(8, Temp=None, open=None),
        row(9, level=None),
        row(10, level=10.0, Temp=-40.0),
        row(11, open=None),
    ]
    write_parquet(source / "raw/a.parquet", content)
    counts, found = ingest(source, tmp_path / "out")
    by_event = {r["event_id"]: r for r in found}
    assert counts.flags == {"NOT_FINITE": 1, "RANGE_VIOLATION": 1, "SENSOR_GAP": 2}
    assert by_event["e0006"]["quality_flags"] == ["RANGE_VIOLATION"]
    assert by_event["e0006"]["level"] is None and by_event["e0006"]["sensor_null_count"] == 1
    assert by_event["e0007"]["quality_flags"] == ["NOT_FINITE"]
    assert by_event["e0007"]["sensor_null_count"] == 2
    assert by_event["e0008"]["quality_flags"] == ["SENSOR_GAP"]
    assert by_event["e0009"]["quality_flags"] == ["SENSOR_GAP"]
    assert by_event["e0010"]["quality_flags"] == [], "a range includes its ends"
    assert by_event["e0011"]["quality_flags"] == [], "t1 does not carry that sensor"


def test_a_clock_a_day_off_yields_to_the_servers(source: Path, tmp_path: Path) -> None:
    day = timedelta(days=1)
    at = START + timedelta(minutes=50)
    content = [
        *rows(4),
        row(50, taken=at - day, arrived=at),
        row(51, taken=at - day - timedelta(microseconds=1), arrived=at),
        row(52, taken=datetime(1970, 1, 1, tzinfo=UTC), arrived=at),
    ]
    write_parquet(source / "raw/a.parquet", content)
    counts, found = ingest(source, tmp_path / "out")
    by_event = {r["event_id"]: r for r in found}
    assert counts.flags == {"CLOCK_DRIFT": 2}
    assert by_event["e0050"]["timestamp_utc"] == at - day
    assert by_event["e0051"]["timestamp_utc"] == by_event["e0052"]["timestamp_utc"] == at


def test_copies_keep_the_first_by_sequence(source: Path, tmp_path: Path) -> None:
    late = START + timedelta(days=3)
    content = [*rows(4), row(1, number=0, level=5.0), row(2, number=9, arrived=late)]
    write_parquet(source / "raw/a.parquet", content)
    counts, found = ingest(source, tmp_path / "out")
    by_event = {r["event_id"]: r for r in found}
    assert counts.quarantined == {"duplicate": 2}
    assert by_event["e0001"]["level"] == 5.0
    assert by_event["e0001"]["quality_flags"] == ["DUPLICATE_REMOVED"]
    assert by_event["e0002"]["sequence_number"] == 2
    assert {json.loads(r["record"])["sequence_number"] for r in quarantine(tmp_path / "out")} == {
        "1",
        "9",
    }


def test_quarantine_keeps_the_reason_and_the_record(source: Path, tmp_path: Path) -> None:
    nothing = {"level": None, "Temp": None, "open": None}
    content = [
        *rows(20),
        row(20, tank_id="ghost"),
        row(21, **nothing),
        row(22, tank_id=None),
        row(23, taken="soon"),
        row(24, taken="2026-02-30T00:00:00"),
        row(25, event=None),
        row(26, level="high"),
        row(27, arrived=None),
        row(28, taken="infinity"),
    ]
    write_csv(source / "raw/a.csv", content)
    counts, _ = ingest(source, tmp_path / "out")
    assert counts.quarantined == {
        "all_null": 1,
        "bad_timestamp": 4,
        "bad_value": 1,
        "missing_event_id": 1,
        "missing_key": 1,
        "unknown_device": 1,
    }
    kept = {r["position"]: r for r in quarantine(tmp_path / "out")}
    assert kept[27]["reason"] == "bad_value" and kept[27]["file"] == "raw/a.csv"
    assert json.loads(kept[27]["record"])["level"] == "high"
    assert kept[21]["tank_id"] == "ghost"


def test_lines_that_cannot_be_split_are_quarantined(source: Path, tmp_path: Path) -> None:
    write_csv(source / "raw/a.csv", rows(5))
    with (source / "raw/a.csv").open("a", newline="\r\n") as stream:
        stream.write(
            "e0005,t0\ne0006,t1,2026-02-02T23:40:00,2026-02-02T23:40:01,6,1.5,20,true,9,9\n"
        )
    write_jsonl(source / "raw/b.jsonl", [row(10)])
    with (source / "raw/b.jsonl").open("a") as stream:
        stream.write('not json\n\n[1, 2]\n{"event": "e0011", "tank_id"')
    counts, _ = ingest(source, tmp_path / "out")
    assert counts.quarantined == {"bad_row": 5}
    assert counts.readings == 11
    records = [r["record"] for r in quarantine(tmp_path / "out")]
    assert any("e0005,t0" in record for record in records) and "not json" in records


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_byte_order_mark_and_line_ends(
    source: Path, tmp_path: Path, encoding: str, newline: str
) -> None:
    write_csv(source / "raw/a.csv", rows(5))
    text = (source / "raw/a.csv").read_bytes().decode().replace("\r\n", newline)
    (source / "raw/a.csv").write_bytes(text.encode(encoding))
    counts, _ = ingest(source, tmp_path / "out")
    assert counts.clean == 5 and not counts.quarantined


def test_two_kinds_of_line_ends_are_refused(source: Path) -> None:
    write_csv(source / "raw/a.csv", rows(5))
    with (source / "raw/a.csv").open("a") as stream:
        stream.write("e0005,t0\ne0006,t1\n")
    assert "every line ended the same way" in fails(source, "C03").mend


def test_latin_1_is_refused_until_declared(source: Path, tmp_path: Path) -> None:
    (source / "tanks.csv").write_text("tank_id,sensors\nKüche,level\n", encoding="latin-1")
    write_csv(source / "raw/a.csv", [row(1, tank_id="Küche")], encoding="latin-1")
    error = fails(source, "C03")
    assert "0xFC in line 2" in error.found and "latin-1" in error.found
    files = {"readings": ["raw/*.*"], "encoding": "latin-1"}
    _, found = ingest(source, tmp_path / "out", contract(files=files))
    assert found[0]["tank_id"] == "Küche"


def test_structural_breaches_are_told_at_once(source: Path) -> None:
    write_parquet(source / "raw/a.parquet", [{k: v for k, v in row(1).items() if k != "level"}])
    write_parquet(source / "raw/b.parquet", [row(2, Temp="warm")])
    whole = tmp = source / "raw/c.parquet"
    write_parquet(whole, rows())
    tmp.write_bytes(whole.read_bytes()[:-20])
    (source / "raw/d.csv").write_bytes(b"")
    (source / "raw/e.xlsx").write_bytes(b"PK")
    error = fails(source, "C02")
    assert "5 breaches" in error.found
    for part in (
        "[C02] raw/a.parquet, column level",
        "[C04] raw/b.parquet, column Temp",
        "[C03] raw/c.parquet",
        "[C03] raw/d.csv: the file is empty",
        "[C03] raw/e.xlsx",
    ):
        assert part in error.found


def test_a_page_that_was_overwritten_breaks_the_file_alone(source: Path) -> None:
    write_parquet(source / "raw/a.parquet", rows(500))
    content = bytearray((source / "raw/a.parquet").read_bytes())
    content[4:2000] = b"\xff" * 1996
    (source / "raw/a.parquet").write_bytes(content)
    error = fails(source, "C03")
    assert error.where == "raw/a.parquet"


@pytest.mark.parametrize("column", ["level", "taken", "number"])
def test_a_text_column_of_another_type_is_refused(source: Path, column: str) -> None:
    write_csv(source / "raw/a.csv", [row(i, **{column: "n/a"}) for i in range(12)])
    error = fails(source, "C04")
    assert column in error.where


def test_epoch_numbers_are_no_times(source: Path) -> None:
    write_parquet(source / "raw/a.parquet", [row(1, taken=1_770_000_000)])
    assert "taken" in fails(source, "C04").where


def test_another_unit_is_noticed(source: Path, tmp_path: Path) -> None:
    fahrenheit = [row(i, Temp=(20 - i % 20) * 9 / 5 + 100) for i in range(200)]
    write_parquet(source / "raw/a.parquet", fahrenheit)
    error = fails(source, "C06")
    assert "Temp" in error.where and "degC" in error.found
    write_parquet(source / "raw/a.parquet", [row(i, Temp=-999.0) for i in range(200)])
    counts, _ = ingest(source, tmp_path / "stuck")
    assert counts.flags == {"RANGE_VIOLATION": 200}, "a sensor stuck at one value has no unit"


def test_a_units_metadata_is_heeded(source: Path, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(rows(5))
    place = table.schema.get_field_index("Temp")
    field = table.schema.field(place).with_metadata({"unit": "degF"})
    (source / "raw").mkdir()
    pq.write_table(table.cast(table.schema.set(place, field)), source / "raw/a.parquet")
    assert "degF" in fails(source, "C06").found
    sensors = [
        s | ({"source_unit": "degF"} if s["name"] == "warmth" else {}) for s in CONTRACT["sensor"]
    ]  # type: ignore[union-attr]
    _, found = ingest(source, tmp_path / "out", contract(sensor=sensors))
    assert math.isclose(found[0]["warmth"], (20 - 32) / 1.8, rel_tol=1e-12)


def test_paths_that_are_not_there(source: Path) -> None:
    assert "no such file" in fails(source / "gone", "C01").found
    assert "no file matches" in fails(source, "C01").found
    write_parquet(source / "raw/a.parquet", rows(3))
    (source / "tanks.csv").unlink()
    assert "registry" in fails(source, "C01").found


def test_links_out_of_the_source_are_refused(source: Path, tmp_path: Path) -> None:
    write_parquet(tmp_path / "secret.parquet", rows(3))
    (source / "raw").mkdir()
    (source / "raw/a.parquet").symlink_to(tmp_path / "secret.parquet")
    fails(source, "C08")
    (source / "raw/a.parquet").unlink()
    write_parquet(source / "raw/a[1].parquet", rows(3))
    fails(source, "C08")


def test_no_readings_and_no_clean_readings(source: Path) -> None:
    write_csv(source / "raw/a.csv", rows(1))
    header = (source / "raw/a.csv").read_text().splitlines()[0]
    (source / "raw/a.csv").write_text(header + "\n")
    assert "not one reading" in fails(source, "C05").found
    write_csv(source / "raw/a.csv", [row(i, tank_id="ghost") for i in range(3)])
    error = fails(source, "C05")
    assert "3 unknown_device" in error.found and "ghost" in error.found


def test_one_file_or_a_flat_folder_will_do(source: Path, tmp_path: Path) -> None:
    write_parquet(source / "flat.parquet", rows(3))
    assert ingest(source / "flat.parquet", tmp_path / "file")[0].clean == 3
    declared = contract(files={"readings": ["deep/*.parquet"]})
    assert ingest(source, tmp_path / "flat", declared)[0].clean == 3


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("tank_id,sensors\nt0,level\nt0,level\n", "C07", "t0 (2 rows)"),
        ("tank_id,sensors\n,level\n", "C07", "no key"),
        ("tank_id,sensors\nt0,speed\n", "C07", "speed"),
        ("tank,sensors\nt0,level\n", "C02", "tank_id"),
        ("tank_id,sensors\nt0\n", "C07", "cannot be split"),
    ],
)
def test_a_registry_that_does_not_hold(source: Path, content: str, code: str, says: str) -> None:
    write_parquet(source / "raw/a.parquet", rows(3))
    (source / "tanks.csv").write_text(content)
    assert says in fails(source, code).found


def test_episodes_of_a_file(source: Path, tmp_path: Path) -> None:
    write_parquet(source / "raw/a.parquet", rows(3))
    (source / "labels.csv").write_text(
        "tank_id,start,end,label,by\nt1,2026-02-02T23:00:00Z,2026-02-03,leak,x\n"
        "t0,2026-02-02 23:00:00+01:00,2026-02-03,frost,y\n"
    )
    ingest(source, tmp_path / "out")
    table = pq.read_table(tmp_path / "out/labels.parquet")
    assert str(table.schema.field("start").type) == "timestamp[us, tz=UTC]"
    assert table.to_pylist()[0] == {
        "tank_id": "t0",
        "start": datetime(2026, 2, 2, 22, tzinfo=UTC),
        "end": datetime(2026, 2, 3, tzinfo=UTC),
        "label": "frost",
    }
    (source / "labels.csv").write_text("tank_id,start,end,label\nt0,2026-02-03,2026-02-02,leak\n")
    assert "row 1 is no episode" in fails(source, "C07").found


def test_episodes_of_a_column(source: Path, tmp_path: Path) -> None:
    values = [0.0, 0.0, 1.0, 1.0, None, 1.0, 0.0]
    content = [row(2 * i, state=value) for i, value in enumerate(values)]
    write_parquet(source / "raw/a.parquet", content)
    labels = {"column": "state", "names": {"0": "normal", "1": "leak"}}
    ingest(source, tmp_path / "out", contract(labels=labels))
    found = pq.read_table(tmp_path / "out/labels.parquet").to_pylist()
    minutes = [
        ((r["start"] - START).seconds // 60, (r["end"] - START).seconds // 60, r["label"])
        for r in found
    ]
    assert minutes == [(0, 3, "normal"), (4, 7, "leak"), (10, 11, "leak"), (12, 13, "normal")]
    labels = {"column": "state", "names": {"0": "normal"}}
    assert "1 has no meaning" in fails(source, "C07", contract(labels=labels)).found


def test_without_ids_registry_or_clock(tmp_path: Path) -> None:
    plain = {k: v for k, v in CONTRACT.items() if k in ("name", "sensor", "unit")} | {
        "files": {"readings": ["*/*.csv"]},
        "key": {"name": "rig", "from_path": True},
        "time": {"device": "taken"},
    }
    declared = ReadingContract.model_validate(plain)
    dropped = ("event", "tank_id", "arrived", "number")
    content = [{k: v for k, v in r.items() if k not in dropped} for r in rows(5)]
    write_csv(tmp_path / "in/x/1.csv", [*content, content[2]])
    write_csv(tmp_path / "in/y/1.csv", content)
    counts, found = ingest(tmp_path / "in", tmp_path / "out", declared)
    assert counts.quarantined == {"duplicate": 1}
    assert counts.entities == 2
    assert {r["rig"] for r in found} == {"x/1", "y/1"}
    assert len({r["event_id"] for r in found}) == 10
    assert [r["sequence_number"] for r in found if r["rig"] == "x/1"] == [1, 2, 3, 4, 5]
    entities = pq.read_table(tmp_path / "out/entities.parquet").to_pylist()
    assert entities == [{"rig": "x/1"}, {"rig": "y/1"}]


def test_progress_only_rises_and_ends(source: Path, tmp_path: Path) -> None:
    write_parquet(source / "raw/a.parquet", rows())
    steps: list[tuple[int, int]] = []
    (tmp_path / "out").mkdir()
    clean(
        inspect(source, contract()),
        contract(),
        tmp_path / "out",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == sorted(steps) and steps[-1] == (PROGRESS_STEPS, PROGRESS_STEPS)


FULL_DISK = """
import resource, sys
from pathlib import Path
from firnline.adapters.duckdb_readings import clean, inspect
from firnline.contracts.reading import ReadingContract
from firnline.errors import ContractError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)
contract = ReadingContract.model_validate_json(sys.argv[1])
try:
    clean(inspect(Path(sys.argv[2]), contract), contract, Path(sys.argv[3]))
except ContractError as error:
    print(error.code)
"""


@pytest.mark.parametrize("limit_bytes", [1_000, 60_000, 150_000])
def test_a_full_disk_leaves_nothing_behind(source: Path, tmp_path: Path, limit_bytes: int) -> None:
    content = [row(i, level=math.sin(i) + 1, Temp=math.cos(i)) for i in range(9_000)]
    write_parquet(
        source / "raw/a.parquet", [r | {"taken": START, "arrived": START} for r in content]
    )
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FULL_DISK,
            contract().model_dump_json(),
            source,
            out,
            str(limit_bytes),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "C09", done.stderr
    assert not list(out.iterdir()) and not list(tmp_path.glob(".*"))


def test_too_little_memory_is_told(source: Path, tmp_path: Path) -> None:
    write_parquet(source / "raw/a.parquet", rows(20_000))
    declared = contract()
    (tmp_path / "out").mkdir()
    with pytest.raises(ContractError) as caught:
        clean(
            inspect(source, declared),
            declared,
            tmp_path / "out",
            memory_limit="3MB",
            temp_limit="1KB",
        )
    assert caught.value.code == "C09" and "FIRNLINE_MEMORY_LIMIT" in caught.value.mend


broken = st.fixed_dictionaries(
    {},
    optional={
        "event": st.sampled_from(["e0001", "e0002", None, "x"]),
        "tank_id": st.sampled_from(["t0", "ghost", None]),
        "taken": st.sampled_from([START, START + timedelta(days=40), None]),
        "arrived": st.sampled_from([START, START - timedelta(days=2), None]),
        "level": st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
        "Temp": st.one_of(st.none(), st.floats(-100, 100)),
        "open": st.sampled_from([True, False, None]),
        "number": st.integers(-3, 3),
    },
)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(broken, max_size=25))
def test_no_reading_is_lost(source: Path, changes: list[Row]) -> None:
    content = [row(0), *(row(i + 1, **change) for i, change in enumerate(changes))]
    schema = pa.Table.from_pylist([row(0)]).schema
    (source / "raw").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(content, schema), source / "raw/a.parquet")
    with tempfile.TemporaryDirectory() as folder:
        counts, found = ingest(source, Path(folder) / "out")
        assert counts.readings == len(content)
        assert sum(counts.quarantined.values()) == len(quarantine(Path(folder) / "out"))
        assert len({r["event_id"] for r in found}) == len(found)
        for r in found:
            assert r["level"] is None or 0 <= r["level"] <= 10
            assert r["sensor_null_count"] == sum(r[name] is None for name in SENSORS)
            assert r["quality_flags"] == sorted(set(r["quality_flags"]))


def test_skab_is_clean(shared_data: Path, tmp_path: Path) -> None:
    declared = load(Path(__file__).parents[3] / "models/skab/contract.toml")
    counts, _ = ingest(shared_data / "skab/data", tmp_path / "out", declared)
    assert (counts.readings, counts.clean, counts.entities) == (37_401, 37_401, 34)
    assert counts.flags == {}
    labels = pq.read_table(tmp_path / "out/labels.parquet").to_pylist()
    assert {r["label"] for r in labels} == {"normal", "anomaly"}
