"""The BOM is valid by the schema's strict rules, names what the bundle holds, and is the same."""

import json
import uuid
from dataclasses import replace

import pytest

from edge.bom import bom, validate
from firnline.digest import bytes_digest
from firnline.errors import EvidenceError
from tests.edge.small_bundles import METRICS, contents

PARAMS = {"score.slope": "1.0"}


@pytest.fixture(scope="module")
def found():
    return json.loads(bom(contents(), PARAMS, METRICS))


def refs(components):
    for part in components:
        yield part["bom-ref"], part
        yield from refs(part.get("components", []))


def test_it_names_the_ensemble_and_every_graph_and_file_of_a_target(found) -> None:
    root, given = found["metadata"]["component"], contents()
    assert (found["specVersion"], root["type"]) == ("1.6", "machine-learning-model")
    assert root["hashes"][0]["content"] == bytes_digest(given.files["int8.onnx"])
    listed = dict(refs(found["components"]))
    files = {ref: part for ref, part in listed.items() if ref.startswith("file/")}
    for ref, part in files.items():
        name = ref.removeprefix("file/")
        assert part["hashes"][0]["content"] == bytes_digest(given.files[name])
    assert "file/stages/score.int8.onnx" in files and "file/targets/cpu-arm64/model.onnx" in files
    assert not any("vectors/" in ref for ref in files)
    assert listed["stage/score"]["modelCard"]["modelParameters"] == {
        "architectureFamily": "multilayer perceptron",
        "modelArchitecture": "recipes:Score",
    }
    assert listed["tool/onnxruntime@1.31.1"]["scope"] == "required"
    # A device runs what zig made, and not zig.
    assert listed["tool/zig@0.17.1"]["scope"] == listed["tool/unicorn@2.1.4"]["scope"] == "excluded"
    assert listed["data/readings"]["hashes"][0]["content"] == "b" * 64


def test_its_card_has_figures_by_class_and_by_target(found) -> None:
    card = found["metadata"]["component"]["modelCard"]
    figures = {
        (one["type"], one["slice"]): one["value"]
        for one in card["quantitativeAnalysis"]["performanceMetrics"]
    }
    assert figures[("auc", "test")] == "0.9" and figures[("auc", "test, leak")] == "0.71"
    assert figures[("auc_target", "cpu-x86_64")] == "0.89"
    assert "1.0" not in {value for (kind, _), value in figures.items() if kind == "of_someone_else"}
    refs_of = [one["ref"] for one in card["modelParameters"]["datasets"]]
    assert refs_of == ["data/readings", "data/v@v1", "data/training-set"]
    assert any("hardly tells leak" in one for one in card["considerations"]["technicalLimitations"])


def test_dependencies_name_what_is_there(found) -> None:
    known = {ref for ref, _ in refs([found["metadata"]["component"], *found["components"]])}
    graph = {one["ref"]: one["dependsOn"] for one in found["dependencies"]}
    assert {ref for ends in (graph, *graph.values()) for ref in ends} <= known
    assert "stage/residual" in graph["stage/score"] and "data/v@v1" in graph["stage/residual"]
    assert graph["target/mcu-cortex-m4"] == ["stage/residual", "stage/score", "tool/zig@0.17.1"]


def test_licences_are_the_models_and_the_kernels(found) -> None:
    listed = dict(refs(found["components"]))
    kernel = listed["file/targets/mcu-cortex-m4/src/firnline_base.h"]
    assert kernel["licenses"] == [{"expression": "Apache-2.0"}]
    assert listed["stage/score"]["licenses"] == [{"expression": "MIT"}]
    unstated = json.loads(bom(contents(own=None)))
    assert "licenses" not in unstated["metadata"]["component"]


def test_the_same_contents_give_the_same_bytes_and_others_another_serial() -> None:
    one, two = bom(contents(), PARAMS, METRICS), bom(contents(), PARAMS, METRICS)
    other = bom(contents(), PARAMS, {**METRICS, "test.auc": 0.91})
    assert one == two
    serials = {json.loads(made)["serialNumber"] for made in (one, other)}
    assert len(serials) == 2
    assert all(uuid.UUID(serial).version == 5 for serial in serials)


def test_an_invalid_bom_is_refused_with_the_place() -> None:
    given = contents()
    bad = replace(given, stages=[replace(given.stages[0], onnx_sha256="no hash"), given.stages[1]])
    with pytest.raises(EvidenceError, match=r"\[E90\].*components\.0\.hashes\.0\.content.*no hash"):
        bom(bad)
    with pytest.raises(EvidenceError, match=r"\[E90\].*odd"):
        validate(b'{"bomFormat": "CycloneDX", "specVersion": "1.6", "odd": 1}')
