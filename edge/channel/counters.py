"""Firmware manifests in a channel: whatever a track is given carries the highest counter yet.

A bootloader takes no lower counter than it has seen, and a rollback gives it an older release: so
the release's firmware manifest is signed again, above all that its target ever had.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from securesystemslib.signer import Signer

from edge.channel.metadata import Authority, authority_of
from edge.channel.repository import Repository, too_few
from edge.channel.state import State
from firnline.contracts.firmware import KIND, firmware_path, parse_all
from firnline.contracts.places import kind
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
        content = _wanted(repo, state, firmware_path(ensemble, target, release), folder)
        if content is not None:
            found[firmware_path(ensemble, target, release)] = content
    return found


def resigned(state: State, signers: Sequence[Signer]) -> dict[str, bytes]:
    """Every firmware manifest signed by other keys, for bootloaders that hold the new ones.

    Args:
        state: What is committed.
        signers: Of the new keys.
    """
    from edge.channel.firmware import renewed

    return {
        path: renewed(content, signers, parse_all(content, path)[0].counter)
        for path, content in _standing(state, f"{KIND}/").items()
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
        found[folder] = max(found.get(folder, (0, "")), (parse_all(content, path)[0].counter, path))
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


def _wanted(repo: Repository, state: State, path: str, folder: Path | None) -> bytes | None:
    from edge.channel.firmware import manifest, next_number, renewed

    standing = _standing(state, f"{path.rpartition('/')[0]}/")
    top = next_number(standing.values()) - 1
    # A channel that was rebuilt from its keys has no manifests, yet devices have seen some: its
    # timestamp goes on above all they saw, and no counter was ever above the timestamp's version.
    number = max(top, state.timestamp.signed.version) + 1
    if path in standing:
        if parse_all(standing[path], path)[0].counter == top > repo.config.above:
            return None
        return renewed(standing[path], _own(repo, state), number)
    return manifest(folder, _own(repo, state), number) if folder is not None else None


def _standing(state: State, start: str) -> dict[str, bytes]:
    return {
        path: state.content(path, file.hashes["sha256"])
        for role in state.bins(KIND)
        for path, file in state.stated(role).items()
        if path.startswith(start) and path.endswith(".bin")
    }


def _own(repo: Repository, state: State) -> list[Signer]:
    return signers_of(repo, authority_of(state.targets.signed, KIND))
