"""Rebuilding a lost channel: from any mirror of its public folder, or from its keys alone.

A mirror needs no trust: only what verifies from a root that is known by its sha256 is taken. Roots
and online metadata of before are what devices compare with, so a rebuilt channel goes on above.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, Root

from edge.channel import config as configs
from edge.channel import keys as keyring
from edge.channel.commit import Change, commit, numbered
from edge.channel.config import ROLES
from edge.channel.init import GIVEN, empty_roles
from edge.channel.lock import exclusive
from edge.channel.metadata import TOP, Authority, after, dated, edited, parsed, targets, verifies
from edge.channel.mirror import copy
from edge.channel.release import published
from edge.channel.repository import Repository, utc_now
from edge.channel.state import newest_root, read
from edge.disk import Disk
from firnline.contracts.places import METADATA, PARTS
from firnline.errors import DeliveryError


@dataclass(frozen=True)
class Restored:
    """A channel that was rebuilt.

    Attributes:
        folder: Where.
        root_version: Of the newest root.
        releases: Manifests that are there again.
        parts: Files that are there again.
        missing: Files that the mirror lacks or has damaged; publishing again mends them.
        keys: Key ids whose private half is at hand.
    """

    folder: Path
    root_version: int
    releases: int
    parts: int
    missing: Sequence[str]
    keys: Sequence[str]

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {**asdict(self), "folder": str(self.folder)}


def from_mirror(
    folder: Path,
    mirror: Path,
    root: bytes,
    uris: Sequence[str],
    *,
    secrets: keyring.Secrets = keyring.environment,
    days: Mapping[str, int] | None = None,
    above: int = 0,
    disk: Disk | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Restored:
    """Rebuild a channel from a copy of its public folder, and go on with its keys.

    Args:
        folder: Of the channel; none may stand there.
        mirror: The copy, with `metadata/`, `targets/` and `parts/`.
        root: A root that is trusted, as a device was given it.
        uris: Of the keys; each is opened, and its role follows from the metadata.
        secrets: Gives their passphrases.
        days: Role -> days until what it signs expires.
        above: New versions are above it, where the mirror is older than what devices saw. What the
            tracks assign stays as it is in the mirror until it is said again: a device that saw
            more keeps what it runs (U6) until then.
        disk: Where files are written; the real one unless told.
        now: The time, in UTC.

    Raises:
        DeliveryError: V1, a channel stands there; V6, the mirror does not verify from the root;
            V2 to V4, keys of snapshot or timestamp are missing; V12, a role, period or version
            that is none.
    """
    repo = Repository(folder, secrets, disk, now)
    with exclusive(folder / "lock"):
        _hold_free(repo)
        repo.config = _config(days or {}, above)
        state = read(mirror)
        _hold_descends(mirror, root)
        _adopt(repo, uris)
        missing = list(copy(repo, state))
        # The mirror may be behind: only a snapshot and timestamp of our own are put online.
        roles = {name: edited(state.role(name)) for name in state.names()} if above else {}
        floor = max(above, state.snapshot.signed.version)
        commit(repo, state, Change(roles=roles, floor=floor))
    _give_root(repo)
    return _told(repo, missing)


def from_keys(
    folder: Path,
    roots: Sequence[bytes],
    uris: Mapping[str, Sequence[str]],
    *,
    above: int,
    bits: int = 5,
    secrets: keyring.Secrets = keyring.environment,
    days: Mapping[str, int] | None = None,
    disk: Disk | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Restored:
    """Start a channel over that devices go on with: their roots, its keys, nothing published.

    Args:
        folder: Of the channel; none may stand there.
        roots: In a row up to the newest, as a device keeps them.
        uris: Role -> URIs of its keys.
        above: New versions are above it, those of assignments and counters of firmware too: the
            highest that any device may have seen.
        bits: Of a path's hash that choose its bin.
        secrets: Gives their passphrases.
        days: Role -> days until what it signs expires.
        disk: Where files are written; the real one unless told.
        now: The time, in UTC.

    Raises:
        DeliveryError: V1, a channel stands there; V6, the roots are no row; V2 to V4, keys are
            missing; V12, a role, period or version that is none.
    """
    repo = Repository(folder, secrets, disk, now)
    with exclusive(folder / "lock"):
        _hold_free(repo)
        repo.config = _config(days or {}, above, bits)
        newest = _write_roots(repo, roots)
        found = _adopt(repo, [uri for each in uris.values() for uri in each])
        below = {
            role: Authority([found[uri].public_key for uri in uris.get(role, ())], 1)
            for role in ROLES
            if role not in TOP
        }
        lacking = [role for role, authority in below.items() if not authority.keys]
        if lacking:
            raise DeliveryError(
                "V2",
                found=f"no key for {', '.join(lacking)}",
                where="the keys that were named",
                mend="name one for each; what targets delegates is lost with the channel",
            )
        top = targets(below)
        dated(top, above + 1, after(now(), repo.config.period("targets")))
        signed = repo.signed(newest.signed, "targets", top)
        change = Change(roles=empty_roles(below, bits), top=signed, root=newest, floor=above)
        commit(repo, None, change)
    _give_root(repo)
    return _told(repo, [])


def _hold_free(repo: Repository) -> None:
    if repo.stands():
        raise DeliveryError(
            "V1",
            found="a channel stands there",
            where=str(repo.folder),
            mend="restore into another folder, and put that in its place once it is whole",
        )


def _hold_descends(mirror: Path, root: bytes) -> None:
    """The trusted root must be one of the row that the mirror verified by."""
    try:
        version = Metadata[Root].from_bytes(root).signed.version
        there = (mirror / METADATA / f"{version}.root.json").read_bytes()
    except Exception as error:
        raise _untrusted(mirror, f"no such root there: {error}") from error
    if there != root:
        raise _untrusted(mirror, f"another {version}.root.json than the trusted one")


def _write_roots(repo: Repository, roots: Sequence[bytes]) -> Metadata[Root]:
    """Put a row of roots in place once it verifies."""
    found = []
    for content in roots:
        try:
            root: Metadata[Root] = parsed(content)
        except Exception as error:
            raise _untrusted(repo.folder, f"no readable root: {error}") from error
        if root.signed.type != "root":
            raise _untrusted(repo.folder, f"metadata of {root.signed.type}, and no root")
        found.append(root)
    for before, root in itertools.pairwise([found[0], *found] if found else []):
        consecutive = root is before or root.signed.version == before.signed.version + 1
        signers = (before.signed, root.signed)
        if not consecutive or not all(verifies(each, "root", root) for each in signers):
            raise _untrusted(repo.folder, f"root {root.signed.version} does not follow")
    for root, content in zip(found, roots, strict=True):
        path = repo.public / METADATA / f"{root.signed.version}.root.json"
        repo.disk.write(path, content)
    return newest_root(repo.public / METADATA)


def _config(days: Mapping[str, int], above: int, bits: int = 5) -> configs.Config:
    try:
        periods, floor = configs.periods(days), configs.floor(above)
        return configs.Config({}, periods, floor, configs.binary(bits))
    except ValueError as error:
        raise configs.malformed(error) from error


def _adopt(repo: Repository, uris: Sequence[str]) -> dict[str, Signer]:
    """Open the keys, and write the config that names them."""
    found = {uri: keyring.open_key(uri, repo.secrets) for uri in uris}
    repo.adopt({signer.public_key.keyid: uri for uri, signer in found.items()})
    return found


def _give_root(repo: Repository) -> None:
    """Leave what new devices are given, as `init` does: the root that their row begins with."""
    metadata = repo.public / METADATA
    oldest = min(number for role, number in numbered(metadata) if role == "root")
    repo.disk.write(repo.folder / GIVEN, (metadata / f"{oldest}.root.json").read_bytes())


def _told(repo: Repository, missing: Sequence[str]) -> Restored:
    state = repo.state()
    parts = repo.public / PARTS
    return Restored(
        folder=repo.folder,
        root_version=state.root.signed.version,
        releases=len(published(state)),
        parts=sum(path.is_file() for path in parts.rglob("*")),
        missing=missing,
        keys=sorted(repo.config.keys),
    )


def _untrusted(where: Path, found: str) -> DeliveryError:
    return DeliveryError(
        "V6",
        found=found,
        where=str(where),
        mend="take another mirror, or the root that devices were given",
    )
