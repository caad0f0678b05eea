"""A ceremony: roots and targets wait in a folder until enough people have signed them.

Each signs the files on a machine of their own; nothing counts until all are signed. The folder is
the journal as well: a publisher that is killed in the middle goes on from it.

Keys change without a broken moment: a first root names the old keys and the new ones, then what
they sign is signed by both, then a second root drops the old (specification, section 6.1).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Targets

from edge.channel import keys
from edge.channel.commit import Change, commit
from edge.channel.config import PEOPLE
from edge.channel.counters import foreign, resigned, signers_of
from edge.channel.drafts import finished, waiting
from edge.channel.init import establish
from edge.channel.lock import exclusive
from edge.channel.metadata import authority_of, binned, edited, target_file, verifies
from edge.channel.repository import Repository, too_few
from edge.channel.state import State, metadata_file
from edge.disk import Disk, RealDisk
from firnline.contracts.firmware import KIND
from firnline.contracts.places import KINDS, METADATA, TRACKS
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError

_CARRIED = (
    "name a file of the channel's `ceremony` folder, whole; `firnline channel stage` makes one"
)


@dataclass(frozen=True)
class Signing:
    """One signature that was given.

    Attributes:
        role: `root` or `targets`.
        version: Of what was signed.
        expires: When it ends.
        sha256: Of the signed bytes, for signers to compare.
        keyid: Whose signature.
        signatures: How many there are now.
        names: Role -> threshold and key ids: who may sign for it once this is in force.
    """

    role: str
    version: int
    expires: str
    sha256: str
    keyid: str
    signatures: int
    names: Mapping[str, tuple[int, Sequence[str]]]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


@dataclass(frozen=True)
class Applied:
    """What came into force.

    Attributes:
        roots: Versions of the roots.
        roles: Roles below that were signed anew.
    """

    roots: Sequence[int]
    roles: Sequence[str]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def sign(
    file: Path, uri: str, secrets: keys.Secrets = keys.environment, disk: Disk | None = None
) -> Signing:
    """Add one signature to a staged file; needs the file and the key, no channel.

    Args:
        file: As it lies in `ceremony/`.
        uri: Of the signer's key.
        secrets: Gives its passphrase or PIN.
        disk: Where the file is written; the real one unless told.

    Raises:
        DeliveryError: V2 or V3, the key cannot be used; V6, the file cannot be read, or is none
            that people sign.
    """
    metadata = metadata_file(file, _CARRIED)
    if metadata.signed.type not in PEOPLE:
        raise DeliveryError(
            "V6",
            found=f"metadata of the role {metadata.signed.type}, which no person signs",
            where=str(file),
            mend="sign root or targets, as `firnline channel stage` left them in `ceremony/`",
        )
    signer, content = keys.open_key(uri, secrets), metadata.signed_bytes
    metadata.signatures[signer.public_key.keyid] = signer.sign(content)
    (disk or RealDisk()).write(file, metadata.to_bytes())
    return Signing(
        role=metadata.signed.type,
        version=metadata.signed.version,
        expires=metadata.signed.expires.isoformat(),
        sha256=bytes_digest(content),
        keyid=signer.public_key.keyid,
        signatures=len(metadata.signatures),
        names=_names(metadata.signed),
    )


def apply(repo: Repository) -> Applied:
    """Bring what is staged into force, once enough have signed; again after a kill.

    The first root and targets make the channel.

    Raises:
        DeliveryError: V4, signatures are missing; V8, nothing is staged; V1 to V6.
    """
    if (repo.ceremony / "1.root.json").exists() and not repo.stands():
        return _founded(repo)
    with repo.locked() as state:
        if not finished(repo, state):
            raise DeliveryError(
                "V8",
                found="nothing staged",
                where=str(repo.ceremony),
                mend="stage root or targets first, with `firnline channel stage`",
            )
        return advance(repo, state)


def _names(found: Root | Targets) -> dict[str, tuple[int, Sequence[str]]]:
    delegations = None if isinstance(found, Root) else found.delegations
    roles = found.roles if isinstance(found, Root) else delegations and delegations.roles
    return {name: (each.threshold, each.keyids) for name, each in (roles or {}).items()}


def _founded(repo: Repository) -> Applied:
    with exclusive(repo.folder / "lock", repo.wait):
        root, top = (metadata_file(repo.ceremony / f"1.{role}.json", _CARRIED) for role in PEOPLE)
        _hold(root.signed, "root", root)
        _hold(root.signed, "targets", top)
        establish(repo, root, top)
        for path in waiting(repo):
            repo.disk.remove(path)
    return Applied([root.signed.version], repo.state().names())


def advance(repo: Repository, state: State) -> Applied:
    """Bring what is staged into force; the caller holds the lock.

    A root that would not accept what is online waits until that is signed by the keys of both: at
    any moment every device finds what its root and the next one accept.

    Raises:
        DeliveryError: V4, signatures are missing; V2 or V3, an online key is, and nothing changed.
    """
    roots, top = _staged(repo, state)
    _hold_signed(state, roots, top)
    if top is not None or not all(_accepted(root.signed, state) for root in roots):
        hold_online(repo, state, (roots or [state.root])[0].signed)
    change = _below(repo, state, top) if top is not None else None
    if change is not None:
        _hold_owned(repo, change)
    signed_anew = list(change.roles) if change else []
    for root in roots:
        if not _accepted(root.signed, state):
            commit(repo, state, change or Change())
            state, change = replace(repo.state(), root=state.root), None
            _hold_accepted(root.signed, state)
        repo.disk.write(
            repo.public / METADATA / f"{root.signed.version}.root.json", root.to_bytes()
        )
        state = replace(state, root=root)
    if change is not None:
        commit(repo, state, change)
    for path in waiting(repo):
        repo.disk.remove(path)
    return Applied([root.signed.version for root in roots], signed_anew)


def hold_online(repo: Repository, state: State, root: Root) -> None:
    """Refuse to begin what could not be ended: a root would be in force, and nothing signed by it.

    Raises:
        DeliveryError: V2 to V4, snapshot or timestamp cannot be signed here.
    """
    repo.signed(root, "snapshot", edited(state.snapshot))
    repo.signed(root, "timestamp", edited(state.timestamp))


def _hold_owned(repo: Repository, change: Change) -> None:
    """Likewise for tracks and kinds that have other keys: one of a kind's roles stands for all."""
    for name, payload in change.roles.items():
        if change.top is not None and name in (*TRACKS, *KINDS):
            repo.signed(change.top.signed, name, payload)


