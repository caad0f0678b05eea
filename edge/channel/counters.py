"""Firmware manifests in a channel: whatever a track is given carries the highest counter yet.

A bootloader takes no lower counter than it has seen, and a rollback gives it an older release: so
the release's firmware manifest is signed again, above all that its target ever had.

A thief of the key may have put others there. So nothing is signed again at its own word: a
manifest must say what the release's own manifest and proof say.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import Key, Signer

from edge.channel.metadata import Authority, authority_of
from edge.channel.repository import Repository, too_few
from edge.channel.state import State
from edge.device_bundle import PROOF
from firnline.contracts.firmware import (
    BYTES,
    KIND,
    SIGNED_BYTES,
    Firmware,
    firmware_path,
    key_id,
    parse_all,
)
from firnline.contracts.places import PARTS, TRACKS, kind, manifest_path, part_path
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError

_SCHEME = "ed25519"
"""The one that bootloaders check."""


def firmware(
    repo: Repository,
    state: State,
    ensemble: str,
    release: str,
    targets: Mapping[str, Path | None],
) -> dict[str, bytes]:
    """Firmware manifests that must be signed before a release is assigned.

    Args:
        repo: The channel.
        state: What is committed.
        ensemble: Its name.
        release: Digest of the bundle.
        targets: Target -> its device bundle; None where the release stands already.

    Returns:
        Target path -> content; none where those that stand will do.

    Raises:
        DeliveryError: V2 to V4, the key of microcontrollers is not at hand; U41 to U44.
    """
    found: dict[str, bytes] = {}
    for target, folder in targets.items():
        if kind(target) != KIND:
            continue
        content = _wanted(repo, state, (ensemble, target, release), folder)
        if content is not None:
            found[firmware_path(ensemble, target, release)] = content
    return found


def resigned(state: State, signers: Sequence[Signer]) -> dict[str, bytes]:
    """Firmware manifests signed by other keys, for bootloaders that hold the new ones.

    Those of releases that a kept assignment pins, and that say what these say. No publisher ever
    gave a counter above the timestamp's version; one that is comes down to that.

    Args:
        state: What is committed.
        signers: Of the new keys.

    Raises:
        DeliveryError: V6, an assignment is not what its name says; U44, a key is no Ed25519.
    """
    from edge.channel.firmware import renewed

    standing, most = _standing(state, f"{KIND}/"), state.timestamp.signed.version
    return {
        path: renewed(content, signers, min(_counter(state, content), most))
        for path, (*named, digest) in _pinned(state).items()
        if (content := standing.get(path)) and _agrees(state, content, named, digest)
    }


def foreign(state: State) -> set[str]:
    """Paths of manifests that no publisher signed: of no form, or with a counter none ever gave.

    Args:
        state: What is committed.
    """
    return {
        path
        for path, content in _standing(state, f"{KIND}/").items()
        if content is not None
        and (_said(content) is None or _counter(state, content) > state.timestamp.signed.version)
    }


def highest(state: State) -> set[str]:
    """Path of the manifest with the highest counter of each target.

    It stays whatever becomes of its release: what stands below it would pass for the highest.

    Args:
        state: What is committed.
    """
    found: dict[str, tuple[int, str]] = {}
    for path, content in _standing(state, f"{KIND}/").items():
        folder = path.rpartition("/")[0]
        found[folder] = max(found.get(folder, (0, "")), (_counter(state, content), path))
    return {path for _, path in found.values()}


def signers_of(repo: Repository, authority: Authority) -> list[Signer]:
    """Who signs firmware manifests: as many keys as the role asks for, the first that are at hand.

    Raises:
        DeliveryError: V2 to V4, fewer are; U44, fewer of its keys are such as bootloaders check.
    """
    needed = authority.threshold
    checked = [key for key in authority.keys if key.scheme == _SCHEME]
    if len(checked) < needed:
        raise DeliveryError(
            "U44",
            found=f"{len(checked)} Ed25519 keys, where {needed} must sign",
            where=f"the role {KIND}",
            mend=f"give the role {KIND} Ed25519 keys (`file:` or `env:`): bootloaders check no "
            "other",
        )
    signers, problems = repo.at_hand(checked)
    if len(signers) < needed:
        one = len(problems) == 1
        raise problems[0] if one else too_few(KIND, len(signers), needed, problems)
    return signers[:needed]


def _wanted(
    repo: Repository, state: State, named: tuple[str, str, str], folder: Path | None
) -> bytes | None:
    from edge.channel.firmware import manifest, renewed

    path = firmware_path(*named)
    standing = _standing(state, f"{path.rpartition('/')[0]}/")
    top = max((_counter(state, content) for content in standing.values()), default=0)
    # A channel that was rebuilt from its keys has no manifests, yet devices have seen some: its
    # timestamp goes on above all they saw, and no counter was ever above the timestamp's version.
    number = max(top, state.timestamp.signed.version) + 1
    content = standing.get(path)
    release = state.target(manifest_path(*named))
    if content and release and _agrees(state, content, named, release.hashes.get("sha256", "")):
        if _counter(state, content) == top > repo.config.above and _is_signed(state, content):
            return None
        return renewed(content, _own(repo, state), number)
    if folder is not None:
        return manifest(folder, _own(repo, state), number)
    if path in standing:
        raise DeliveryError(
            "U42",
            found="the firmware manifest that stands does not say what the release's proof says",
            where=path,
            mend="publish the release again from its bundle; see who signs for the role mcu",
        )
    return None


def _pinned(state: State) -> dict[str, tuple[str, str, str, str]]:
    """Path -> ensemble, target, release and its manifest's sha256, of all that tracks pin."""
    return {
        firmware_path(ensemble, target, release): (ensemble, target, release, pin.sha256)
        for track in TRACKS
        for ensemble in state.ensembles(track)
        for _, assignment in state.history(track, ensemble)
        for release, pins in assignment.pins.items()
        for target, pin in pins.items()
        if kind(target) == KIND
    }


