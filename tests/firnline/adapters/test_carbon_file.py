from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firnline.adapters.carbon_file import load
from firnline.errors import ContractError
from firnline.sim.grid import write_carbon_intensity


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


OURS = "datetime,zone,carbon_intensity"


def test_our_own_layout(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.csv",
        OURS,
        "2026-01-05T00:00:00Z,DE,300",
        "2026-01-05T02:00:00+01:00,DE,200.5",
    )
    series = load(path)
    assert (series.zone, series.step) == ("DE", timedelta(hours=1))
    assert series.start == datetime(2026, 1, 5, tzinfo=UTC)
    assert series.values.tolist() == [300, 200.5]


def test_one_zone_of_several(tmp_path: Path) -> None:
    lines = [f"2026-01-05T0{hour}:00:00Z,{zone},{value}"
             for hour in range(3) for zone, value in (("DE", 300), ("FR", 50))]  # fmt: skip
    path = write(tmp_path / "c.csv", OURS, *lines)
    assert load(path, "FR").values.tolist() == [50, 50, 50]


def test_an_empty_value_is_a_gap(tmp_path: Path) -> None:
    lines = [f"2026-01-05T{hour:02}:00:00Z,DE,{'' if hour == 3 else 100}" for hour in range(20)]
    assert load(write(tmp_path / "c.csv", OURS, *lines)).coverage == pytest.approx(0.95)


def test_a_simulated_grid_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    write_carbon_intensity(path, 7, datetime(2026, 1, 5, tzinfo=UTC), 240)
    series = load(path)
    assert (len(series.values), series.coverage) == (240, 1.0)


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("K2", ["time,value", "2026-01-05T00:00:00Z,100"]),
        ("K2", [OURS]),
        ("K2", [OURS, "2026-01-05T00:00:00Z,DE,1", "2026-01-05T00:00:00Z,FR,1"]),
        ("K3", [OURS, "2026-01-05T00:00:00,DE,100", "2026-01-05T01:00:00,DE,100"]),
        ("K3", [OURS, "yesterday,DE,100"]),
        ("K3", [OURS, "2026-01-05T00:00:00Z,DE,much"]),
        ("K3", [OURS, "2026-01-05T00:00:00Z,DE"]),
        ("K4", [OURS, "2026-01-05T00:00:00Z,DE,100"]),
    ],
)
def test_what_cannot_be_read_is_refused(code: str, lines: list[str], tmp_path: Path) -> None:
    with pytest.raises(ContractError) as caught:
        load(write(tmp_path / "c.csv", *lines))
    assert caught.value.code == code


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="K1"):
        load(tmp_path / "none.csv")
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ContractError, match="K1"):
        load(tmp_path / "c.csv")


def test_a_zone_the_file_does_not_hold(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", OURS, "2026-01-05T00:00:00Z,DE,100")
    with pytest.raises(ContractError, match="K2"):
        load(path, "FR")


@pytest.mark.parametrize(
    ("file", "zone", "step_minutes"),
    [
        ("lwa/ger_ci.csv", "ger_ci", 15),
        ("lwa/gb_ci.csv", "gb_ci", 30),
        ("lwa/fr_ci.csv", "fr_ci", 30),
        ("electricitymaps/US-CAL-CISO_2022_hourly.csv", "US-CAL-CISO", 60),
    ],
)
def test_published_series_pass_the_gate(
    shared_data: Path, file: str, zone: str, step_minutes: int
) -> None:
    path = shared_data / "carbon" / file
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    series = load(path)
    assert (series.zone, series.step) == (zone, timedelta(minutes=step_minutes))
    assert series.coverage > 0.999
