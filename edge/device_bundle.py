"""A device's bundle: of a whole bundle, what one target needs, and nothing of the others.

A general processor gets the graphs it runs and golden windows to try them on; a microcontroller or
a neural processor what its own tools build. Both get every stage's float graph, by which a load
tells what the stages are. The same whole bundle gives the same bytes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from edge.folder import write
from edge.golden import FOLDER as GOLDEN
from edge.pack import inventory, sealed
from edge.verify import DEVICE, FORMAT, MANIFEST, MODEL, WHOLE, read_manifest, stage_file, verify
from firnline.contracts.places import plain
from firnline.digest import bytes_digest, tree_digest
from firnline.errors import DeliveryError

PROOF, TARGET = "proof.json", "target"
_SHARED = ("features.lock", "LICENSE")
_PAPERS = ("MODEL_CARD.md", "bom.cdx.json")
_KEPT = ("name", "input", "outputs", "decide", "stages", "handshake", "lock", "licences")
"""Fields of the whole bundle's manifest that a device's repeats."""


def make(bundle: Path, target: str, out: Path) -> str:
    """Write a target's bundle whole or not at all.

    Args:
        bundle: A whole bundle.
        target: One of its targets.
        out: Folder to make; one that is there is replaced.

    Returns:
        The device bundle's digest: sha256 over the names and sha256s of all its files.

    Raises:
        DeliveryError: D1 to D8, the whole bundle is not whole; D9, it has no such target; U11, a
            name could not be one in a channel.
    """
    manifest = verify(bundle)
    if manifest["kind"] != WHOLE or plain(target) not in targets_of(bundle):
        known = ", ".join(sorted(manifest.get("targets", {}))) or "no target"
        raise DeliveryError(
            "D9",
            found=f"a {manifest['kind']} bundle for {known}, not for {target}",
            where=str(bundle),
            mend="name one of its targets, or add it to release.targets and run `firnline run`",
        )
    places = dict(_places(manifest, target))
    files = {name: _read(bundle, there, manifest) for name, there in places.items()}
    write(out, {**files, MANIFEST: sealed(_body(bundle, manifest, target, files))})
    return tree_digest(out)


def targets_of(bundle: Path) -> dict[str, str]:
    """Target -> verdict of its proof: `accept`, or `not run` where nothing here could run it.

    Raises:
        DeliveryError: D1, D5, D6 or D7, the manifest cannot be trusted.
    """
    records = read_manifest(bundle).get("targets", {})
    return {name: str(record["verdict"]) for name, record in records.items()}


def _read(bundle: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    """A file's bytes, those that were verified: a device trusts what is signed of them.

    Raises:
        DeliveryError: D2, they changed since.
    """
    content = (bundle / name).read_bytes()
    if bytes_digest(content) != manifest["files"][name]:
        raise DeliveryError(
            "D2",
            found=f"{name} changed while it was read",
            where=str(bundle),
            mend="leave the bundle alone while it is published, then publish it again",
        )
    return content


def _places(manifest: Mapping[str, Any], target: str) -> Iterator[tuple[str, str]]:
    """Name in the device's bundle, and in the whole one."""
    files, folder = manifest["files"], f"targets/{target}"
    yield from ((name, name) for name in _SHARED if name in files)
    yield PROOF, f"{folder}/{PROOF}"
    yield from ((name, name) for name in _float_graphs(manifest))
    if _runs_here(manifest, target):
        yield from ((link["graph"], link["graph"]) for link in manifest["run"])
        yield from ((name, name) for name in files if name.startswith(f"{GOLDEN}/"))
        return
    # People pull these by hand, and build with them; a device that runs alone has no reader, and
    # the papers, which change with every release, would be as large as all it fetches.
    yield from ((name, name) for name in _PAPERS if name in files)
    for name in files:
        inside = PurePosixPath(name)
        if inside.is_relative_to(folder) and not inside.is_relative_to(f"{folder}/vectors"):
            yield f"{TARGET}/{inside.relative_to(folder)}", name


def _float_graphs(manifest: Mapping[str, Any]) -> list[str]:
    return [stage_file(stage["name"]) for stage in manifest["stages"]]


def _runs_here(manifest: Mapping[str, Any], target: str) -> bool:
    """Whether a target runs the ensemble's int8 graph itself, in ONNX Runtime."""
    files = manifest["files"]
    return bool(files.get(f"targets/{target}/model.onnx") == files[MODEL])


def _body(
    bundle: Path, manifest: Mapping[str, Any], target: str, files: Mapping[str, bytes]
) -> dict[str, Any]:
    graphs = manifest["run"] if _runs_here(manifest, target) else []
    return {
        "format": FORMAT,
        "kind": DEVICE,
        "target": target,
        "release": tree_digest(bundle),
        "artifact_sha256": manifest["targets"][target]["artifact_sha256"],
        **{name: manifest[name] for name in _KEPT},
        **({"run": graphs} if graphs else {}),
        **inventory(files),
    }
