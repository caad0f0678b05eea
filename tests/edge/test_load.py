"""A server and a device load a bundle as one whole ensemble, or not at all."""

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.load import load
from edge.pack import Contents, StageRecord, pack
from edge.verify import stage_file
from firnline.contracts.handshake import Columns, Facts, StageFacts
from firnline.contracts.stages import stage_digest
from firnline.digest import bytes_digest, digest
from firnline.errors import DeliveryError, FirnlineError, HandshakeError
from models.float_onnx import Graph

READS = {"view@v1": "d" * 64}
SCORE = Columns("float32", 1)
TRAINING_SET = "7" * 64


def graph(factor: float, inputs: tuple[str, ...] = ("features",)) -> bytes:
    made = Graph("stage")
    values = [made.input(name, 1) for name in inputs]
    weights = np.full((1, len(values)), factor, np.float32)
    whole = made.concat(*values) if len(values) > 1 else values[0]
    made.output("score", made.layer(whole, weights, np.zeros(1, np.float32)), 1)
    return made.bytes()


def record(name: str, model: bytes, upstream: dict[str, str]) -> StageRecord:
    made_of = {
        "name": name,
        "recipe": f"recipes:{name.title()}",
        "options": {},
        "features": READS,
        "upstream": upstream,
        "training_set": TRAINING_SET,
    }
    onnx = bytes_digest(model)
    return StageRecord(**made_of, digest=stage_digest(**made_of, onnx=onnx), onnx_sha256=onnx)


def contents(
    encoder: float = 1.0, taught_by: float | None = None, model: bytes | None = None
) -> Contents:
    """An encoder, and a classifier that learned from the same or from another encoder."""
    first = record("encoder", graph(encoder), {})
    teacher = record("encoder", graph(encoder if taught_by is None else taught_by), {})
    last = record("classifier", graph(3.0), {"encoder.score": teacher.digest})
    facts = Facts(
        "small",
        ("encoder", "classifier"),
        (
            StageFacts("encoder", READS, outputs={"score": SCORE}, digest=first.digest),
            StageFacts(
                "classifier",
                READS,
                upstream={"encoder.score": SCORE},
                outputs={"score": SCORE},
                digest=last.digest,
                learned_from={"encoder": teacher.digest},
            ),
        ),
        READS,
        ("features",),
    )
    return Contents(
        name="small",
        manifest_digest="a" * 64,
        snapshot={},
        features={},
        training_set=TRAINING_SET,
        stages=[first, last],
        columns=["view__a"],
        outputs=["encoder.score", "classifier.score"],
        decide={},
        parity={},
        calibration={},
        facts=facts,
        files={
            "int8.onnx": graph(2.0) if model is None else model,
            stage_file("encoder"): graph(encoder),
            stage_file("classifier"): graph(3.0),
        },
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    pack(tmp_path / "bundle", contents())
    return tmp_path / "bundle"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "bundle"
    pack(folder, contents())
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    pack(tmp_path / "other", contents(encoder=5.0))
    return tmp_path / "other"


def resealed(bundle: Path) -> None:
    """Give a manifest the digests of what lies there now, as a forger without the key would."""
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    document["files"] = {
        name: bytes_digest((bundle / name).read_bytes())
        for name in document["files"]
        if (bundle / name).is_file()
    }
    document["bytes"] = {name: (bundle / name).stat().st_size for name in document["files"]}
    del document["digest"]
    path.write_text(json.dumps({**document, "digest": digest(document)}))


@pytest.mark.parametrize("place", ["server", "device"])
def test_a_whole_bundle_loads(bundle: Path, place) -> None:
    loaded = load(bundle, place, lock=READS)
    assert loaded.model == (bundle / "int8.onnx").read_bytes()
    assert loaded.features == READS
    assert [stage.name for stage in loaded.facts.stages] == ["encoder", "classifier"]


@pytest.mark.parametrize(("place", "code"), [("server", "H5"), ("device", "H8")])
def test_a_swapped_stage_is_refused_though_every_digest_was_redone(
    bundle: Path, other: Path, place, code
) -> None:
    shutil.copy(other / stage_file("encoder"), bundle / stage_file("encoder"))
    resealed(bundle)
    with pytest.raises(HandshakeError) as caught:
        load(bundle, place)
    assert caught.value.code == code
    assert "encoder" in str(caught.value)


@pytest.mark.parametrize(("place", "code"), [("server", "H6"), ("device", "H8")])
def test_a_lost_stage_is_refused(bundle: Path, place, code) -> None:
    (bundle / stage_file("encoder")).unlink()
    resealed(bundle)
    with pytest.raises(HandshakeError) as caught:
        load(bundle, place)
    assert caught.value.code == code


@pytest.mark.parametrize("place", ["server", "device"])
def test_a_mixed_pair_is_neither_packed_nor_loaded(
    bundle: Path, other: Path, tmp_path: Path, place
) -> None:
    """Encoder v2 beside the classifier that learned from v1, recorded as what it is."""
    mixed = contents(encoder=5.0, taught_by=1.0)
    with pytest.raises(HandshakeError) as caught:
        pack(tmp_path / "mixed", mixed)
    assert caught.value.code == "H5" and "bundling small" in caught.value.where
    assert not (tmp_path / "mixed").exists()
    # The same pair, put together behind the packer's back.
    document = json.loads((bundle / "bundle.json").read_text())
    theirs = json.loads((other / "bundle.json").read_text())
    document["stages"][0] = theirs["stages"][0]
    document["handshake"]["stages"][0] = theirs["handshake"]["stages"][0]
    (bundle / "bundle.json").write_text(json.dumps(document))
    shutil.copy(other / stage_file("encoder"), bundle / stage_file("encoder"))
    resealed(bundle)
    with pytest.raises(HandshakeError) as caught:
        load(bundle, place)
    assert caught.value.code == "H5"
    assert "learned from encoder#" in caught.value.found


def test_the_server_refuses_features_it_does_not_publish(bundle: Path) -> None:
    for lock in ({}, {"view@v1": "0" * 64}):
        with pytest.raises(HandshakeError) as caught:
            load(bundle, "server", lock=lock)
        assert caught.value.code == "H1"


def test_a_graph_that_asks_for_more_than_features_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "bundle", contents(model=graph(2.0, ("features", "scale"))))
    with pytest.raises(HandshakeError) as caught:
        load(tmp_path / "bundle", "device")
    assert caught.value.code == "H7" and "scale" in caught.value.found


