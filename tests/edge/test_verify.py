"""Manifests come from outside: whatever they hold is refused by name, and never believed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.pack import pack
from edge.verify import parse_manifest, read_manifest, safe, verify
from firnline.digest import digest
from firnline.errors import DeliveryError
from tests.edge.test_pack import CONTENTS

HEAVY = ("pydantic", "psutil", "onnx", "pandas", "scipy", "sklearn", "yaml", "typer", "rich")


def test_a_device_loads_without_the_platforms_tools() -> None:
    code = "import sys, edge.load; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "onnxruntime" in loaded and not loaded.intersection(HEAVY)
    ours = {name for name in done.stdout.split() if name.startswith(("edge.", "firnline."))}
    assert {"edge.load", "edge.verify", "edge.chain", "firnline.contracts.facts"} <= ours
    assert not ours & {"edge.pack", "firnline.contracts.ensemble", "firnline.adapters"}


@pytest.fixture
def bundle(tmp_path):
    pack(tmp_path / "bundle", CONTENTS)
    return tmp_path / "bundle"


def sealed(document):
    body = {name: value for name, value in document.items() if name != "digest"}
    return json.dumps({**body, "digest": digest(body)}).encode()


@pytest.fixture
def good(bundle):
    return json.loads((bundle / "bundle.json").read_text())


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "half"},
        {"kind": ["whole"]},
        {"bytes": {}},
        {"bytes": None},
        {"files": {"int8.onnx": 7}},
        {"files": ["int8.onnx"]},
        {"name": 3},
        {"stages": {}},
        {"run": [{"stage": "first", "graph": "int8.onnx"}]},
        {"run": [{"stage": "first", "graph": "no.onnx", "inputs": ["features"], "outputs": []}]},
        {"run": [{"stage": "first", "graph": "int8.onnx", "inputs": ["x.y"], "outputs": ["z"]}]},
        {"run": [{"stage": "first", "graph": "int8.onnx", "inputs": [1], "outputs": []}]},
        {"run": [{"stage": 1, "graph": "int8.onnx", "inputs": [], "outputs": []}]},
        {"run": "int8.onnx"},
    ],
)
def test_a_manifest_of_another_shape_is_none(good, changes) -> None:
    with pytest.raises(DeliveryError, match=r"\[D1\]"):
        parse_manifest(sealed(good | changes), "here")


@pytest.mark.parametrize("size", [-1, 1.0, True, "4", None, 2**70])
def test_sizes_are_whole_numbers(bundle, good, size) -> None:
    content = sealed(good | {"bytes": {**good["bytes"], "int8.onnx": size}})
    (bundle / "bundle.json").write_bytes(content)
    with pytest.raises(DeliveryError) as caught:
        verify(bundle)
    # No file has 2^70 bytes, so that one is told before a byte is read.
    assert caught.value.code == ("D2" if size == 2**70 else "D1")


@pytest.mark.parametrize(
    "content",
    [
        b"NaN",
        b'{"format": "firnline-bundle/4", "x": NaN}',
        b'{"format": "firnline-bundle/4", "x": "\\ud800"}',
        b"[" * 100_000,
        b"7" * 5000,
        b"\xff",
        b"null",
        b"",
    ],
)
def test_text_that_json_takes_and_canonical_json_does_not(content) -> None:
    with pytest.raises(DeliveryError, match=r"\[D1\]"):
        parse_manifest(content, "here")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["format", "kind", "files", "bytes", "run", "name", "stages", "digest"]),
        inner, max_size=8),
    max_leaves=20,
))  # fmt: skip
@example({"format": "firnline-bundle/4"})
@settings(max_examples=150, deadline=None)
def test_no_document_is_more_than_refused(document) -> None:
    for given_ in (document, {"format": "firnline-bundle/4", "made": document}):
        with pytest.raises(DeliveryError) as caught:
            parse_manifest(json.dumps(given_).encode(), "here")
        assert caught.value.code in {"D1", "D5", "D6", "D7"}


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "/x",
        "a/../b",
        "a//b",
        "./a",
        "a/",
        "",
        ".",
        "a\\b",
        "a\nb",
        "a\0b",
        "a/./b",
        "\u202ea",
    ],
)
def test_a_name_stays_inside_in_its_plain_form(name) -> None:
    with pytest.raises(DeliveryError, match=r"\[D5\]"):
        safe(name)
    assert str(safe("stages/encoder.int8.onnx")) == "stages/encoder.int8.onnx"


def test_links_are_refused_before_anything_is_read(bundle, tmp_path) -> None:
    """A manifest behind a link is not even parsed, nor a bundle that is one."""
    (tmp_path / "elsewhere.json").write_text("no JSON")
    (bundle / "bundle.json").unlink()
    (bundle / "bundle.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "link").symlink_to(bundle)
    for place in (bundle, tmp_path / "link"):
        for check in (verify, read_manifest):
            with pytest.raises(DeliveryError, match=r"\[D5\]"):
                check(place)


def test_a_bundle_that_is_not_there_is_told_as_such(tmp_path) -> None:
    with pytest.raises(DeliveryError, match=r"\[D1\].*No such file"):
        verify(tmp_path / "none")


def test_a_manifest_without_end_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "bundle.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DeliveryError, match=r"D1.*more than") as caught:
        read_manifest(tmp_path)
    assert caught.value.code == "D1"


@pytest.mark.parametrize("name", ["stages/" + "a" * 251 + ".onnx", "a/" * 600 + "b"])
def test_a_name_that_no_file_system_takes_is_refused(name: str) -> None:
    with pytest.raises(DeliveryError, match="D5"):
        safe(name)
