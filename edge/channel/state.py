"""What a channel says now: read from its public folder and verified as a device would."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError, RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from edge.channel.config import absent, binary
from edge.channel.metadata import parsed, verifies
from firnline.contracts.places import (
    KINDS,
    METADATA,
    TARGETS,
    TRACKS,
    assignment_path,
    is_sha256,
    version_of,
    well_placed,
)
from firnline.digest import bytes_digest
from firnline.errors import DeliveryError
from firnline.rollout.assignment import Assignment, parse

_REBUILD = "rebuild it from a mirror with `firnline channel restore`"


@dataclass(frozen=True)
class State:
    """A committed state of a channel; roles below targets are read when they are asked for.

    Expiry is left aside: whoever renews a channel must be able to read it.

    Attributes:
        public: The folder that is served.
        root: The newest root.
        timestamp: The commit point.
        snapshot: Versions of every role.
        targets: Who may sign for tracks and kinds.
    """

    public: Path
    root: Metadata[Root]
    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    _roles: dict[str, Metadata[Targets]] = field(default_factory=dict, repr=False)

    def role(self, name: str) -> Metadata[Targets]:
        """What a role below targets says.

        Raises:
            DeliveryError: V6, it does not verify.
        """
        if name not in self._roles:
            self._roles[name] = self._verified(name)
        return self._roles[name]

    def stated(self, name: str) -> dict[str, TargetFile]:
        """What a role below targets says of paths that it may speak of.

        A stolen key signs any path, such as one that leaves its folder. Devices ask for well-placed
        paths of the one role that may speak of them; anything else is as good as not said.

        Raises:
            DeliveryError: V6, the role does not verify.
        """
        return {
            path: file
            for path, file in self.role(name).signed.targets.items()
            if well_placed(path)
            and self._speaker(path) == name
            and is_sha256(file.hashes.get("sha256", ""))
        }

    def delegator(self, name: str) -> Targets:
        """Who delegates to a role below targets: a bin's kind, or targets."""
        if name in (*TRACKS, *KINDS):
            return self.targets.signed
        return self.role(name.partition("-")[0]).signed

    def bins(self, kind: str) -> list[str]:
        """Names of a kind's hash bins.

        Raises:
            DeliveryError: V6, the kind's role does not verify, or has bins of another's name or
                more than can be.
        """
        delegations = self.role(kind).signed.delegations
        succinct = delegations.succinct_roles if delegations else None
        if succinct is None:
            return []
        try:
            binary(succinct.bit_length)
        except ValueError as error:
            raise _broken(self.public / METADATA, f"{kind} has {error}") from error
        if succinct.name_prefix != kind:
            told = f"{kind} has bins of the name {succinct.name_prefix[:80]!r}"
            raise _broken(self.public / METADATA, told)
        return list(succinct.get_roles())

    def bin_of(self, path: str) -> str:
        """The hash bin that a target's path falls into."""
        delegations = self.role(path.partition("/")[0]).signed.delegations
        if delegations is None or delegations.succinct_roles is None:
            raise _broken(self.public / METADATA, f"{path.partition('/')[0]} has no hash bins")
        return delegations.succinct_roles.get_role_for_target(path)

    def names(self) -> list[str]:
        """Every role below targets, delegators first."""
        kinds = list(KINDS)
        return [*TRACKS, *kinds, *(name for kind in kinds for name in self.bins(kind))]

    def target(self, path: str) -> TargetFile | None:
        """What the one role that may speak of a path says of it."""
        return self.role(self._speaker(path)).signed.targets.get(path)

    def content(self, path: str, digest: str) -> bytes:
        """Bytes of a target, held to its sha256.

        Raises:
            DeliveryError: V6, the file is missing or differs.
        """
        file = self.public / TARGETS / consistent(path, digest)
        if not file.is_file() or bytes_digest(content := file.read_bytes()) != digest:
            raise _broken(file, "the file is missing, or differs from its name")
        return content

    def ensembles(self, track: str) -> list[str]:
        """Ensembles that a track assigns."""
        paths = self.stated(track)
        return sorted(path.removeprefix(f"{track}/").removesuffix(".json") for path in paths)

    def assignment(self, track: str, ensemble: str) -> Assignment | None:
        """What a track assigns for an ensemble now; None where it assigns nothing."""
        return next((found for _, found in self.history(track, ensemble)), None)

    def history(self, track: str, ensemble: str) -> Iterator[tuple[str, Assignment]]:
        """sha256 and content of each assignment of a track, the newest first.

        The newest is signed and names the one before by its sha256, and so on: what was swept away
        ends the chain, nothing can be slipped into it.

        Raises:
            DeliveryError: V6, a file is not what its name says.
        """
        path = assignment_path(ensemble, track)
        found = self.stated(track).get(path)
        digest = found.hashes["sha256"] if found else ""
        while digest:
            file = self.public / TARGETS / consistent(path, digest)
            if not file.is_file():
                return
            assignment = parse(self.content(path, digest), str(file))
            yield digest, assignment
            digest = assignment.previous

    def _speaker(self, path: str) -> str:
        """The one role that may speak of a path."""
        top = path.partition("/")[0]
        return top if top in TRACKS else self.bin_of(path)

    def _verified(self, name: str) -> Metadata[Targets]:
        delegator = self.delegator(name)
        meta = self.snapshot.signed.meta.get(f"{name}.json")
        if meta is None:
            raise _broken(self.public / METADATA, f"the snapshot does not name {name}")
        path = self.public / METADATA / f"{meta.version}.{name}.json"
        found: Metadata[Targets] = metadata_file(path)
        if found.signed.version != meta.version or not verifies(delegator, name, found):
            raise _broken(path, "its version or its signatures are wrong")
        _pinned(meta, path)
        return found


