"""What stands in a channel: roles and keys, tracks and who gets what, and what is left over."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from edge.channel import keys
from edge.channel.config import ONLINE, PEOPLE
from edge.channel.drafts import waiting
from edge.channel.metadata import TOP, authority_of
from edge.channel.release import published
from edge.channel.renew import ends_of
from edge.channel.repository import Repository
from edge.channel.state import State
from edge.channel.sweep import orphans
from firnline.contracts.places import METADATA, TRACKS
from firnline.digest import file_digest
from firnline.errors import DeliveryError


@dataclass(frozen=True)
class KeyStatus:
    """A key of a role.

    Attributes:
        keyid: Its id.
        uri: Where its private half is; empty where this machine does not know.
        usable: Whether it signs here.
        problem: Why not.
    """

    keyid: str
    uri: str
    usable: bool
    problem: str


@dataclass(frozen=True)
class RoleStatus:
    """A role; the bins of a kind are told with it.

    Attributes:
        name: Its name.
        version: Of what it signed.
        expires: When that ends, UTC; for a kind, the first of it and its bins.
        days: Until then; below 0 where it is past.
        threshold: Keys that must sign.
        keys: Its keys.
        online: Whether it signs unattended.
    """

    name: str
    version: int
    expires: datetime
    days: int
    threshold: int
    keys: Sequence[KeyStatus]
    online: bool


@dataclass(frozen=True)
class TrackStatus:
    """What a track assigns of an ensemble.

    Attributes:
        track: The track.
        ensemble: The ensemble.
        version: Of the assignment.
        shares: Release -> share of the fleet that gets it; the newest first.
        reason: Why.
    """

    track: str
    ensemble: str
    version: int
    shares: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class ReleaseStatus:
    """A release that is published.

    Attributes:
        ensemble: Its name.
        release: First 16 digits of its digest.
        targets: Its targets.
        tracks: Tracks that assign it.
    """

    ensemble: str
    release: str
    targets: Sequence[str]
    tracks: Sequence[str]


@dataclass(frozen=True)
class Status:
    """A channel at a glance.

    Attributes:
        root_sha256: Of the newest root.
        root_version: Its version.
        roles: All but bins.
        tracks: What each assigns.
        releases: What is published.
        staged: Files that wait for signatures.
        orphans: Files that nothing names: a killed publisher's, or swept ones' remains.
    """

    root_sha256: str
    root_version: int
    roles: Sequence[RoleStatus]
    tracks: Sequence[TrackStatus]
    releases: Sequence[ReleaseStatus]
    staged: Sequence[str]
    orphans: int

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        found = asdict(self)
        for role in found["roles"]:
            role["expires"] = role["expires"].isoformat()
        return found


def status(repo: Repository, *, open_keys: bool = False) -> Status:
    """Read a channel and check its keys.

    Args:
        repo: The channel.
        open_keys: Open every key that has a URI, which asks for its secret; without it, keys are
            looked for only.

    Raises:
        DeliveryError: V1, V6 or V12.
    """
    state = _read(repo)
    version = state.root.signed.version
    return Status(
        root_sha256=file_digest(repo.public / METADATA / f"{version}.root.json"),
        root_version=version,
        roles=_roles(repo, state, open_keys),
        tracks=_tracks(state),
        releases=_releases(state),
        staged=[path.name for path in waiting(repo)],
        orphans=len(orphans(state)),
    )


def _read(repo: Repository) -> State:
    """What is committed; read again where keys may have changed in between, as nothing is held."""
    try:
        return repo.state()
    except DeliveryError as error:
        if error.code != "V6":
            raise
        return repo.state()


def _roles(repo: Repository, state: State, open_keys: bool) -> list[RoleStatus]:
    now = repo.now()
    found = []
    for role, expires in ends_of(state).items():
        above = state.root.signed if role in TOP else state.targets.signed
        authority = authority_of(above, role)
        found.append(
            RoleStatus(
                name=role,
                version=_version(state, role),
                expires=expires,
                days=(expires - now).days,
                threshold=authority.threshold,
                keys=[_key(repo, keyid, role, state, open_keys) for keyid in authority.ids],
                online=role in ONLINE,
            )
        )
    return found


def _version(state: State, role: str) -> int:
    top = {
        "root": state.root.signed.version,
        "targets": state.targets.signed.version,
        "snapshot": state.snapshot.signed.version,
        "timestamp": state.timestamp.signed.version,
    }
    return top[role] if role in (*PEOPLE, *ONLINE) else state.role(role).signed.version


def _key(repo: Repository, keyid: str, role: str, state: State, open_keys: bool) -> KeyStatus:
    uri = repo.config.keys.get(keyid, "")
    problem = "" if uri else "not known here"
    if uri and not open_keys and not keys.there(uri):
        problem = "" if uri.startswith("pkcs11:") else "not there"
    if uri and open_keys:
        above = state.root.signed if role in TOP else state.targets.signed
        try:
            repo.signer(above.get_key(keyid))
        except DeliveryError as error:
            problem = error.found
    return KeyStatus(keyid, uri, not problem, problem)


def _tracks(state: State) -> list[TrackStatus]:
    found = []
    for track in TRACKS:
        for ensemble in state.ensembles(track):
            now = state.assignment(track, ensemble)
            if now is not None:
                shares = {wave.release: now.share_of(wave.release) for wave in now.waves}
                found.append(TrackStatus(track, ensemble, now.version, shares, now.reason))
    return found


def _releases(state: State) -> list[ReleaseStatus]:
    targets: dict[tuple[str, str], list[str]] = {}
    for ensemble, target, release in published(state):
        targets.setdefault((ensemble, release), []).append(target)
    assigned = {
        (each.ensemble, release[:16], each.track)
        for each in _tracks(state)
        for release in each.shares
    }
    return [
        ReleaseStatus(
            ensemble,
            release,
            sorted(names),
            [track for track in TRACKS if (ensemble, release, track) in assigned],
        )
        for (ensemble, release), names in sorted(targets.items())
    ]
