"""Committing a change: all that is new first, synced, and `timestamp.json` last.

Nothing that a device can reach changes before the timestamp is renamed into place, for every other
name is new: parts and targets carry their sha256, metadata their version. A publisher that is
killed leaves files that nobody names; the next one chooses versions above them.
Source: TUF specification 1.0.34, section 6.2 (consistent snapshots).
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from edge.channel.metadata import after, dated, named, signed_at, timestamp
from edge.channel.repository import Repository
from edge.channel.state import State, consistent
from edge.disk import Disk
from firnline.contracts.places import (
    KINDS,
    METADATA,
    PARTS,
    TARGETS,
    TRACKS,
    part_path,
    version_of,
)
from firnline.digest import bytes_digest, file_digest
from firnline.errors import DeliveryError

KEPT_VERSIONS = 10
"""Versions of a role that stay, for devices that are in the middle of an update."""
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Change:
    """What a commit changes; all else stays as it is.

    Attributes:
        parts: sha256 -> file with that content.
        targets: Target path -> content; the roles that name them are in `roles`.
        roles: Role below targets -> what it says from now on, to be dated and signed.
        top: The targets role, signed already, where it changes.
        root: The root that signs for what is written, where it is not the committed one.
        floor: Versions are above it, where a channel is rebuilt of which devices know more.
    """

    parts: Mapping[str, Path] = field(default_factory=dict)
    targets: Mapping[str, bytes] = field(default_factory=dict)
    roles: Mapping[str, Targets] = field(default_factory=dict)
    top: Metadata[Targets] | None = None
    root: Metadata[Root] | None = None
    floor: int = 0


@dataclass(frozen=True)
class Written:
    """What a commit added.

    Attributes:
        parts: Files that were not there before, or not whole.
        bytes: Of them.
    """

    parts: int
    bytes: int


def commit(repo: Repository, base: State | None, change: Change) -> Written:
    """Sign and write a change; the caller holds the lock.

    Everything is signed before anything is written.

    Args:
        repo: The channel.
        base: What is committed; None where nothing is.
        change: What changes.

    Raises:
        DeliveryError: V2, V3 or V4, too few keys are at hand; V17, the clock cannot be right.
    """
    metadata = repo.public / METADATA
    signed, named = _sign(repo, base, change, versions(metadata))
    written = store(repo, change.parts, change.targets)
    stamp = metadata / "timestamp.json"
    before = _second(stamp)
    for name, content in signed.items():
        repo.disk.write(metadata / name, content)
    _put_after(stamp, before)
    prune(metadata, named, repo.disk)
    return written


def store(repo: Repository, parts: Mapping[str, Path], targets: Mapping[str, bytes]) -> Written:
    """Write parts and targets that are missing, or that a bad disk has altered.

    Args:
        repo: The channel.
        parts: sha256 -> file with that content.
        targets: Target path -> content.
    """
    added = {digest: path for digest, path in parts.items() if not _whole(repo.public, digest)}
    for digest, path in added.items():
        repo.disk.write(repo.public / PARTS / part_path(digest), _chunks(path))
    for name, content in targets.items():
        file = repo.public / TARGETS / consistent(name, bytes_digest(content))
        if not file.is_file() or file.read_bytes() != content:
            repo.disk.write(file, content)
    return Written(len(added), sum(path.stat().st_size for path in added.values()))


def versions(metadata: Path) -> dict[str, int]:
    """Highest version of each role that lies there, named by a timestamp or not."""
    highest: dict[str, int] = {}
    for role, number in numbered(metadata):
        highest[role] = max(number, highest.get(role, 0))
    return highest


def prune(metadata: Path, committed: Mapping[str, int], disk: Disk) -> int:
    """Remove versions that are older than the newest few committed; roots stay for ever.

    Args:
        metadata: The folder.
        committed: Role -> version that the timestamp leads to; what lies above it was never
            named and does not count.
        disk: Removes them.

    Returns:
        How many files went.
    """
    found: dict[str, list[int]] = {}
    for role, number in numbered(metadata):
        if number <= committed.get(role, 0):
            found.setdefault(role, []).append(number)
    old = [
        metadata / f"{number}.{role}.json"
        for role, numbers in found.items()
        for number in sorted(numbers)[:-KEPT_VERSIONS]
    ]
    for path in old:
        disk.remove(path)
    return len(old)


def _sign(
    repo: Repository, base: State | None, change: Change, highest: Mapping[str, int]
) -> tuple[dict[str, bytes], dict[str, int]]:
    """File name -> bytes of all new metadata in the order of writing, and role -> version."""
    now = repo.now()
    root = change.root or (base.root if base else None)
    top = change.top or (base.targets if base else None)
    if root is None or top is None:
        raise ValueError("a first commit brings its own root and targets")
    meta = dict(base.snapshot.signed.meta) if base else {}
    files: dict[str, bytes] = {}

    def add(role: str, metadata: Metadata[Any]) -> None:
        content = metadata.to_bytes()
        files[f"{metadata.signed.version}.{role}.json"] = content
        meta[f"{role}.json"] = named(role, metadata.signed.version, content)

    def next_version(role: str) -> int:
        return max(highest.get(role, 0), change.floor) + 1

    for role, payload in change.roles.items():
        dated(payload, next_version(role), after(now, repo.config.period(role)))
        delegator = _delegator(role, change, base, top)
        add(role, repo.signed(delegator, role, payload))
    if change.top is not None:
        add("targets", change.top)
    snapshot = Snapshot(meta=meta)
    dated(snapshot, next_version("snapshot"), after(now, repo.config.period("snapshot")))
    add("snapshot", repo.signed(root.signed, "snapshot", snapshot))
    stamp = timestamp(meta["snapshot.json"], now)
    before = base.timestamp.signed.version if base else 0
    dated(stamp, max(before, change.floor) + 1, after(now, repo.config.period("timestamp")))
    if base is not None and change.root is None:
        _hold_clock(base, stamp, now)
    files["timestamp.json"] = repo.signed(root.signed, "timestamp", stamp).to_bytes()
    return files, {name.removesuffix(".json"): file.version for name, file in meta.items()}


def _hold_clock(base: State, stamp: Timestamp, now: datetime) -> None:
    """Refuse to sign what every device that saw the timestamp before would take for expired.

    Devices believe no time before the latest that was signed, yet none after the timestamp or the
    root ends (U18). A new root is let through: it comes with new keys when a thief has signed that
    time.

    Raises:
        DeliveryError: V17, this clock is behind what stands, or was ahead when that was signed.
    """
    before = base.timestamp.signed
    known, most = signed_at(before), min(before.expires, base.root.signed.expires)
    if known is not None and stamp.expires <= known <= most:
        raise DeliveryError(
            "V17",
            found=f"this machine's clock says {now:%Y-%m-%d %H:%M}Z, and what stands was signed at "
            f"{known:%Y-%m-%d %H:%M}Z: devices would take this for expired (U5)",
            where="the clock, or the timestamp",
            mend="set the clock; where it is right and was ahead before, sign for longer than that "
            "time: docs/recovery.md, `The publisher's clock was wrong`",
        )


def _delegator(role: str, change: Change, base: State | None, top: Metadata[Targets]) -> Targets:
    if role in (*TRACKS, *KINDS):
        return top.signed
    kind = role.partition("-")[0]
    return change.roles[kind] if kind in change.roles or base is None else base.delegator(role)


def numbered(metadata: Path) -> Iterator[tuple[str, int]]:
    """Role and version of every numbered file that lies there."""
    for path in metadata.glob("*.json"):
        if number := version_of(path.name):
            yield path.name.partition(".")[2].removesuffix(".json"), number


def _second(path: Path) -> int:
    """When a file was last written, in whole seconds; 0 where there is none."""
    try:
        return int(path.stat().st_mtime)
    except FileNotFoundError:
        return 0


def _put_after(path: Path, before: int) -> None:
    """Have a file's time be a later second than that of the one it replaced.

    Web servers make its ETag of that second and its length, and mirrors tell by them what to copy:
    of two commits within a second a device would be told that it has the second one already.
    """
    if _second(path) <= before:
        # It stands already; what cannot have its time set is no reason to say that it does not.
        with contextlib.suppress(OSError):
            os.utime(path, (before + 1, before + 1))


def _whole(public: Path, digest: str) -> bool:
    part = public / PARTS / part_path(digest)
    return part.is_file() and file_digest(part) == digest


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
