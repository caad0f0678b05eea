"""The main job from end to end, as its users run it: once, again, killed, and without a network."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from edge.bom import validate
from edge.verify import verify
from firnline.digest import tree_digest
from tests.resources.project import Project, released_for
from tests.walk.conftest import TARGETS

STEPS = ("ingest", "features", "train", "export", "shadow", "drift", "window")
KILLED_AT = (*STEPS[:3], "quantize", "target-mcu-cortex-m4", *STEPS[3:])
KEYS = {
    *("ensemble", "snapshot", "readings", "quarantined", "features", "stages", "onnx", "parity"),
    *("bundle", "shadow", "drift", "window", "reused", "seconds"),
}


def identity(document: dict[str, Any]) -> dict[str, Any]:
    """What must be equal wherever the same readings are run."""
    return {
        "snapshot": document["snapshot"],
        "dvc": document["dvc"],
        "features": {view["label"]: view["data"] for view in document["features"]["views"]},
        "training_set": document["features"]["training_set"],
        "stages": {stage["name"]: stage["digest"] for stage in document["stages"]},
        "onnx": document["onnx"],
        "targets": {name: made["artifact_sha256"] for name, made in document["targets"].items()},
        "bundle": document["bundle"]["digest"],
        "verdicts": {name: document[name]["digest"] for name in ("shadow", "drift", "window")},
    }


def test_the_document_holds_every_part(first: tuple[Project, dict[str, Any]]) -> None:
    project, document = first

    assert set(document) >= KEYS
    assert document["ensemble"] == "refrigeration"
    assert document["reused"] == []
    assert document["readings"] > 64 * 3 * 1440 * 0.99
    assert {"unknown_device", "duplicate"} <= set(document["quarantined"])
    assert [stage["name"] for stage in document["stages"]] == ["encoder", "classifier"]
    assert document["parity"]["agreement"] >= 0.99
    assert document["shadow"]["verdict"] in {"accept", "undecided", "reject"}
    assert Path(document["drift"]["report"]).stat().st_size > 100_000
    assert document["window"]["numbers"]["start"] <= document["window"]["numbers"]["latest_start"]
    assert (project.folder / "data.dvc").is_file()


def test_the_bundle_is_whole(first: tuple[Project, dict[str, Any]]) -> None:
    _, document = first

    manifest = verify(Path(document["bundle"]["path"]), document["bundle"]["digest"])

    assert manifest["snapshot"]["sha256"] == document["snapshot"]
    assert manifest["files"]["int8.onnx"] == document["onnx"]["int8"]
    assert manifest["files"]["float.onnx"] == document["onnx"]["float"]
    assert {view["label"] for view in document["features"]["views"]} == {
        f"{name}#{digest[:6]}" for name, digest in manifest["lock"].items()
    }


def test_the_bundle_holds_every_target_with_its_proof(
    first: tuple[Project, dict[str, Any]],
) -> None:
    _, document = first
    bundle = Path(document["bundle"]["path"])
    manifest = verify(bundle)

    assert list(manifest["targets"]) == list(TARGETS)
    for name, told in manifest["targets"].items():
        proof = json.loads((bundle / told["proof"]).read_text())
        assert (proof["verdict"], told["bytes_differ"]) == ("accept", 0), name
        assert proof["decisions"]["agreement"] == 1.0
        assert proof["bound_to"]["onnx"] == document["onnx"]["int8"]
        assert proof["bound_to"]["artifact"] == told["artifact_sha256"]
        assert (bundle / "targets" / name / "report.html").is_file()
    core = manifest["targets"]["mcu-cortex-m4"]
    assert core["vectors"] >= 512
    assert core["flash_bytes"] < 256 * 1024 and core["ram_bytes"] < 32 * 1024
    header = (bundle / "targets" / "mcu-cortex-m4" / "src" / "refrigeration.h").read_text()
    assert all(stage["digest"] in header for stage in manifest["stages"])
    assert np.load(bundle / "calibration.npy").shape[1] == len(manifest["input"]["columns"])


def test_the_bundle_has_its_papers_and_a_graph_a_stage(
    first: tuple[Project, dict[str, Any]],
) -> None:
    _, document = first
    bundle = Path(document["bundle"]["path"])
    manifest = verify(bundle)

    validate((bundle / "bom.cdx.json").read_bytes())
    card = (bundle / "MODEL_CARD.md").read_text()
    assert f"{document['metrics']['auc']:.4f}" in card
    assert [link["stage"] for link in manifest["run"]] == ["encoder", "classifier"]
    assert manifest["run_note"] == ""
    assert (manifest["licences"]["*"], manifest["kind"]) == ("Apache-2.0", "whole")


def test_a_target_alone_is_the_bundles_and_others_can_be_had(
    first: tuple[Project, dict[str, Any]],
) -> None:
    project, document = first
    seven = "cpu-x86_64-7bit"

    asked = ("--target", "mcu-cortex-m4", "--target", seven)
    made, other = project.json("export", "refrigeration", *asked)["targets"]

    assert (other["target"], other["bytes_differ"]) == (seven, 0)
    assert other["proof"]["decisions"]["agreement_float"] >= 0.99
    folder = Path(document["bundle"]["path"]) / "targets" / "mcu-cortex-m4"
    assert made["proof"] == json.loads((folder / "proof.json").read_text())
    assert made["artifact_sha256"] == document["targets"]["mcu-cortex-m4"]["artifact_sha256"]
    assert tree_digest(Path(made["path"])) == tree_digest(folder)


def test_a_second_run_reuses_every_step(first: tuple[Project, dict[str, Any]]) -> None:
    project, document = first

    again = project.json("run", "refrigeration")

    assert set(STEPS) <= set(again["reused"])
    assert identity(again) == identity(document)


def test_what_was_altered_or_lost_is_made_anew(first: tuple[Project, dict[str, Any]]) -> None:
    project, document = first
    int8 = Path(document["bundle"]["path"]) / "int8.onnx"
    int8.write_bytes(int8.read_bytes()[:-1])
    shutil.rmtree(project.folder / ".firnline" / "mlflow")

    again = project.json("run", "refrigeration")

    assert not {"export", "register"} & set(again["reused"])
    assert "train" in again["reused"]
    assert (project.folder / ".firnline" / "mlflow" / "mlflow.db").is_file()
    assert identity(again) == identity(document)


def test_killed_at_every_step_it_ends_the_same(
    first: tuple[Project, dict[str, Any]], fleet: Path, tmp_path: Path
) -> None:
    _, document = first
    released_for(tmp_path, *TARGETS)
    project = Project(tmp_path)
    for step in KILLED_AT:
        # Long enough to be in the middle of the work, where there is much of it.
        delay = {"ingest": 2.0, "features": 3.0, "train": 2.0, "quantize": 0.3, "drift": 3.0}
        delay |= {"target-mcu-cortex-m4": 1.0}
        project.kill_at(
            step,
            *("run", "refrigeration", "--data", str(fleet)),
            after_seconds=delay.get(step, 0.0),
        )
    time.sleep(1.0)
    left = [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.info["cwd"] == str(tmp_path)]
    assert left == [], "a killed run left its server behind"

    ended = project.json("run", "refrigeration", "--data", str(fleet))

    assert identity(ended) == identity(document)
    assert list((tmp_path / ".firnline").rglob("*.partial")) == []


def test_a_promoted_model_is_what_the_next_one_is_held_to(
    first: tuple[Project, dict[str, Any]],
) -> None:
    project, document = first
    if document["shadow"]["verdict"] != "accept":
        refused = project.run("promote", "refrigeration")
        assert refused.returncode == 1
        assert "E5" in refused.stderr

    promoted = project.json("promote", "refrigeration", "--override", "the first release")
    again = project.json("run", "refrigeration")

    assert promoted["verdict"] == "live"
    assert promoted["inputs"]["bundle"] == document["bundle"]["digest"]
    assert again["shadow"]["verdict"] == "live"
    ledger = project.folder / ".firnline" / "ledger" / "refrigeration.jsonl"
    kinds = [json.loads(line)["kind"] for line in ledger.read_text().splitlines()]
    assert kinds[:4] == ["parity", "shadow", "drift", "window"]
    assert "promotion" in kinds