def _agrees(state: State, content: bytes, named: Sequence[str], digest: str) -> bool:
    """Whether it says what the release's own manifest, of that digest, and its proof say."""
    try:
        own = json.loads(state.content(manifest_path(*named), digest))
        proof = (state.public / PARTS / part_path(own["files"][PROOF])).read_bytes()
        bound = json.loads(proof)["bound_to"]
        whole = bytes_digest(proof) == own["files"][PROOF]
        wanted = (*named, own["artifact_sha256"], bound["identity"])
    except (DeliveryError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    if (said := _said(content)) is None:
        return False
    found = (said.ensemble, said.target, said.release, said.artifact, said.identity)
    return whole and found == wanted


def _is_signed(state: State, content: bytes) -> bool:
    """Whether as many keys of the role as must have signed a manifest."""
    authority = authority_of(state.targets.signed, KIND)
    keys = {key_id(public): public for public in map(_public, authority.keys) if public}
    parts = [content[start : start + BYTES] for start in range(0, len(content), BYTES)]
    try:
        for part, said in zip(parts, parse_all(content, KIND), strict=True):
            key = Ed25519PublicKey.from_public_bytes(keys[said.key])
            key.verify(part[SIGNED_BYTES:], part[:SIGNED_BYTES])
    except (KeyError, ValueError, InvalidSignature):
        return False
    return len(parts) >= authority.threshold


def _public(key: Key) -> bytes:
    return bytes.fromhex(key.keyval["public"]) if key.scheme == _SCHEME else b""


def _said(content: bytes | None) -> Firmware | None:
    """What a manifest says; None of what is missing, or of no form, which no bootloader takes."""
    try:
        return parse_all(content or b"", KIND)[0]
    except DeliveryError:
        return None


def _counter(state: State, content: bytes | None) -> int:
    """A manifest's counter; what is missing may have had the highest that there was."""
    if content is None:
        return state.timestamp.signed.version
    said = _said(content)
    return said.counter if said else 0


def _standing(state: State, start: str) -> dict[str, bytes | None]:
    """Path -> content of all that the kind's role names; None where the file is missing."""
    found: dict[str, bytes | None] = {}
    for role in state.bins(KIND):
        for path, file in state.stated(role).items():
            if path.startswith(start) and path.endswith(".bin"):
                try:
                    found[path] = state.content(path, file.hashes["sha256"])
                except DeliveryError:
                    found[path] = None
    return found


def _own(repo: Repository, state: State) -> list[Signer]:
    return signers_of(repo, authority_of(state.targets.signed, KIND))