def test_a_bundle_without_a_record_is_refused(bundle: Path) -> None:
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    del document["handshake"], document["digest"]
    path.write_text(json.dumps({**document, "digest": digest(document)}))
    with pytest.raises(HandshakeError) as caught:
        load(bundle, "device")
    assert caught.value.code == "H0"


def test_altered_bytes_are_still_found_after_the_handshake(bundle: Path) -> None:
    (bundle / "int8.onnx").write_bytes(graph(9.0))
    with pytest.raises(DeliveryError) as caught:
        load(bundle, "device")
    assert caught.value.code == "D2"


def test_a_stage_name_cannot_lead_out(bundle: Path) -> None:
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    document["stages"][0]["name"] = "../../etc/passwd"
    path.write_text(json.dumps(document))
    resealed(bundle)
    with pytest.raises(DeliveryError) as caught:
        load(bundle, "device")
    assert caught.value.code == "D5"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6) | st.just("encoder.score"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a document, with every key in it."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_a_record_of_any_shape_is_refused_by_name_or_loads(whole: Path, data: Any) -> None:
    """A signed manifest of a faulty publisher never ends in an error without a code."""
    document = json.loads((whole / "bundle.json").read_text())
    kept = {name: document[name] for name in ("handshake", "stages", "run")}
    holder, key = data.draw(st.sampled_from(places(kept)))
    holder[key] = data.draw(JSON)
    body = {name: value for name, value in {**document, **kept}.items() if name != "digest"}
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(whole, Path(folder) / "bundle")
        (copy / "bundle.json").write_text(json.dumps({**body, "digest": digest(body)}))
        for place in ("server", "device"):
            with contextlib.suppress(FirnlineError):
                assert load(copy, place).facts.ensemble
