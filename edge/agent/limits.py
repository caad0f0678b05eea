"""What a release may bring onto a device: its own ensemble's files, so many and no larger."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Protocol

from edge.agent.config import Limits
from firnline.contracts.places import plain, sha256
from firnline.errors import DeliveryError

MOST_FILES = 4096
MOST_DOCUMENT_BYTES = 1 << 20
"""Most bytes of a manifest, an assignment or one role's metadata."""

_PLAIN = {"features.lock", "LICENSE", "proof.json", "MODEL_CARD.md", "bom.cdx.json", "int8.onnx"}
_GOLDEN = re.compile(r"golden/[A-Za-z0-9_]+\.npy")
_SAFE = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]*(/[A-Za-z0-9_+][A-Za-z0-9_.+-]*){0,15}")
_MOST_NAME = 255


class Assigned(Protocol):
    """What a device was assigned."""

    @property
    def ensemble(self) -> str:
        """Name of the ensemble."""
        ...

    @property
    def target(self) -> str:
        """Name of the target."""
        ...

    @property
    def release(self) -> str:
        """Digest of the bundle."""
        ...


def check_manifest(manifest: Mapping[str, Any], assigned: Assigned, limits: Limits) -> None:
    """Hold a manifest to what was assigned, before one of its files is fetched.

    Args:
        manifest: As `edge.verify.parse_manifest` returns it.
        assigned: The offer it came with.
        limits: Most bytes of a release.

    Raises:
        DeliveryError: U11 a name leaves the bundle, U12 it brings what is not of this ensemble,
            target and release, U13 it is too large.
    """
    where = f"manifest of {assigned.ensemble} for {assigned.target}"
    _same(manifest, assigned, where)
    _size(manifest["bytes"], limits, where)
    stages = {plain(stage.get("name")) for stage in manifest["stages"]}
    known = _PLAIN | {f"stages/{name}{end}" for name in stages for end in (".onnx", ".int8.onnx")}
    for name, digest in manifest["files"].items():
        sha256(digest)
        if len(name) > _MOST_NAME or not _SAFE.fullmatch(name):
            raise _refused("U11", f"path traversal or a malformed name: {name[:80]!r}", where)
        if not (name in known or _GOLDEN.fullmatch(name) or name.startswith("target/")):
            raise _refused("U12", f"extraneous dependency: the file {name[:80]!r}", where)
    _folders(manifest["files"], where)


def _same(manifest: Mapping[str, Any], assigned: Assigned, where: str) -> None:
    wanted = {
        "kind": "device",
        "name": assigned.ensemble,
        "target": assigned.target,
        "release": assigned.release,
    }
    for field, value in wanted.items():
        found = manifest.get(field)
        if found != value:
            told = f"{field} {str(found)[:80]!r}, {value!r} was assigned"
            raise _refused("U12", f"extraneous dependency: {told}", where)


def _folders(files: Mapping[str, str], where: str) -> None:
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    for name in folders & files.keys():
        told = f"{name[:80]!r} is a file and a folder"
        raise _refused("U11", f"path traversal or a malformed name: {told}", where)


def _size(sizes: Mapping[str, int], limits: Limits, where: str) -> None:
    total, most = sum(sizes.values()), limits.max_release_bytes
    if len(sizes) > MOST_FILES:
        raise _refused("U13", f"bomb: {len(sizes):,} files, {MOST_FILES:,} at most", where)
    if total > most:
        raise _refused("U13", f"bomb: {total:,} bytes declared, {most:,} at most", where)


def _refused(code: str, found: str, where: str) -> DeliveryError:
    return DeliveryError(
        code,
        found=found,
        where=where,
        mend="build and publish the release again with `firnline channel publish`, or raise "
        "limits.max_release_bytes where it is only large; the device keeps what it runs",
    )
