"""Stage outputs come back row by row as they were written, in whatever order they are asked for."""

from pathlib import Path

import numpy as np

from firnline.adapters.stage_outputs import columns_of, read, write

HOUR = 3_600_000_000
COLUMNS = columns_of({"residual": 2, "error": 1})


def written(folder: Path) -> tuple[list[Path], np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    entities = np.repeat(np.array(["b", "a", "c"]), 30)
    times = np.tile(np.arange(30, dtype=np.int64) * HOUR, 3)
    values = random.normal(size=(90, 3)).astype(np.float32)
    values[7] = np.nan
    assert write(folder, "device_id", COLUMNS, entities, times, values) == 90
    return sorted(folder.rglob("*.parquet")), entities, times, values


def test_columns() -> None:
    assert COLUMNS == ("residual_0", "residual_1", "error")


def test_rows_come_back_as_they_are_asked_for(tmp_path: Path) -> None:
    files, entities, times, values = written(tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in files] == [
        "date=1970-01-01/part-00.parquet",
        "date=1970-01-02/part-00.parquet",
    ]
    order = np.random.default_rng(6).permutation(90)
    found, present = read(files, "device_id", COLUMNS, entities[order], times[order])
    assert present.all()
    assert np.array_equal(found, values[order], equal_nan=True)


def test_a_row_without_an_answer_is_not_a_row_that_is_missing(tmp_path: Path) -> None:
    files, entities, times, _ = written(tmp_path)
    asked = np.array([entities[7], "z", "a"]), np.array([times[7], 0, HOUR // 2])
    found, present = read(files, "device_id", COLUMNS, *asked)
    assert np.isnan(found).all()
    assert present.tolist() == [True, False, False]


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    first, entities, times, values = written(tmp_path / "one")
    order = np.random.default_rng(7).permutation(90)
    write(tmp_path / "two", "device_id", COLUMNS, entities[order], times[order], values[order])
    second = sorted((tmp_path / "two").rglob("*.parquet"))
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
