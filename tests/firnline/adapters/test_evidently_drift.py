import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from firnline.adapters.evidently_drift import compare
from firnline.errors import EvidenceError
from firnline.evidence.drift import judge, psi

COLUMNS = tuple(f"w__f{number}" for number in range(6))
DAY = 86_400_000_000


def rows(count: int, seed: int, days: int = 1, **changes: np.ndarray) -> pa.Table:
    random = np.random.default_rng(seed)
    values = {name: random.normal(size=count).astype(np.float32) for name in COLUMNS}
    times = np.sort(random.integers(1, days * DAY, count))
    stamps = pa.array(times, pa.timestamp("us", "UTC"))
    return pa.table({**values, **changes, "event_timestamp": stamps})


def write(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path, row_group_size=700)
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("drift") / "reference.parquet", rows(2_000, 1))


def test_a_shift_is_scored_and_reported(reference: Path, tmp_path: Path) -> None:
    shifted = rows(2_000, 2).column("w__f0").to_numpy() + 1
    current = write(tmp_path / "now.parquet", rows(2_000, 2, w__f0=shifted))
    found = compare(reference, current, COLUMNS, tmp_path)
    assert list(found.scores) == list(COLUMNS)
    before = pq.read_table(reference).column("w__f0").to_numpy()
    assert found.scores["w__f0"] == pytest.approx(psi(before, shifted))
    assert max(found.scores[name] for name in COLUMNS[1:]) < 0.05
    assert judge("x", found).verdict == "drift"
    html = (tmp_path / "drift.html").read_text(encoding="utf-8")
    assert "w__f0" in html
    assert not re.search(r"<(script|link|img)\b[^>]*\b(src|href)\s*=\s*[\"']?(https?:)?//", html)


def test_the_figures_are_the_same_bytes_again(reference: Path, tmp_path: Path) -> None:
    current = write(tmp_path / "now.parquet", rows(1_500, 3))
    written = []
    for run in range(2):
        out = tmp_path / str(run)
        out.mkdir()
        compare(reference, current, COLUMNS, out, sample_rows=1_000)
        written.append((out / "drift.json").read_bytes())
    assert written[0] == written[1]


def test_columns_without_values_are_named_and_not_compared(reference: Path, tmp_path: Path) -> None:
    nothing = np.full(500, np.nan, np.float32)
    few = nothing.copy()
    few[:10] = 1.0
    endless = np.full(500, np.inf, np.float32)
    table = rows(500, 4, w__f1=nothing, w__f2=few, w__f3=endless).drop_columns(["w__f4"])
    found = compare(reference, write(tmp_path / "now.parquet", table), COLUMNS, tmp_path)
    assert set(found.scores) == {"w__f0", "w__f5"}
    assert set(found.not_compared) == {"w__f1", "w__f2", "w__f3", "w__f4"}
    assert found.lost == ("w__f1", "w__f3", "w__f4")
    assert judge("x", found).verdict == "suspect"


def test_a_constant_column_can_be_compared(tmp_path: Path) -> None:
    shut = np.zeros(500, np.float32)
    before = write(tmp_path / "before.parquet", rows(500, 5, w__f0=shut))
    now = write(tmp_path / "now.parquet", rows(500, 6, w__f0=shut))
    assert compare(before, now, COLUMNS, tmp_path).scores["w__f0"] == 0.0


def test_nothing_that_can_be_compared_still_makes_both_files(
    reference: Path, tmp_path: Path
) -> None:
    now = write(tmp_path / "now.parquet", rows(10, 7))
    found = compare(reference, now, COLUMNS, tmp_path)
    assert not found.scores
    assert judge("x", found).verdict == "not compared"
    assert (tmp_path / "drift.html").is_file()
    assert (tmp_path / "drift.json").is_file()


def test_a_feature_that_differs_from_day_to_day_gets_a_wider_limit(tmp_path: Path) -> None:
    base = rows(3_000, 8, days=4)
    days = base.column("event_timestamp").cast(pa.int64()).to_numpy() // DAY
    weather = base.column("w__f0").to_numpy() + 2 * (days % 2)
    place = base.schema.get_field_index("w__f0")
    before = write(tmp_path / "before.parquet", base.set_column(place, "w__f0", [weather]))
    now = write(tmp_path / "now.parquet", rows(800, 9))
    found = compare(before, now, COLUMNS, tmp_path)
    assert found.limits["w__f0"] > 0.5
    assert found.limits["w__f1"] == 0.25
    assert found.scores["w__f0"] > 0.25
    assert judge("x", found).verdict == "stable"


def test_a_reference_without_a_feature_is_refused(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="DC2"):
        compare(reference, reference, (*COLUMNS, "w__new"), tmp_path)


def test_a_file_without_rows_is_refused(reference: Path, tmp_path: Path) -> None:
    empty = write(tmp_path / "none.parquet", rows(3, 1).slice(0, 0))
    with pytest.raises(EvidenceError, match="DC1"):
        compare(reference, empty, COLUMNS, tmp_path)
