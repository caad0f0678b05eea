import json
import subprocess
import sys
from pathlib import Path

import pytest

from firnline.checks.ensemble import check
from firnline.cli.check import tools

ENSEMBLES = Path(__file__).parents[2] / "resources" / "ensembles"

FAULTS = {
    "not_toml": ("manifest", "[M2]"),
    "no_such_ensemble": ("manifest", "[M1]"),
    "unknown_upstream": ("manifest", "[M3]"),
    "no_contract": ("contract", "[M4]"),
    "other_key": ("contract", "'vessel_id'"),
    "unknown_class": ("classes", "leak"),
    "no_module": ("features", "[M8]"),
    "missing_view": ("features", "tank_window@v7"),
    "lambda_view": ("features", "[FV2]"),
    "two_versions": ("H2 one version", "is read in 2 versions"),
    "two_clocks": ("H3 one clock", "3600 s"),
    "other_entity": ("view valve_window@v1: entity", "'valve'"),
    "unknown_sensor": ("view depth_window@v1: runs", "[FV5]"),
    "lacking_feature": ("view lacking_window@v1: runs", "['std']"),
    "windows_twice": ("view twice_window@v1: runs", "[FV6]"),
    "endless_feature": ("view endless_window@v1: runs", "infinite"),
    "unknown_recipe": ("stage last: recipe", "NoSuchRecipe"),
    "unknown_option": ("stage last: recipe", "speed"),
    "no_threshold": ("threshold", "[M10]"),
    "no_target": ("release targets", "[E80] no target 'mcu-z80'"),
    "no_layer": ("int8 layers", "[E2]"),
    "last_upstream": ("stage last: graph", "[H4] input first.score has 2 columns, not 1"),
    "first_typo": ("stage first: fit", "labels_of_rows"),
    "first_nothing": ("stage first: fit", "without predict and to_onnx"),
    "first_name": ("stage first: outputs", "score: missing"),
    "first_shape": ("stage first: outputs", "no columns, not 1"),
    "first_dtype": ("stage first: outputs", "float64"),
    "first_range": ("stage first: outputs", "leaves its range [0, 1]"),
    "first_finite": ("stage first: outputs", "not finite"),
    "first_no_model": ("stage first: graph", "Error"),
    "first_asks": ("stage first: graph", "[H4] input speed"),
    "first_output": ("stage first: graph", "[M9] it has no output score"),
    "first_random": ("stage first: same seed, same bytes", "different graphs"),
    "first_batch": ("stage first: any batch", "refuses"),
    "first_rows": ("stage first: any batch", "alone"),
    "first_unlike": ("stage first: graph equals predict", "score lies 0.0"),
    "first_outside": ("stage first: H7 preprocessing inside", "[H7]"),
}


def examined(name):
    return check(name, ENSEMBLES, tools())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_nothing_else(name):
    findings = examined(name)
    where, found = FAULTS[name]
    broken = [finding for finding in findings if not finding.good]
    assert [finding.name for finding in broken] == [where], broken
    assert found in broken[0].found
    assert broken[0].mend and broken[0].tried


def test_every_ensemble_here_is_looked_at():
    folders = {path.parent.name for path in ENSEMBLES.glob("*/ensemble.toml")}
    assert folders | {"no_such_ensemble"} == {*FAULTS, "good", "first_picky"}


def test_a_good_ensemble_is_good_throughout():
    findings = examined("good")
    assert findings.good and all(finding.tried for finding in findings)
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names)


def test_a_recipe_that_refuses_generated_rows_is_not_blamed():
    findings = examined("first_picky")
    assert findings.good
    untried = {finding.name: finding for finding in findings if not finding.tried}
    assert list(untried) == ["stage first: fit", "one graph", "int8 layers"]
    assert "100,000 rows" in untried["stage first: fit"].found
    # The stage after it is tried all the same, on stand-ins.
    assert "stage last: graph equals predict" in [finding.name for finding in findings]


def test_faults_of_several_parts_are_told_at_once(tmp_path):
    text = (ENSEMBLES / "first_range" / "ensemble.toml").read_text()
    text = text.replace("../tank_contract.toml", str(ENSEMBLES / "tank_contract.toml"))
    text = text.replace("[decide]", 'options = { fault = "unlike" }\n[decide]')
    folder = tmp_path / "both"
    folder.mkdir()
    (folder / "ensemble.toml").write_text(text)
    broken = [finding.name for finding in examined(str(folder)) if not finding.good]
    assert broken == ["stage first: outputs", "stage last: graph equals predict"]


@pytest.mark.parametrize("name", ["skab", "refrigeration"])
def test_the_ensembles_that_ship_are_good(name, tmp_path):
    findings = check(name, tmp_path, tools())
    assert [finding for finding in findings if not (finding.good and finding.tried)] == []


@pytest.mark.parametrize(("name", "status"), [("good", 0), ("first_outside", 1)])
def test_the_command_ends_with_its_verdict(name, status):
    command = [str(Path(sys.executable).with_name("firnline")), "check", name]
    done, told = (
        subprocess.run(
            [*command, *more], cwd=ENSEMBLES, capture_output=True, text=True, check=False
        )
        for more in (["--json"], [])
    )
    assert (done.returncode, told.returncode) == (status, status)
    document = json.loads(done.stdout)
    assert document["ensemble"] == name and document["good"] is (status == 0)
    assert set(document["findings"][0]) == {"name", "good", "found", "mend", "tried"}
    assert ("H7" in told.stdout) and (("fill missing values" in told.stdout) is bool(status))