def _staged(
    repo: Repository, state: State
) -> tuple[list[Metadata[Root]], Metadata[Targets] | None]:
    """What is staged and not in force yet: a kill may have left some of both."""
    roots: list[Metadata[Root]] = []
    top: Metadata[Targets] | None = None
    for path in waiting(repo):
        found = metadata_file(path, _CARRIED)
        if found.signed.type == "root" and found.signed.version > state.root.signed.version:
            roots.append(found)
        if found.signed.type == "targets" and _newer(found, state):
            top = found
    return roots, top


def _newer(found: Metadata[Targets], state: State) -> bool:
    return found.signed.version > state.targets.signed.version


def _hold_signed(state: State, roots: list[Metadata[Root]], top: Metadata[Targets] | None) -> None:
    """Every root by the one before and itself; targets by the first and the last of them."""
    for before, root in itertools.pairwise([state.root, *roots]):
        _hold(before.signed, "root", root)
        _hold(root.signed, "root", root)
    if top is not None:
        for root in (roots or [state.root])[:1] + (roots or [state.root])[-1:]:
            _hold(root.signed, "targets", top)


def _hold_accepted(root: Root, state: State) -> None:
    _hold(root, "snapshot", state.snapshot)
    _hold(root, "timestamp", state.timestamp)
    _hold(root, "targets", state.targets)


def _hold(delegator: Root, role: str, found: Metadata[Any]) -> None:
    result = delegator.get_verification_result(role, found.signed_bytes, found.signatures)
    if not result:
        lacking = [
            DeliveryError("V4", found="has not signed", where=f"key {keyid[:12]}", mend="")
            for keyid in result.unsigned
        ]
        name = f"{found.signed.version}.{found.signed.type}.json"
        raise too_few(f"{role} (by {name})", len(result.signed), result.threshold, lacking)


def _accepted(root: Root, state: State) -> bool:
    """Whether a root accepts what is online now."""
    return (
        verifies(root, "snapshot", state.snapshot)
        and verifies(root, "timestamp", state.timestamp)
        and verifies(root, "targets", state.targets)
    )


def _below(repo: Repository, state: State, top: Metadata[Targets]) -> Change:
    """What changes with a new targets role: whoever it gives other keys signs anew."""
    roles: dict[str, Targets] = {}
    firmware: dict[str, bytes] = {}
    for name in (*TRACKS, *KINDS):
        authority = authority_of(top.signed, name)
        if _same(state, name, authority.ids, authority.threshold):
            continue
        if name in TRACKS:
            roles[name] = _without_strays(state, name)
            continue
        bins = state.bins(name)
        roles[name] = binned(name, authority, (len(bins) - 1).bit_length())
        roles.update({each: _without_strays(state, each) for each in bins})
        if name == KIND:
            firmware = resigned(state, signers_of(repo, authority))
            # A thief's counter would bind those of the new key.
            for path in foreign(state) - set(firmware):
                roles[state.bin_of(path)].targets.pop(path)
    for path, content in firmware.items():
        roles[state.bin_of(path)].targets[path] = target_file(path, content)
    return Change(targets=firmware, roles=roles, top=top)


def _without_strays(state: State, name: str) -> Targets:
    """What a role says, to be signed by other keys: no path of which it may not speak."""
    found = edited(state.role(name))
    found.targets = state.stated(name)
    return found


def _same(state: State, name: str, ids: Sequence[str], threshold: int) -> bool:
    now = authority_of(state.targets.signed, name)
    return (now.ids, now.threshold) == (list(ids), threshold)
