"""TUF metadata as values: what the roles of a channel say, built and copied, never read or written.

Source: TUF specification 1.0.34, section 4; TAP 15 for the hash bins.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Signed,
    SuccinctRoles,
    T,
    TargetFile,
    Targets,
    Timestamp,
)

from firnline.contracts.places import KINDS, TRACKS
from firnline.digest import bytes_digest

ISSUED = "issued"
"""Field of a timestamp: when it was signed, for devices whose clock cannot be trusted."""
TOP = ("root", "targets", "snapshot", "timestamp")


@dataclass(frozen=True)
class Authority:
    """Who may sign for a role.

    Attributes:
        keys: Their public halves.
        threshold: How many of them must.
    """

    keys: Sequence[Key]
    threshold: int

    @property
    def ids(self) -> list[str]:
        """The key ids, in order."""
        return [key.keyid for key in self.keys]


def unique(keys: Iterable[Key], threshold: int) -> Authority:
    """Who may sign, a key that was named twice counted once."""
    return Authority(list({key.keyid: key for key in keys}.values()), threshold)


def root(authorities: Mapping[str, Authority]) -> Root:
    """A root that names who signs for the four top-level roles (section 4.3)."""
    roles = {name: Role(authorities[name].ids, authorities[name].threshold) for name in TOP}
    keys = {key.keyid: key for name in TOP for key in authorities[name].keys}
    return Root(keys=keys, roles=roles, consistent_snapshot=True)


def targets(authorities: Mapping[str, Authority]) -> Targets:
    """The targets role: it holds no target, and delegates tracks and kinds (section 4.5).

    Every delegation is terminating: what a track's role does not say about its paths, nobody else
    may say. A path pattern does not cross `/`, so each has as many parts as its paths.
    """
    delegated = {
        name: DelegatedRole(
            name,
            authorities[name].ids,
            authorities[name].threshold,
            terminating=True,
            paths=[f"{name}/*" if name in TRACKS else f"{name}/*/*/*"],
        )
        for name in (*TRACKS, *KINDS)
    }
    keys = {key.keyid: key for name in delegated for key in authorities[name].keys}
    return Targets(delegations=Delegations(keys, roles=delegated))


def binned(kind: str, authority: Authority, bits: int) -> Targets:
    """The role of a kind: it delegates all its paths to hash bins with its own keys (TAP 15)."""
    bins = SuccinctRoles(authority.ids, authority.threshold, bits, kind)
    keys = {key.keyid: key for key in authority.keys}
    return Targets(delegations=Delegations(keys, succinct_roles=bins))


def named(role: str, version: int, content: bytes) -> MetaFile:
    """A role's metadata as the role above names them: by version, length and sha256.

    Without the digest, who holds the keys of a track and a kind could serve other metadata under
    the same version, and would need no online key. Bins are named by version alone: theirs would
    add 8 kB to every cold start, and what they name counts only as a track pins it.

    Args:
        role: Its name.
        version: Of the metadata.
        content: Their bytes.
    """
    if role.partition("-")[0] in KINDS and role not in KINDS:
        return MetaFile(version)
    return MetaFile(version, len(content), {"sha256": bytes_digest(content)})


def timestamp(snapshot: MetaFile, issued: datetime) -> Timestamp:
    """A timestamp over a snapshot, with the time it was signed as a field of its own.

    Args:
        snapshot: What it vouches for.
        issued: UTC.
    """
    fields = {ISSUED: issued.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    return Timestamp(snapshot_meta=snapshot, unrecognized_fields=fields)


def signed_at(timestamp: Timestamp) -> datetime | None:
    """When a timestamp was signed, UTC; None where it does not say, or names no time there is."""
    try:
        told = datetime.fromisoformat(str(timestamp.unrecognized_fields.get(ISSUED)))
        return told.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def target_file(path: str, content: bytes) -> TargetFile:
    """A target as a role names it: length and sha256."""
    return TargetFile(len(content), {"sha256": bytes_digest(content)}, path)


def edited(metadata: Metadata[T]) -> T:
    """A copy of what a role says, to be changed and signed anew."""
    return copy.deepcopy(metadata.signed)


def dated(payload: Signed, version: int, expires: datetime) -> None:
    """Give a payload its version and the end of its time."""
    payload.version = version
    payload.expires = expires


def after(now: datetime, days: int) -> datetime:
    """The end of a period that starts now, in UTC and whole seconds."""
    return (now.astimezone(UTC) + timedelta(days=days)).replace(microsecond=0)


def authority_of(delegator: Root | Targets, role: str) -> Authority:
    """Who may sign for a role, as its delegator says."""
    named = delegator.get_delegated_role(role)
    return Authority([delegator.get_key(keyid) for keyid in named.keyids], named.threshold)


def signed(payload: T, signers: Sequence[Signer]) -> Metadata[T]:
    """A payload with the signatures of all who are given."""
    metadata = Metadata(payload)
    content = metadata.signed_bytes
    for signer in signers:
        metadata.signatures[signer.public_key.keyid] = signer.sign(content)
    return metadata


def parsed(content: bytes) -> Metadata[Any]:
    """Metadata from bytes, in a form that somebody can have signed.

    Raises:
        RepositoryError: They cannot be read, or have no canonical form.
    """
    found = Metadata.from_bytes(content)
    _ = found.signed_bytes
    return found


def verifies(delegator: Root | Targets, role: str, metadata: Metadata[T]) -> bool:
    """Whether enough of a role's keys have signed."""
    return bool(delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures))
