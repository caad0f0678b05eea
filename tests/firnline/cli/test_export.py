"""`firnline export --onnx`: any float model of a user, and what is said when it cannot be."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edge.export.make import artifact_digest
from firnline.cli.app import app
from tests.edge.small_models import dense, rows
from tests.resources.project import Project

FIELDS = [
    *("model", "target", "toolchain", "runner", "instructions", "macs", "flash_bytes"),
    *("ram_bytes", "vectors", "bytes_differ"),
]
HERE = "cpu-x86_64-7bit" if platform.machine() == "x86_64" else "cpu-arm64"
BESIDE = {"proof.json", "report.json", "report.md", "report.html", "LICENSE"}


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder with a model, rows to calibrate with, and a board that holds nearly nothing."""
    (tmp_path / "net.onnx").write_bytes(dense())
    np.save(tmp_path / "rows.npy", rows(6))
    (tmp_path / "few.npy").write_bytes((tmp_path / "rows.npy").read_bytes()[:300])
    np.save(tmp_path / "wide.npy", rows(7))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]))
    np.save(tmp_path / "missing.npy", np.where(rows(6) > 2.5, np.nan, rows(6)))
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "tiny.toml").write_text(
        f'name = "tiny"\nkind = "cpu"\nabout = "tiny"\n[cpu]\nmachine = "{platform.machine()}"\n'
        "reduce_range = true\n[budget]\nmax_flash = 64\n"
    )
    (tmp_path / "typo.toml").write_text('name = "typo"\nkind = "cpu"\nabout = "a"\nflash = 1\n')
    (tmp_path / "file").write_text("")
    (tmp_path / "README.md").write_text("# My own project\n")
    (tmp_path / "mine" / HERE).mkdir(parents=True)
    (tmp_path / "mine" / HERE / "notes.txt").write_text("my own notes")
    return tmp_path


def words(folder: Path, **changed: str | None) -> list[str]:
    """The options of an export, some of them changed or left out."""
    options = {"onnx": "net.onnx", "calibration": "rows.npy", "target": HERE, "out": "out"}
    files = {"onnx", "calibration", "vectors", "out"}
    return [
        word
        for name, value in {**options, **changed}.items()
        if value is not None
        for word in (f"--{name}", str(folder / value) if name in files else value)
    ]


def export(folder: Path, **changed: str | None) -> Result:
    return CliRunner().invoke(app, ["export", *words(folder, **changed), "--json"])


def test_a_users_model_is_proved_on_every_target_asked_for(given: Path) -> None:
    asked = words(given, target="mcu-cortex-m0")

    document = Project(given).json("export", *asked, "--target", HERE)

    core, processor = document["targets"]
    for made in (core, processor):
        assert list(made)[: len(FIELDS)] == FIELDS
        assert (made["model"], made["vectors"], made["bytes_differ"]) == ("net", 600, 0)
        assert made["proof"]["verdict"] == "accept"
        folder = Path(made["path"])
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        own = {
            name: content
            for name, content in files.items()
            if name not in BESIDE and not name.startswith("vectors/")
        }
        assert set(files) >= BESIDE
        assert artifact_digest(own) == made["artifact_sha256"]
        assert json.loads(files["proof.json"]) == made["proof"]
    assert core["target"] == "mcu-cortex-m0" and core["instructions"] > 6 * 8
    assert (given / "out" / "mcu-cortex-m0" / "src" / "net.h").is_file()
    table = (given / "out" / "README.md").read_text()
    assert "| mcu-cortex-m0 | accept | 0 | 600 |" in table


def test_two_exports_are_equal_to_the_last_byte(given: Path) -> None:
    def made() -> tuple[str, dict[str, bytes]]:
        document = json.loads(export(given).stdout)
        files = {
            str(path.relative_to(given)): path.read_bytes()
            for path in (given / "out").rglob("*")
            if path.is_file()
        }
        return document["artifact_sha256"], files

    assert made() == made()


def test_people_see_a_row_a_target_and_where_it_lies(given: Path) -> None:
    shown = CliRunner().invoke(
        app, ["export", *words(given), "--target", "cpu-x86_64-7bit"], env={"COLUMNS": "200"}
    )

    assert shown.exit_code == 0, shown.output
    assert HERE in shown.stdout and "accept" in shown.stdout
    assert str(given / "out" / HERE) in shown.stderr


