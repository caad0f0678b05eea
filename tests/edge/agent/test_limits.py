"""What a manifest may bring onto a device."""

from pathlib import Path
from typing import Any

import pytest

from edge.agent.config import Limits
from edge.agent.limits import check_manifest
from edge.verify import parse_manifest
from firnline.errors import DeliveryError
from tests.edge.agent import bundles


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bundles.Made:
    return bundles.make(tmp_path_factory.mktemp("bundle") / "made", files={"target/c/model.h": b""})


def test_a_manifest_as_assigned(made: bundles.Made) -> None:
    manifest = parse_manifest(made.manifest, "it")
    assert "target/c/model.h" in manifest["files"]
    check_manifest(manifest, made, Limits())


@pytest.mark.parametrize(
    ("field", "value"),
    [("kind", "whole"), ("name", "other"), ("target", "mcu-cortex-m4"), ("release", "0" * 64)],
)
def test_what_was_not_assigned(made: bundles.Made, field: str, value: str) -> None:
    _refused({**made.document, field: value}, made, "U12", f"extraneous dependency: {field}")


@pytest.mark.parametrize(
    "name",
    [
        "run.sh",
        "stages/other.onnx",
        "stages/encoder.pkl",
        "golden/a.txt",
        "golden/x/y.npy",
        "target",
    ],
)
def test_a_file_that_is_none_of_the_ensembles(made: bundles.Made, name: str) -> None:
    _refused(
        _with(made, {name: "0" * 64}), made, "U12", f"extraneous dependency: the file '{name}'"
    )


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "target/../../x", "target//x", "target/.ssh", "target/a\nb", ".", "",
     "target\\x", "target/" + "a" * 250, "target/x\x00"],
)  # fmt: skip
def test_a_name_that_leaves_the_bundle(made: bundles.Made, name: str) -> None:
    _refused(_with(made, {name: "0" * 64}), made, "U11", "path traversal")


def test_a_digest_or_a_stage_that_is_none(made: bundles.Made) -> None:
    _refused(_with(made, {"LICENSE": "../../x"}), made, "U11", "path traversal")
    _refused({**made.document, "stages": [{"name": "../x"}]}, made, "U11", "path traversal")


def test_too_many_bytes_or_files(made: bundles.Made) -> None:
    _refused(made.document, made, "U13", "bomb", Limits(max_release_bytes=1024))
    many = {f"target/{number}": "0" * 64 for number in range(4096)}
    _refused(_with(made, many), made, "U13", "bomb: 4,1")


def _with(made: bundles.Made, files: dict[str, str]) -> dict[str, Any]:
    document = made.document
    document["files"] |= files
    document["bytes"] |= dict.fromkeys(files, 1)
    return document


def _refused(
    manifest: dict[str, Any],
    made: bundles.Made,
    code: str,
    name: str,
    limits: Limits = Limits(),  # noqa: B008
) -> None:
    with pytest.raises(DeliveryError) as refused:
        check_manifest(manifest, made, limits)
    assert refused.value.code == code
    assert refused.value.found.startswith(name), refused.value
    assert "small" in refused.value.where or code == "U11"


def test_a_link_in_the_bundle_is_not_followed(made: bundles.Made, tmp_path: Path) -> None:
    # Parts are plain bytes, so a link can only be made on the device itself: edge.verify refuses.
    from edge.verify import verify

    folder = tmp_path / "slot"
    for name, content in made.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "LICENSE").unlink()
    (folder / "LICENSE").symlink_to("/etc/passwd")
    with pytest.raises(DeliveryError) as refused:
        verify(folder)
    assert refused.value.code == "D5"
