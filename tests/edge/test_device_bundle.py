"""A device's bundle holds what one target needs, loads as a whole, and changes by the stage."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edge.chain import of_document, run
from edge.device_bundle import _read, make, targets_of
from edge.load import load
from edge.pack import pack
from edge.verify import verify
from firnline.digest import digest, file_digest, tree_digest
from firnline.errors import DeliveryError, HandshakeError
from tests.edge.small_bundles import VIEW, contents, models


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    pack(folder, contents())
    return folder


@pytest.fixture
def device(bundle, tmp_path):
    make(bundle, "cpu-x86_64", tmp_path / "device")
    return tmp_path / "device"


def test_a_processors_bundle_has_its_graphs_and_golden_windows(bundle, device) -> None:
    found = verify(device, expected=tree_digest(device))
    assert (found["kind"], found["name"], found["target"]) == ("device", "small", "cpu-x86_64")
    assert found["release"] == tree_digest(bundle)
    assert set(found["files"]) == {
        "LICENSE", "features.lock", "proof.json",
        "stages/residual.onnx", "stages/score.onnx",
        "stages/residual.int8.onnx", "stages/score.int8.onnx",
        *(f"golden/{name}.npy" for name in ("features", "score", "flagged", "fault")),
    }  # fmt: skip
    assert found["bytes"] == {name: (device / name).stat().st_size for name in found["files"]}
    assert (device / "proof.json").read_bytes() == b"cpu-x86_64"


def test_what_changes_while_it_is_read_is_not_signed(bundle) -> None:
    manifest = verify(bundle)
    assert _read(bundle, "LICENSE", manifest) == b"the licence"
    others = {**manifest, "files": {**manifest["files"], "LICENSE": "0" * 64}}
    with pytest.raises(DeliveryError, match=r"D2.*LICENSE changed"):
        _read(bundle, "LICENSE", others)


def test_its_golden_windows_are_what_its_graphs_give(device) -> None:
    loaded = load(device, "device", lock=VIEW)
    arrays = {path.stem: np.load(path) for path in (device / "golden").iterdir()}
    found = run(of_document(loaded.manifest["run"]), loaded.graphs, arrays["features"])
    assert len(arrays["features"]) == 16 and 0 < arrays["flagged"].mean() < 1
    for name in ("score", "flagged", "fault"):
        assert arrays[name].tobytes() == found[name].tobytes()


def test_a_microcontrollers_bundle_has_its_project_and_no_vectors(bundle, tmp_path) -> None:
    make(bundle, "mcu-cortex-m4", tmp_path / "device")
    found = load(tmp_path / "device", "device")
    assert "run" not in found.manifest and not found.graphs
    inside = {name for name in found.manifest["files"] if name.startswith("target/")}
    assert inside == {"target/src/small.c", "target/src/firnline_base.h", "target/proof.json"}


def test_papers_go_where_people_pull_by_hand_and_weigh_on_no_device(tmp_path) -> None:
    made, papers = contents(), {"MODEL_CARD.md": b"# small", "bom.cdx.json": b"{}"}
    pack(tmp_path / "whole", replace(made, files={**made.files, **papers}))
    for target, there in (("mcu-cortex-m4", set(papers)), ("cpu-x86_64", set())):
        make(tmp_path / "whole", target, tmp_path / target)
        assert set(verify(tmp_path / target)["files"]) & set(papers) == there


def test_the_same_bundle_gives_the_same_bytes(bundle, device, tmp_path) -> None:
    again = make(bundle, "cpu-x86_64", tmp_path / "again")
    assert again == tree_digest(device)


def test_a_release_that_changes_one_stage_changes_its_files_alone(device, tmp_path) -> None:
    pack(tmp_path / "next", contents(slope=0.5))
    make(tmp_path / "next", "cpu-x86_64", tmp_path / "new")
    before, after = verify(device)["files"], verify(tmp_path / "new")["files"]
    changed = {name for name in after if before[name] != after[name]}
    answers = {f"golden/{name}.npy" for name in ("score", "flagged", "fault")}
    assert changed - answers == {"stages/score.onnx", "stages/score.int8.onnx"}
    assert "golden/features.npy" not in changed


def test_where_int8_stays_whole_it_is_one_link(tmp_path) -> None:
    given = contents()
    whole = [replace(given.run[0], graph="int8.onnx", outputs=("score", "flagged", "fault"))]
    pack(tmp_path / "bundle", replace(given, run=whole, run_note="it would differ"))
    make(tmp_path / "bundle", "cpu-arm64", tmp_path / "device")
    loaded = load(tmp_path / "device", "device")
    assert list(loaded.graphs.values()) == [models()[1]]
    assert verify(tmp_path / "bundle")["run_note"] == "it would differ"


def test_the_verdicts_of_targets(bundle) -> None:
    assert targets_of(bundle) == {
        "cpu-x86_64": "accept",
        "cpu-arm64": "not run",
        "mcu-cortex-m4": "accept",
    }


@pytest.mark.parametrize(
    ("target", "code"), [("npu-none", "D9"), ("../../etc", "U11"), ("targets/x", "U11")]
)
def test_no_such_target(bundle, tmp_path, target, code) -> None:
    with pytest.raises(DeliveryError, match=rf"\[{code}\]"):
        make(bundle, target, tmp_path / "device")
    assert not (tmp_path / "device").exists()


def test_a_device_bundle_is_no_source_and_no_servers(device, tmp_path) -> None:
    with pytest.raises(DeliveryError, match=r"\[D9\].*a device bundle"):
        make(device, "cpu-x86_64", tmp_path / "again")
    with pytest.raises(DeliveryError, match=r"\[D9\].*for cpu-x86_64"):
        load(device, "server")


def sealed_again(folder, **changes):
    """A forger without a key: the manifest agrees with itself."""
    path = folder / "bundle.json"
    document = json.loads(path.read_text()) | changes
    del document["digest"]
    names = document["files"]
    document["files"] = {name: file_digest(folder / name) for name in names}
    document["bytes"] = {name: (folder / name).stat().st_size for name in names}
    path.write_text(json.dumps({**document, "digest": digest(document)}))


def test_a_stage_of_another_release_is_refused_though_every_digest_was_redone(
    device, tmp_path
) -> None:
    pack(tmp_path / "other", contents(seed=1))
    shutil.copy(tmp_path / "other/stages/residual.onnx", device / "stages/residual.onnx")
    sealed_again(device)
    with pytest.raises(HandshakeError, match=r"\[H8\].*residual"):
        load(device, "device")


def test_features_that_the_device_does_not_compute_are_refused(device) -> None:
    with pytest.raises(HandshakeError, match=r"\[H1\].*v@v1"):
        load(device, "device", lock={"v@v1": "0" * 64})


def test_a_graph_that_asks_for_more_than_features_is_refused(device) -> None:
    path = device / "stages/score.int8.onnx"
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("scale", 1, [1]))
    path.write_bytes(model.SerializeToString())
    sealed_again(device)
    with pytest.raises(HandshakeError, match=r"\[H7\].*features, scale"):
        load(device, "device")


def test_no_graph_is_opened_that_the_manifest_does_not_name(device) -> None:
    """Altered bytes never reach ONNX Runtime, which would say that it cannot parse them."""
    (device / "stages/score.int8.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(DeliveryError, match=r"\[D2\]"):
        load(device, "device")
    sealed_again(device)
    with pytest.raises(DeliveryError, match=r"\[D9\].*does not open stages/score.int8.onnx"):
        load(device, "device")
