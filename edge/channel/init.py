"""Making a channel: its keys, its first root, and roles that assign nothing yet."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Targets

from edge.channel import config as configs
from edge.channel import keys as keyring
from edge.channel.commit import Change, commit
from edge.channel.config import PEOPLE, ROLES, Config
from edge.channel.drafts import hold_here, hold_idle, write
from edge.channel.lock import exclusive
from edge.channel.metadata import (
    Authority,
    after,
    authority_of,
    binned,
    dated,
    root,
    targets,
    unique,
)
from edge.channel.repository import Repository, utc_now
from edge.disk import Disk
from firnline.contracts.places import KINDS, METADATA, TRACKS
from firnline.digest import file_digest
from firnline.errors import DeliveryError

GIVEN = "root.json"
"""The first root once more, beside the public folder: what devices are given."""


@dataclass(frozen=True)
class Initialised:
    """A channel that was made.

    Attributes:
        folder: Where.
        keys: Role -> key id -> URI.
        thresholds: Role -> keys that must sign.
        root: The first root: what every device is given, by hand; None where it waits for
            signatures.
        sha256: Of that file, to be compared when it is given.
        staged: Files that wait for signatures; `ceremony.apply` then makes the channel.
    """

    folder: Path
    keys: Mapping[str, Mapping[str, str]]
    thresholds: Mapping[str, int]
    root: Path | None = None
    sha256: str = ""
    staged: Sequence[Path] = ()

    def document(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "folder": str(self.folder),
            "root": str(self.root) if self.root else None,
            "sha256": self.sha256,
            "staged": [str(path) for path in self.staged],
            "keys": {role: dict(found) for role, found in self.keys.items()},
            "thresholds": dict(self.thresholds),
        }


def init(
    folder: Path,
    keys: Path,
    *,
    secrets: keyring.Secrets = keyring.environment,
    people: int = 3,
    threshold: int = 2,
    bits: int = 5,
    uris: Mapping[str, Sequence[str]] | None = None,
    days: Mapping[str, int] | None = None,
    disk: Disk | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Initialised:
    """Make a channel.

    Run again after a kill it takes the keys that are there. Where people's keys are known by their
    public half alone, the first root and targets wait in `ceremony/` for their holders to sign.

    Args:
        folder: Of the channel.
        keys: Folder in which keys are made for the roles that `uris` leaves out.
        secrets: Gives the passphrases.
        people: Keys of root and of targets.
        threshold: How many of those must sign.
        bits: Of a path's hash that choose its bin; 5 make 32 bins a kind.
        uris: Role -> URIs of its keys; one that is not there is made.
        days: Role -> days until what it signs expires.
        disk: Where files are written; the real one unless told.
        now: The time, in UTC.

    Raises:
        DeliveryError: V1, a channel stands there; V2 or V3, a key cannot be made or opened; V4, a
            threshold above the keys; V12, a role or period that is none; V14, drafts of the
            channel wait for signatures.
    """
    repo = Repository(folder, secrets, disk, now)
    with exclusive(folder / "lock"):
        if repo.stands():
            raise DeliveryError(
                "V1",
                found="a channel stands there already",
                where=str(folder),
                mend="publish into it, or name another folder",
            )
        if (repo.ceremony / "1.root.json").exists():
            hold_idle(repo)
        chosen = _uris(keys.absolute(), people, uris or {})
        hold_here(chosen)
        _feasible(chosen, threshold)
        repo.config = _config(days or {}, bits)
        ring = {role: _keys(repo, places) for role, places in chosen.items()}
        _feasible({role: [key.keyid for key in ring[role].values()] for role in PEOPLE}, threshold)
        repo.adopt({key.keyid: uri for held in ring.values() for uri, key in held.items()})
        needed = {role: threshold if role in PEOPLE else 1 for role in ROLES}
        authorities = {role: unique(ring[role].values(), needed[role]) for role in ROLES}
        found = Initialised(
            folder=folder,
            keys={role: {key.keyid: uri for uri, key in ring[role].items()} for role in ROLES},
            thresholds=needed,
        )
        return _begun(repo, authorities, found)


def _begun(
    repo: Repository, authorities: Mapping[str, Authority], found: Initialised
) -> Initialised:
    first, top = root(authorities), targets(authorities)
    dated(first, 1, after(repo.now(), repo.config.period("root")))
    dated(top, 1, after(repo.now(), repo.config.period("targets")))
    if any(_away(found.keys[role].values(), found.thresholds[role]) for role in PEOPLE):
        # Root last: without it, a kill has left no whole ceremony.
        drafts = [write(repo, "targets", top, (first,)), write(repo, "root", first, (first,))]
        return replace(found, staged=drafts[::-1])
    signed_root, signed_top = repo.signed(first, "root", first), repo.signed(first, "targets", top)
    path = establish(repo, signed_root, signed_top)
    return replace(found, root=path, sha256=file_digest(path))


def establish(repo: Repository, signed_root: Metadata[Root], top: Metadata[Targets]) -> Path:
    """Commit the first version of every role; the caller holds the lock and has checked both.

    Args:
        repo: The channel.
        signed_root: The first root.
        top: The first targets role, which names who signs for tracks and kinds.

    Returns:
        The first root's file.

    Raises:
        DeliveryError: V2, V3 or V4, keys are missing.
    """
    below = {role: authority_of(top.signed, role) for role in (*TRACKS, *KINDS)}
    path = repo.public / METADATA / "1.root.json"
    repo.disk.write(path, signed_root.to_bytes())
    roles = empty_roles(below, repo.config.bits)
    repo.disk.write(repo.folder / GIVEN, path.read_bytes())
    commit(repo, None, Change(roles=roles, top=top, root=signed_root))
    return path


def empty_roles(authorities: Mapping[str, Authority], bits: int) -> dict[str, Targets]:
    """Every role below targets, saying nothing yet; kinds come before their bins."""
    kinds = {kind: binned(kind, authorities[kind], bits) for kind in KINDS}
    bins = {
        name: Targets()
        for payload in kinds.values()
        if payload.delegations and payload.delegations.succinct_roles
        for name in payload.delegations.succinct_roles.get_roles()
    }
    return {**{track: Targets() for track in TRACKS}, **kinds, **bins}


def _uris(keys: Path, people: int, given: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    unknown = set(given) - set(ROLES)
    if unknown:
        raise configs.malformed(f"no role {sorted(unknown)[0]!r}; roles are {', '.join(ROLES)}")
    usual = {
        role: [f"file:{keys / f'{role}-{number}.pem'}" for number in range(1, people + 1)]
        if role in PEOPLE
        else [f"file:{keys / f'{role}.pem'}"]
        for role in ROLES
    }
    return {role: tuple(given.get(role, usual[role])) for role in ROLES}


def _away(uris: Iterable[str], threshold: int) -> bool:
    """Whether so many keys are elsewhere that the rest cannot sign."""
    return sum(not keyring.elsewhere(uri) for uri in uris) < threshold


def _feasible(named: Mapping[str, Sequence[str]], threshold: int) -> None:
    for role in PEOPLE:
        if not 1 <= threshold <= len(set(named[role])):
            raise DeliveryError(
                "V4",
                found=f"a threshold of {threshold} with {len(set(named[role]))} keys",
                where=f"the role {role}",
                mend="give at least as many keys as must sign, 2 of 3 as a rule",
            )


def _keys(repo: Repository, uris: Sequence[str]) -> dict[str, Key]:
    return {uri: keyring.ensure(uri, repo.secrets, disk=repo.disk) for uri in uris}


def _config(days: Mapping[str, int], bits: int) -> Config:
    try:
        return Config({}, configs.periods(days), bits=configs.binary(bits))
    except ValueError as error:
        raise configs.malformed(error) from error