def test_choices_of_quantisation_reach_the_model(given: Path) -> None:
    plain = json.loads(export(given).stdout)
    other = json.loads(export(given, ranges="percentile", rounding="nearest").stdout)
    kept = json.loads(export(given, **{"float-layer": "node/y", "io": "float32"}).stdout)

    assert len({made["artifact_sha256"] for made in (plain, other, kept)}) == 3
    assert kept["bytes_differ"] == 0


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"onnx": "nowhere.onnx"}, "E8", "nowhere.onnx"),
        ({"onnx": "text.onnx"}, "E8", "not a readable ONNX model"),
        ({"calibration": "nowhere.npy"}, "E9", "nowhere.npy"),
        ({"calibration": "few.npy"}, "E9", "not readable as .npy"),
        ({"calibration": "objects.npy"}, "E9", "not readable as .npy"),
        ({"calibration": "wide.npy"}, "E9", "shape [600, 7], not [rows, 6]"),
        ({"vectors": "wide.npy"}, "E9", "shape [600, 7], not [rows, 6]"),
        ({"vectors": "missing.npy"}, "E9", "NaN in window"),
        ({"calibration": "missing.npy"}, "E14", "NaN"),
        ({"target": "mcu-z80"}, "E80", "no target 'mcu-z80'"),
        ({"io": "int4"}, "E7", "--io int4"),
        ({"ranges": "guess"}, "E7", "ranges 'guess'"),
        ({"rounding": "down"}, "E7", "rounding 'down'"),
        ({"float-layer": "nowhere"}, "E13", "nowhere"),
        ({"out": "file"}, "E7", "is a file"),
        ({"out": "."}, "E7", "README.md, which no export made"),
        ({"out": "mine"}, "E7", f"{HERE}, which no export made"),
    ],
)
def test_a_slip_is_answered_with_its_mend(
    given: Path, changed: dict[str, str], code: str, told: str
) -> None:
    done = export(given, **changed)

    error: dict[str, Any] = json.loads(done.stdout)["error"]
    assert done.exit_code == 1
    assert error["code"] == code
    assert told in f"{error['where']}: {error['found']}"
    assert error["mend"] and "mend" in done.stderr
    assert not (given / "out").exists()


def test_what_a_killed_export_left_is_not_in_the_table(given: Path) -> None:
    left = given / "out" / ".mcu-cortex-m4.1.partial"
    left.mkdir(parents=True)
    (left / "report.json").write_text("{")

    assert export(given).exit_code == 0
    assert "partial" not in (given / "out" / "README.md").read_text()


def test_a_budget_that_is_passed_fails_and_writes_nothing(given: Path) -> None:
    done = export(given, target=str(given / "tiny.toml"))

    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"], error["step"]) == (1, "E82", "tiny")
    assert "of 64 (max_flash)" in error["found"]
    assert not (given / "out").exists()


def test_a_profile_with_a_wrong_field_is_refused(given: Path) -> None:
    done = export(given, target=str(given / "typo.toml"))

    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"]) == (1, "E81")
    assert "flash: Extra inputs" in error["found"]


def test_what_nobody_foresaw_is_told_too(given: Path) -> None:
    """A folder that cannot be made: the disk's own words, and where the traceback lies."""
    done = export(given, out="file/out")

    error = json.loads(done.stdout)["error"]
    assert (done.exit_code, error["code"]) == (1, "S9")
    assert "traceback is in" in error["mend"]


@pytest.mark.parametrize(
    "asked",
    [
        [],
        ["--onnx", "net.onnx"],
        ["--onnx", "net.onnx", "--calibration", "rows.npy"],
        ["refrigeration", "--onnx", "net.onnx", "--calibration", "rows.npy", "--target", "a"],
        ["refrigeration", "--out", "out"],
        ["refrigeration", "--reduce-range"],
        ["refrigeration", "--io", "float32"],
    ],
)
def test_half_a_request_is_refused(asked: list[str]) -> None:
    done = CliRunner().invoke(app, ["export", *asked])

    assert done.exit_code == 2
    assert "--onnx with" in " ".join(done.stderr.replace("│", " ").split())


def test_the_shell_completes_targets(given: Path) -> None:
    offered = CliRunner().invoke(
        app,
        env={
            **os.environ,
            "_FIRNLINE_COMPLETE": "complete_bash",
            "COMP_WORDS": "firnline export --target mcu-cortex-m3",
            "COMP_CWORD": "3",
        },
        prog_name="firnline",
    )

    assert offered.stdout.split() == ["mcu-cortex-m3", "mcu-cortex-m33"]
