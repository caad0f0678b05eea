from pathlib import Path

import pytest

from firnline.contracts import reading
from firnline.errors import HandshakeError

MINIMAL = """
name = "tank"
[files]
readings = ["*.csv"]
[key]
name = "tank_id"
[time]
device = "time"
[[sensor]]
name = "level"
unit = "m"
range = [0, 10]
"""
SHIPPED = sorted((Path(__file__).parents[3] / "models").glob("*/contract.toml"))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "contract.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_contracts_load(path: Path) -> None:
    contract = reading.load(path)
    assert contract.name == path.parent.name
    assert len(contract.digest()) == 64


def test_names_and_columns_of_a_small_contract(tmp_path: Path) -> None:
    contract = reading.load(written(tmp_path, MINIMAL))
    assert contract.key.column == "tank_id"
    assert contract.patterns() == ("*.csv", "carbon_intensity.csv")
    assert contract.clean_columns() == (
        "event_id",
        "tank_id",
        "timestamp_utc",
        "level",
        "quality_flags",
        "sensor_null_count",
        "sequence_number",
    )


def test_digest_ignores_layout_and_heeds_ranges(tmp_path: Path) -> None:
    plain = reading.load(written(tmp_path, MINIMAL)).digest()
    assert reading.load(written(tmp_path, "# a comment\n" + MINIMAL)).digest() == plain
    assert reading.load(written(tmp_path, MINIMAL.replace("[0, 10]", "[0, 9]"))).digest() != plain


def test_conversions_are_found_by_both_units(tmp_path: Path) -> None:
    text = MINIMAL + '\n[[unit]]\nsource = "ft"\nto = "m"\nfactor = 0.3048\n'
    contract = reading.load(written(tmp_path, text))
    way = contract.conversion("ft", "m")
    assert way is not None and way.factor == 0.3048
    assert contract.conversion("m", "ft") is None
    same = contract.conversion(None, "m")
    assert same is not None and (same.factor, same.offset) == (1.0, 0.0)


def test_a_missing_contract_is_m4(tmp_path: Path) -> None:
    with pytest.raises(HandshakeError) as caught:
        reading.load(tmp_path / "contract.toml")
    assert caught.value.code == "M4"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[files]", "[files", "TOML"),
        ("[0, 10]", "[10, 0]", "not ascending"),
        ("[0, 10]", "[0, inf]", "finite"),
        ('["*.csv"]', '["../*.csv"]', "without .."),
        ('["*.csv"]', '["/data/*.csv"]', "relative path"),
        ('["*.csv"]', '["**/*.csv"]', "must name its folders"),
        ('["*.csv"]', "[]", "files.readings"),
        ('name = "level"', 'name = "label"', "rename it"),
        ('name = "level"', 'name = "tank_id"', "declared twice"),
        ('name = "level"', 'name = "Level"', "pattern"),
        ('unit = "m"', 'unit = "m"\nsource_unit = "ft"', "no [[unit]] converts ft to m"),
        ('unit = "m"', 'dtype = "bool"', "neither range"),
        ('device = "time"', 'device = "time"\ncolour = "red"', "time.colour"),
        ("[key]", "[labels]\n[key]", "name one of them"),
        ("[key]", '[labels]\ncolumn = "x"\n[key]', "labels.names"),
    ],
)
def test_an_invalid_contract_is_m5_and_says_why(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    with pytest.raises(HandshakeError) as caught:
        reading.load(written(tmp_path, MINIMAL.replace(old, new, 1)))
    assert caught.value.code == "M5"
    assert says in caught.value.found


def test_all_breaches_are_told_at_once(tmp_path: Path) -> None:
    text = MINIMAL.replace("[0, 10]", "[10, 0]").replace('"*.csv"', '"../x"')
    with pytest.raises(HandshakeError) as caught:
        reading.load(written(tmp_path, text))
    assert "ascending" in caught.value.found and "without .." in caught.value.found


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/contracts.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    assert reading.load(written(tmp_path, example)).sensor_names == (
        "level",
        "warmth",
        "valve_open",
    )


def test_every_flag_and_part_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/contracts.md").read_text(encoding="utf-8")
    for part, model in (("files", reading.Files), ("time", reading.Time), ("key", reading.Key)):
        for field in model.model_fields:
            assert f"`{part}.{field}`" in page, field
