from pathlib import Path
from typing import Any

import pytest

from firnline.contracts.ensemble import load
from firnline.errors import HandshakeError

WHOLE = """
[ensemble]
name = "pump"
entity = "pump"
key = "pump_id"
[features]
module = "pump.features"
[[stage]]
name = "one"
recipe = "pump.recipe:One"
features = ["pump_window@v1"]
outputs = [{ name = "error", range = [0, 1] }]
[[stage]]
name = "two"
recipe = "pump.recipe:Two"
features = ["pump_window@v1", "pump_hour@v2"]
upstream = ["one.error"]
outputs = [{ name = "chance", shape = [2] }]
[decide]
output = "two.chance"
classes = ["normal", "broken"]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "ensemble.toml"
    path.write_text(text)
    return path


def test_a_whole_manifest(tmp_path: Path) -> None:
    manifest = load(written(tmp_path, WHOLE))

    assert manifest.references() == ("pump_window@v1", "pump_hour@v2")
    assert manifest.output("two.chance").width == 2
    assert manifest.output("one.error").width == 1
    assert manifest.retrain.carbon_slack.total_seconds() == 48 * 3600


def test_comments_and_layout_do_not_count(tmp_path: Path) -> None:
    before = load(written(tmp_path, WHOLE)).digest()

    after = load(written(tmp_path, "# a comment\n" + WHOLE.replace("= ", "=   "))).digest()

    assert after == before


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (("[ensemble]", "[ensemble"), "M2", "TOML"),
        (('name = "pump"', 'name = "Pump"'), "M3", "ensemble.name"),
        (('upstream = ["one.error"]', 'upstream = ["one.eror"]'), "M3", "one.eror"),
        (('output = "two.chance"', 'output = "two.luck"'), "M3", "two.luck"),
        (('"normal", "broken"', '"normal"'), "M3", "1 classes"),
        (("pump_window@v1", "pump_window"), "M3", "stage.0.features.0"),
        (('entity = "pump"', 'entity = "pump"\ncolour = "red"'), "M3", "colour"),
        (('recipe = "pump.recipe:One"', 'recipe = "pump.recipe.One"'), "M3", "recipe"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path: Path, change: Any, code: str, says: str) -> None:
    with pytest.raises(HandshakeError) as caught:
        load(written(tmp_path, WHOLE.replace(*change, 1)))

    assert caught.value.code == code
    assert says in caught.value.found
    assert caught.value.where == str(tmp_path / "ensemble.toml")


def test_a_licence_is_stated_and_no_part_of_what_is_trained(tmp_path: Path) -> None:
    plain = load(written(tmp_path, WHOLE))
    stated = WHOLE.replace('key = "pump_id"', 'key = "pump_id"\nlicense = " MIT  OR BSL-1.0"')
    licensed = load(written(tmp_path, stated))
    assert plain.ensemble.license is None
    assert licensed.ensemble.license == "MIT OR BSL-1.0"
    assert licensed.digest() == plain.digest()
    with pytest.raises(HandshakeError, match=r"\[M3\].*ensemble.license.*no SPDX expression"):
        load(written(tmp_path, stated.replace("MIT  OR", "MIT")))


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(HandshakeError, match="M1"):
        load(tmp_path / "ensemble.toml")
