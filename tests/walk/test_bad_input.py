"""What the command line says to bad input: an error with a mend, and nothing half written."""

import json
from pathlib import Path

import pytest

from tests.resources.project import Project


def state_of(folder: Path) -> list[str]:
    kept = ("home", ".firnline/prefect", ".firnline/logs")
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not str(path.relative_to(folder)).startswith(kept)
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "refrigerator"), "M1"),
        (("run", "refrigeration", "--data", "nowhere.csv"), "C01"),
        (("export", "refrigeration", "--target", "mcu-z80"), "E80"),
    ],
)
def test_a_slip_is_answered_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], code: str
) -> None:
    done = Project(tmp_path).run(*arguments, "--json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["code"] == code
    assert "mend" in done.stderr
    assert state_of(tmp_path) == []


def test_a_truncated_file_fails_the_step_that_reads_it(tmp_path: Path, fleet: Path) -> None:
    source = tmp_path / "source"
    (source / "readings").mkdir(parents=True)
    for path in sorted(fleet.rglob("*")):
        if path.is_file():
            copy = source / path.relative_to(fleet)
            content = path.read_bytes()
            torn = path.suffix == ".parquet" and path.parent.name == "readings"
            copy.write_bytes(content[: len(content) // 2] if torn else content)
    folder = tmp_path / "project"
    folder.mkdir()

    done = Project(folder).run("run", "refrigeration", "--data", str(source), "--json")

    error = json.loads(done.stdout)["error"]
    assert done.returncode == 1
    assert (error["step"], error["code"], error["family"]) == ("ingest", "C03", "ContractError")
    assert state_of(folder) == []


def test_promote_needs_a_candidate(tmp_path: Path) -> None:
    done = Project(tmp_path).run("promote", "refrigeration")

    assert done.returncode == 1
    assert "E4" in done.stderr
    assert "firnline run refrigeration" in done.stderr
