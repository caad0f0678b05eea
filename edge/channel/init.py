"""Making a channel: its keys, its first root, and roles that assign nothing yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.metadata import Targets

from edge.channel import config as configs
from edge.channel import keys as keyring
from edge.channel.commit import Change, commit
from edge.channel.config import PEOPLE, ROLES, Config
from edge.channel.lock import exclusive
from edge.channel.metadata import Authority, after, binned, dated, root, targets
from edge.channel.repository import Repository, utc_now
from edge.disk import Disk
from firnline.contracts.places import KINDS, METADATA, TRACKS
from firnline.digest import file_digest
from firnline.errors import DeliveryError


@dataclass(frozen=True)
class Initialised:
    """A channel that was made.

    Attributes:
        folder: Where.
        root: The first root: what every device is given, by hand.
        sha256: Of that file, to be compared when it is given.
        keys: Role -> key id -> URI.
        thresholds: Role -> keys that must sign.
    """

    folder: Path
    root: Path
    sha256: str
    keys: Mapping[str, Mapping[str, str]]
    thresholds: Mapping[str, int]

    def document(self) -> dict[str, object]:
        """As `--json` prints it."""
        return {
            "folder": str(self.folder),
            "root": str(self.root),
            "sha256": self.sha256,
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

    Run again after a kill it takes the keys that are there.

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
            threshold above the keys; V12, a role or period that is none.
    """
    repo = Repository(folder, secrets, disk, now)
    with exclusive(folder / "lock"):
        if (repo.public / METADATA / "timestamp.json").exists():
            raise DeliveryError(
                "V1",
                found="a channel stands there already",
                where=str(folder),
                mend="publish into it, or name another folder",
            )
        chosen = _uris(keys.absolute(), people, uris or {})
        _feasible(chosen, threshold, bits)
        ring = {role: _keys(repo, places) for role, places in chosen.items()}
        found = {key.keyid: uri for held in ring.values() for uri, key in held.items()}
        repo.config = Config(found, _periods(days or {}))
        configs.save(folder, repo.config, repo.disk)
        needed = {role: threshold if role in PEOPLE else 1 for role in ROLES}
        authorities = {role: Authority(list(ring[role].values()), needed[role]) for role in ROLES}
        first = establish(repo, authorities, bits)
    return Initialised(
        folder=folder,
        root=first,
        sha256=file_digest(first),
        keys={role: {key.keyid: uri for uri, key in ring[role].items()} for role in ROLES},
        thresholds=needed,
    )


def establish(repo: Repository, authorities: Mapping[str, Authority], bits: int) -> Path:
    """Sign and commit the first version of every role.

    Returns:
        The first root.

    Raises:
        DeliveryError: V2, V3 or V4, keys are missing.
    """
    now, disk, metadata = repo.now(), repo.disk, repo.public / METADATA
    first, top = root(authorities), targets(authorities)
    dated(first, 1, after(now, repo.config.period("root")))
    dated(top, 1, after(now, repo.config.period("targets")))
    signed_root = repo.signed(first, "root", first)
    signed_top = repo.signed(first, "targets", top)
    roles = empty_roles(authorities, bits)
    path = metadata / "1.root.json"
    disk.write(path, signed_root.to_bytes())
    commit(repo, None, Change(roles=roles, top=signed_top, root=signed_root))
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
        raise _malformed(f"no role {sorted(unknown)[0]!r}", f"roles are {', '.join(ROLES)}")
    usual = {
        role: [f"file:{keys / f'{role}-{number}.pem'}" for number in range(1, people + 1)]
        if role in PEOPLE
        else [f"file:{keys / f'{role}.pem'}"]
        for role in ROLES
    }
    return {role: tuple(given.get(role, usual[role])) for role in ROLES}


def _feasible(uris: Mapping[str, Sequence[str]], threshold: int, bits: int) -> None:
    if not 1 <= bits <= 12:
        raise _malformed(f"{bits} bits of hash", "give 1 to 12: 2 to 4,096 bins a kind")
    for role in PEOPLE:
        if not 1 <= threshold <= len(uris[role]):
            raise DeliveryError(
                "V4",
                found=f"a threshold of {threshold} with {len(uris[role])} keys",
                where=f"the role {role}",
                mend="give at least as many keys as must sign, 2 of 3 as a rule",
            )


def _keys(repo: Repository, uris: Sequence[str]) -> dict[str, Key]:
    return {uri: keyring.ensure(uri, repo.secrets, disk=repo.disk) for uri in uris}


def _periods(days: Mapping[str, int]) -> dict[str, int]:
    try:
        return configs.periods(days)
    except ValueError as error:
        raise _malformed(str(error), "name a role and give 1 to 3650 days") from error


def _malformed(found: str, mend: str) -> DeliveryError:
    return DeliveryError("V12", found=found, where="the channel's options", mend=mend)
