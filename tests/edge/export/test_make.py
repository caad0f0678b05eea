"""Built, judged, and written whole or not at all."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from edge.compile import Ran, cpu
from edge.export.make import PROOF, artifact_digest, build, enforce
from edge.export.make import _proof as judge
from edge.folder import write
from edge.targets import load
from firnline.contracts.target import Budget, Memory
from firnline.digest import bytes_digest, digest
from firnline.errors import EvidenceError
from tests.edge.small_models import SCORE, decided, of_dense, of_series

FIELDS = [
    *("model", "target", "toolchain", "runner", "instructions", "macs", "flash_bytes"),
    *("ram_bytes", "vectors", "bytes_differ"),
]


def here(target):
    """A processor's profile, for the machine this runs on."""
    profile = load(target)
    machine = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return profile.model_copy(update={"cpu": profile.cpu.model_copy(update={"machine": machine})})


CPU = here("cpu-x86_64-7bit")


def built(model, folder, profile=CPU):
    folder.mkdir()
    return build(model, profile, folder)


def test_a_record_is_one_line_of_the_benchmark(tmp_path):
    made = built(of_dense(), tmp_path / "work", load("mcu-cortex-m3"))
    record, document = made.record(), made.document()
    assert list(record) == FIELDS
    assert record["bytes_differ"] == 0
    assert (record["macs"], record["vectors"]) == (6 * 8 + 8 * 3, 64)
    assert record["toolchain"].startswith("zig ") and record["runner"].startswith("unicorn ")
    assert {name: document[name] for name in FIELDS} == record
    assert document["artifact_sha256"] == document["proof"]["bound_to"]["artifact"] == made.sha256
    assert json.loads(json.dumps(document, allow_nan=False))["proof"]["verdict"] == "accept"


def test_an_artifact_is_bound_by_the_bytes_of_every_file():
    files = {"a": b"1", "b": b"2"}
    assert artifact_digest(files) == digest({"a": bytes_digest(b"1"), "b": bytes_digest(b"2")})
    others = [{"a": b"1"}, {"a": b"2", "b": b"1"}, {**files, "b": b"3"}, {**files, "c": b""}]
    assert artifact_digest(files) not in {artifact_digest(other) for other in others}


def test_two_builds_are_equal_to_the_last_byte(tmp_path):
    first, second = (built(of_series(), tmp_path / name) for name in "ab")
    assert first.sha256 == second.sha256
    assert first.artifact.files == second.artifact.files
    assert first.proof == second.proof


def tampered(model, name, row, change=1):
    """The model with one value of one window another than the reference's."""
    value = model.golden[name].copy()
    value.reshape(len(value), -1)[row, 0] += change
    return replace(model, golden={**model.golden, name: value})


def test_a_tampered_golden_value_fails_the_export_with_its_window(tmp_path):
    made = built(tampered(of_dense(), "y", 41), tmp_path / "work")
    assert made.proof.verdict == "reject"
    assert (made.proof.bytes.worst_row, made.proof.bytes.worst_value) == (41, "y")
    with pytest.raises(EvidenceError, match=r"E82.*1 of 192 bytes differ.*window 41 at y"):
        enforce(made)


def test_another_score_changes_a_decision_and_fails(tmp_path):
    model = decided()
    row = int(np.argmin(model.golden[SCORE][:, 0]))
    made = built(tampered(model, SCORE, row, 1.0), tmp_path / "work")
    assert made.proof.decisions.agreement == 1 - 1 / 200
    with pytest.raises(EvidenceError, match=r"E82.*small on cpu-.*decisions agree on 0\.9950"):
        enforce(made)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"budget": Budget(max_flash=100)}, r"flash bytes [\d,]+ of 100 \(max_flash\)"),
        ({"memory": Memory(flash_kib=1, ram_kib=1)}, r"of 1,024 \(the chip's flash\)"),
    ],
)
def test_over_budget_fails_the_export_in_words(tmp_path, limits, told):
    made = built(of_dense(), tmp_path / "work", CPU.model_copy(update=limits))
    assert made.proof.bytes.differ == 0
    with pytest.raises(EvidenceError, match=rf"E82.*{told}"):
        enforce(made)


def test_what_did_not_run_is_neither_accepted_nor_refused(tmp_path):
    other = "cpu-arm64" if platform.machine() == "x86_64" else "cpu-x86_64"
    made = built(of_dense(), tmp_path / "work", load(other))
    assert made.proof.verdict == "not run"
    assert made.record()["bytes_differ"] is None
    assert made.record()["runner"] is None
    enforce(made)


def test_only_windows_that_ran_are_counted(tmp_path):
    """A vendor's simulator may be too slow for all: what it did not run speaks for nothing."""
    model = decided()
    artifact = cpu.compile(model, CPU, tmp_path)
    given = model.golden[SCORE][:50, 0].copy()
    given[7] = 1 - given[7]
    proof = judge(model, CPU, artifact, Ran("a simulator", {}, given), [], exact=False)
    assert proof.vectors == 50
    assert proof.decisions.agreement == 0.98
    assert proof.verdict == "reject"


def test_where_int8_saturates_nothing_is_proved(tmp_path, monkeypatch):
    monkeypatch.setattr(cpu, "exact_in_eight_bits", lambda: False)
    made = built(of_dense(), tmp_path / "work", here("cpu-x86_64"))
    assert made.proof.verdict == "not run"
    assert any("cpu-x86_64-7bit" in note for note in made.document()["notes"])


def test_a_folder_is_replaced_whole(tmp_path):
    out = tmp_path / "deep" / "out"
    write(out, {"old.txt": b"old", "src/a.c": b"1"})
    write(out, {"src/a.c": b"2"})
    assert [path.name for path in out.iterdir()] == ["src"]
    assert (out / "src" / "a.c").read_bytes() == b"2"


@pytest.mark.parametrize("name", ["../evil", "/evil", "src/../../evil"])
def test_no_file_leaves_the_folder_and_the_one_before_stays(tmp_path, name):
    write(tmp_path / "out", {"a": b"1"})
    with pytest.raises(ValueError, match="leaves the folder"):
        write(tmp_path / "out", {"a": b"2", name: b"x"})
    assert (tmp_path / "out" / "a").read_bytes() == b"1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


ENDLESS = f"""
import sys
from pathlib import Path
from edge.folder import write

class Endless(dict):
    def items(self):
        yield {PROOF!r}, b"half"
        print("writing", flush=True)
        while True:
            yield {PROOF!r}, b"half"

write(Path(sys.argv[1]), Endless())
"""


def test_a_killed_export_leaves_no_half_folder_and_runs_again(tmp_path):
    out = tmp_path / "out"
    write(out, {PROOF: b"whole"})
    writer = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(out)], stdout=subprocess.PIPE, text=True
    )
    with writer:
        assert writer.stdout.readline() == "writing\n"
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
    assert (out / PROOF).read_bytes() == b"whole"
    assert len(list(tmp_path.iterdir())) == 2

    write(out, {PROOF: b"new"})

    assert (out / PROOF).read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