def consistent(path: str, digest: str) -> str:
    """A target's path with its sha256 before the name (specification, section 6.2)."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{digest}.{name}"


def read(public: Path) -> State:
    """A channel's committed state: roots in a row, then from the timestamp on down.

    Args:
        public: The folder that is served.

    Raises:
        DeliveryError: V1, there is no channel; V6, it does not verify.
    """
    folder = public / METADATA
    if not (folder / "timestamp.json").is_file():
        raise absent("timestamp.json", folder)
    root = newest_root(folder)
    timestamp: Metadata[Timestamp] = metadata_file(folder / "timestamp.json")
    _hold(root.signed, "timestamp", timestamp, folder / "timestamp.json")
    above = timestamp.signed.snapshot_meta
    snapshot: Metadata[Snapshot] = _top(folder, root.signed, "snapshot", above)
    meta = snapshot.signed.meta.get("targets.json")
    if meta is None:
        raise _broken(folder, "the snapshot does not name targets")
    targets: Metadata[Targets] = _top(folder, root.signed, "targets", meta)
    return State(public, root, timestamp, snapshot, targets)


def newest_root(folder: Path) -> Metadata[Root]:
    """The last root of the row, each signed by the one before and by itself (section 5.3).

    Raises:
        DeliveryError: V6, there is none or one does not verify.
    """
    numbers = sorted(
        number
        for path in folder.glob("*.root.json")
        if (number := version_of(path.name)) and path.name == f"{number}.root.json"
    )
    if not numbers:
        raise _broken(folder, "no root")
    newest: Metadata[Root] = _root(folder, numbers[0], numbers[0], None)
    for before, number in itertools.pairwise(numbers):
        newest = _root(folder, number, before + 1, newest)
    return newest


def _root(folder: Path, number: int, due: int, before: Metadata[Root] | None) -> Metadata[Root]:
    """A root that must follow the one before it."""
    path = folder / f"{number}.root.json"
    found: Metadata[Root] = metadata_file(path)
    if not found.signed.version == number == due:
        raise _broken(path, "its version is out of the row")
    for root in (before or found, found):
        _hold(root.signed, "root", found, path)
    return found


def metadata_file(path: Path, mend: str = _REBUILD) -> Metadata[Any]:
    """Metadata from a file, not verified yet.

    Args:
        path: The file.
        mend: What is to be done where it cannot be read.

    Raises:
        DeliveryError: V6, they cannot be read.
    """
    try:
        return parsed(path.read_bytes())
    except OSError as error:
        raise _broken(path, f"it cannot be read: {error.strerror}", mend) from error
    except (DeserializationError, RepositoryError, json.JSONDecodeError) as error:
        raise _broken(path, f"no readable metadata: {str(error)[:200]}", mend) from error


def _top(folder: Path, root: Root, role: str, meta: MetaFile) -> Metadata[Any]:
    path = folder / f"{meta.version}.{role}.json"
    found = metadata_file(path)
    if found.signed.version != meta.version:
        raise _broken(path, f"version {found.signed.version}")
    _hold(root, role, found, path)
    _pinned(meta, path)
    return found


def _pinned(meta: MetaFile, path: Path) -> None:
    """A file is the very one that the role above it names, where that names a digest."""
    try:
        meta.verify_length_and_hashes(path.read_bytes())
    except LengthOrHashMismatchError as error:
        raise _broken(path, f"not what the role above it names: {error}") from error


def _hold(root: Root, role: str, found: Metadata[Any], path: Path) -> None:
    if found.signed.type != role or not verifies(root, role, found):
        raise _broken(path, f"not signed by enough keys of {role}")


def _broken(where: Path, found: str, mend: str = _REBUILD) -> DeliveryError:
    return DeliveryError(
        "V6", found=f"the channel does not verify: {found}", where=str(where), mend=mend
    )
