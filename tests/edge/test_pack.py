import json
import os
from dataclasses import replace

import pytest

from edge.pack import Contents, StageRecord, pack
from edge.verify import verify
from firnline.contracts.handshake import Facts, StageFacts
from firnline.digest import bytes_digest, digest, tree_digest
from firnline.errors import DeliveryError

CONTENTS = Contents(
    name="small",
    manifest_digest="a" * 64,
    snapshot={"sha256": "b" * 64, "dvc": "c" * 32 + ".dir"},
    features={"view@v1": {"label": "view@v1#dddddd", "digest": "d" * 64}},
    training_set="e" * 64,
    stages=[
        StageRecord(
            "first", "recipes:First", "f" * 64, "0" * 64, {}, {"view@v1": "d" * 64}, {}, "e" * 64
        )
    ],
    columns=["view__a", "view__b"],
    outputs=["first.score"],
    decide={"output": "first.score", "classes": [], "threshold": 0.5},
    parity={"verdict": "accept"},
    calibration={"rows": 512, "note": ""},
    facts=Facts(
        "small",
        ("first",),
        (StageFacts("first", {"view@v1": "d" * 64}, digest="f" * 64),),
        {"view@v1": "d" * 64},
        ("features",),
    ),
    files={"float.onnx": b"float", "int8.onnx": b"int8", "stages/first.onnx": b"first"},
)


@pytest.fixture
def bundle(tmp_path):
    pack(tmp_path / "bundle", CONTENTS)
    return tmp_path / "bundle"


def test_a_bundle_names_what_it_holds(bundle):
    document = verify(bundle)
    assert document == json.loads((bundle / "bundle.json").read_text())
    assert document["files"]["int8.onnx"] == bytes_digest(b"int8")
    assert document["input"]["columns"] == ["view__a", "view__b"]
    assert document["digest"] == digest(
        {name: value for name, value in document.items() if name != "digest"}
    )


def test_equal_contents_give_equal_bytes(tmp_path):
    first = pack(tmp_path / "one", CONTENTS)
    second = pack(tmp_path / "two", CONTENTS)
    other = pack(tmp_path / "three", replace(CONTENTS, licences={"*": "MIT"}))
    assert first == second == tree_digest(tmp_path / "one") != other
    assert verify(tmp_path / "one", expected=first)
    with pytest.raises(DeliveryError, match="D8"):
        verify(tmp_path / "three", expected=first)


PROVED = {
    "target": "mcu-cortex-m4",
    "artifact_sha256": "9" * 64,
    "toolchain": "zig 0.17.1",
    "runner": "unicorn 2.1.4",
    "instructions": 250_000,
    "macs": 264_192,
    "flash_bytes": 280_000,
    "ram_bytes": 1_700,
    "vectors": 196,
    "bytes_differ": 0,
    "proof": {"verdict": "accept"},
    "timings": {"int8": 1234},
}


def test_a_bundle_tells_of_its_targets_lock_and_licences(tmp_path):
    files = {**CONTENTS.files, "targets/mcu-cortex-m4/proof.json": b"{}", "calibration.npy": b"c"}
    pack(tmp_path / "bundle", replace(CONTENTS, targets=[PROVED], files=files))
    document = verify(tmp_path / "bundle")
    (told,) = document["targets"].values()
    assert told["verdict"] == "accept"
    assert told["proof"] in document["files"]
    assert {name: told[name] for name in told if name in PROVED and name != "proof"} == {
        name: PROVED[name] for name in PROVED if name not in {"target", "proof", "timings"}
    }
    assert document["format"] == "firnline-bundle/4"
    assert document["lock"] == {"view@v1": "d" * 64}
    assert document["licences"] == {"*": "Apache-2.0"}
    assert document["calibration"]["sha256"] == bytes_digest(b"c")


def test_times_do_not_change_a_bundle(tmp_path):
    slower = {**PROVED, "timings": {"int8": 9999}}
    digests = {
        pack(tmp_path / name, replace(CONTENTS, targets=[record]))
        for name, record in (("one", PROVED), ("two", slower))
    }
    assert len(digests) == 1


def test_packing_again_replaces_the_bundle_whole(bundle):
    (bundle / "stray").write_text("x")
    pack(bundle, CONTENTS)
    verify(bundle)
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_failed_packing_leaves_the_bundle_before(bundle):
    with pytest.raises(DeliveryError, match="D5"):
        pack(bundle, replace(CONTENTS, files={**CONTENTS.files, "../evil": b""}))
    verify(bundle)
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def flip(bundle):
    (bundle / "int8.onnx").write_bytes(b"int9")


def remove(bundle):
    (bundle / "float.onnx").unlink()


def add(bundle):
    (bundle / "extra.bin").write_bytes(b"")


def link(bundle):
    (bundle / "int8.onnx").unlink()
    (bundle / "int8.onnx").symlink_to("/etc/hostname")


def link_folder(bundle):
    (bundle / "docs").symlink_to("/etc")


def pipe(bundle):
    os.mkfifo(bundle / "pipe")


def edit(**changes):
    def tamper(bundle):
        path = bundle / "bundle.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return tamper


def forge(bundle):
    """A manifest that is whole but names a file outside."""
    path = bundle / "bundle.json"
    document = json.loads(path.read_text())
    del document["digest"]
    document["files"]["../outside"] = "0" * 64
    document["bytes"]["../outside"] = 1
    path.write_text(json.dumps({**document, "digest": digest(document)}))


def lose(bundle):
    (bundle / "bundle.json").unlink()


def garble(bundle):
    (bundle / "bundle.json").write_bytes(b"\xff{")


def nest(bundle):
    (bundle / "bundle.json").write_text("[" * 200_000)


def empty(bundle):
    (bundle / "bundle.json").write_text("[]")


@pytest.mark.parametrize(
    ("tamper", "code"),
    [
        (flip, "D2"),
        (remove, "D3"),
        (add, "D4"),
        (link, "D5"),
        (link_folder, "D5"),
        (pipe, "D5"),
        (forge, "D5"),
        (edit(name="other"), "D6"),
        (edit(decide={"threshold": 0.9}), "D6"),
        (edit(format="firnline-bundle/9"), "D7"),
        (lose, "D1"),
        (garble, "D1"),
        (nest, "D1"),
        (empty, "D1"),
    ],
)
def test_every_kind_of_tampering_is_found(bundle, tamper, code):
    tamper(bundle)
    with pytest.raises(DeliveryError, match=rf"\[{code}\]"):
        verify(bundle)


def test_a_bundle_of_an_older_format_is_to_be_built_again(bundle):
    """To fetch it again would bring the same."""
    edit(format="firnline-bundle/3")(bundle)
    with pytest.raises(DeliveryError, match=r"\[D7\].*firnline-bundle/3.*firnline run") as caught:
        verify(bundle)
    assert "fetch" not in caught.value.mend
