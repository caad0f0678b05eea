"""Encoder v2 beside the classifier that learned from v1: refused in every one of the six places.

A real fleet trains v1, another one v2; what is put together here are real stages of the two.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.load import load
from edge.pack import Contents, StageRecord, pack
from edge.verify import stage_file
from firnline.adapters.feast_store import FeastStore
from firnline.adapters.mlflow_registry import Dataset, MlflowRegistry, ModelRecord, TrainingRun
from firnline.contracts.facts import of_document
from firnline.contracts.handshake import Facts
from firnline.digest import bytes_digest, digest
from firnline.errors import HandshakeError
from firnline.sim.fleet import FleetSpec
from firnline.sim.write import simulate
from models.float_onnx import proto
from tests.resources.project import Project

Trained = dict[str, Any]


@pytest.fixture(scope="module")
def project(first: tuple[Project, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory):
    """A copy of the project that has walked, so that others still find it as it was."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in (".firnline", "data", "refrigeration"):
        shutil.copytree(first[0].folder / name, folder / name)
    shutil.copy(first[0].folder / "data.dvc", folder)
    return Project(folder, first[0].environment, first[0].prefix)


def last_training(project: Project) -> Trained:
    state = project.folder / ".firnline"
    last = json.loads((state / "trained" / "refrigeration.json").read_text())
    record = json.loads((state / last["path"] / "result.json").read_text())
    return {**record["document"], **last, "folder": state / last["path"]}


@pytest.fixture(scope="module")
def trained(project: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The training on the first fleet, and one of the whole chain on another."""
    found: dict[str, Any] = {"first": last_training(project)}
    other = tmp_path_factory.mktemp("other") / "readings"
    simulate(FleetSpec(devices=64, days=3, seed=8), other)
    arguments = ("train", "refrigeration", "--data", str(other), "--only", "encoder")
    refused = project.run(*arguments, "--no-chain", "--json")
    found["refused"] = refused.returncode, json.loads(refused.stdout)
    found["after refusal"] = last_training(project)
    found["chain"] = project.json(*arguments)
    found["second"] = last_training(project)
    return found


def mixed(trained: dict[str, Any]) -> Facts:
    """The second encoder and the first classifier, as each was recorded."""
    encoder, classifier = (
        of_document(trained[which]["facts"], "a training").stages[place]
        for which, place in (("second", 0), ("first", 1))
    )
    whole = of_document(trained["second"]["facts"], "a training")
    return replace(whole, stages=(encoder, classifier))


def refused(place: str) -> Any:
    return pytest.raises(
        HandshakeError, match=rf"\[H5\] {place}.*classifier.*learned from encoder#"
    )


def test_training_stops_with_the_list(trained: dict[str, Any]) -> None:
    status, document = trained["refused"]
    error = document["error"]
    assert (status, error["step"], error["code"]) == (1, "train", "H5")
    assert "stage classifier" in error["where"] and "train classifier" in error["mend"]
    assert trained["after refusal"]["key"] == trained["first"]["key"]


def test_training_the_chain_makes_the_next_version_of_both(trained: dict[str, Any]) -> None:
    encoder, classifier = trained["chain"]["stages"]
    assert encoder["outputs"].startswith("refrigeration_encoder@v2#")
    assert classifier["outputs"].startswith("refrigeration_classifier@v2#")
    assert set(classifier["learned_from"].values()) == {encoder["digest"]}
    before = {stage["name"]: stage["digest"] for stage in trained["first"]["stages"]}
    assert encoder["digest"] != before["encoder"]


def test_definition(project: Project, trained: dict[str, Any]) -> None:
    store = FeastStore(project.folder / ".firnline")
    before = [service.name for service in store._store().list_feature_services()]
    with refused("definition"):
        store.define(mixed(trained), {"classifier": ["device_window@v1"]})
    assert [service.name for service in store._store().list_feature_services()] == before


def test_registration(project: Project, trained: dict[str, Any]) -> None:
    graph = (trained["first"]["folder"] / "ensemble.onnx").read_bytes()
    record = ModelRecord("refrigeration", "9" * 64, proto(graph), [("features", 90)], [])
    run = TrainingRun(record, [], Dataset("x", "data/x", "0" * 32, "0" * 64), mixed(trained))
    registry = MlflowRegistry(project.folder / ".firnline")
    before = registry.candidate("refrigeration")
    with refused("registering refrigeration"):
        registry.register(run)
    assert registry.candidate("refrigeration") == before


@pytest.fixture(scope="module")
def bundle(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixed pair as a bundle: packed as if it fitted, then labelled as what it is."""
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    pack(out, replace(contents(trained), facts=_pretended(trained)))
    path = out / "bundle.json"
    document = json.loads(path.read_text())
    document["handshake"] = _document(mixed(trained))
    del document["digest"]
    path.write_text(json.dumps({**document, "digest": digest(document)}))
    return out


def contents(trained: dict[str, Any]) -> Contents:
    parts = {"encoder": trained["second"], "classifier": trained["first"]}
    graphs = {name: (part["folder"] / f"{name}.onnx").read_bytes() for name, part in parts.items()}
    records = [
        next(stage for stage in part["stages"] if stage["name"] == name)
        for name, part in parts.items()
    ]
    stages = [
        StageRecord(
            onnx_sha256=bytes_digest(graphs[stage["name"]]),
            **{
                name: stage[name]
                for name in (
                    "name", "recipe", "digest", "options", "features", "upstream", "training_set",
                )
            },
        )
        for stage in records
    ]  # fmt: skip
    model = (trained["first"]["folder"] / "ensemble.onnx").read_bytes()
    files = {stage_file(name): graph for name, graph in graphs.items()}
    return Contents(
        name="refrigeration",
        manifest_digest="a" * 64,
        snapshot={},
        features={},
        training_set="e" * 64,
        stages=stages,
        columns=[],
        outputs=[],
        decide={},
        parity={},
        calibration={},
        facts=mixed(trained),
        files={**files, "int8.onnx": model},
    )


def _pretended(trained: dict[str, Any]) -> Facts:
    facts = mixed(trained)
    encoder, classifier = facts.stages
    taught = {"encoder": str(encoder.digest)}
    return replace(facts, stages=(encoder, replace(classifier, learned_from=taught)))


def _document(facts: Facts) -> dict[str, Any]:
    from firnline.contracts.facts import document

    return document(facts)


def test_bundling(trained: dict[str, Any], tmp_path: Path) -> None:
    with refused("bundling refrigeration"):
        pack(tmp_path / "bundle", contents(trained))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["server", "device"])
def test_loading(bundle: Path, place) -> None:
    with refused(f"{place} load"):
        load(bundle, place)


def test_continuous_integration(project: Project, bundle: Path) -> None:
    done = project.run("handshake", str(bundle), "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["good"]) == (1, False)
    assert [breach["code"] for breach in document["breaches"]] == ["H5"]
    sound = project.json("handshake", "refrigeration")
    assert sound["good"] and not sound["breaches"]
