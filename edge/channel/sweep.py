"""Sweeping: what no assignment names, now or lately, leaves the channel."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuf.api.metadata import Targets

from edge.channel.commit import Change, commit, numbered
from edge.channel.counters import highest
from edge.channel.metadata import edited
from edge.channel.mirror import named_parts
from edge.channel.repository import Repository
from edge.channel.state import State, consistent
from edge.disk import PARTIAL
from firnline.contracts.places import (
    KINDS,
    METADATA,
    PARTS,
    TARGETS,
    TRACKS,
    assignment_path,
    part_path,
)
from firnline.errors import DeliveryError

KEPT = 10
"""Assignments of a track that stay, and the releases they name."""


@dataclass(frozen=True)
class Swept:
    """What left the channel.

    Attributes:
        releases: Manifests that no role names any more.
        files: Files that are gone.
        bytes: Of those.
    """

    releases: int
    files: int
    bytes: int

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def sweep(repo: Repository, keep: int = KEPT) -> Swept:
    """Remove releases that none of the newest assignments names, and files that nothing names.

    The roles let go first, then files are removed: who is killed between leaves files alone.

    Args:
        repo: The channel.
        keep: Newest assignments of each track and ensemble whose releases stay, at least 1.

    Raises:
        DeliveryError: V12, `keep` is below 1; V1 to V6.
    """
    if keep < 1:
        raise DeliveryError(
            "V12", found=f"keep {keep}", where="a sweep", mend="keep at least what is assigned: 1"
        )
    with repo.locked() as state:
        bins = _without(state, _assigned(state, keep))
        dropped = sum(
            len(state.role(role).signed.targets) - len(payload.targets)
            for role, payload in bins.items()
        )
        if bins:
            commit(repo, state, Change(roles=bins))
            state = repo.state()
        gone = orphans(state, keep)
        size = sum(path.stat().st_size for path in gone)
        for path in gone:
            repo.disk.remove(path)
        return Swept(dropped, len(gone), size)


def orphans(state: State, keep: int = KEPT) -> list[Path]:
    """Files of the public folder that neither metadata nor a kept assignment names."""
    targets = {state.public / TARGETS / name for name in _targets(state, keep)}
    parts = {state.public / PARTS / name for name in map(part_path, named_parts(state))}
    found = [path for path in _files(state.public / TARGETS) if path not in targets]
    found += [path for path in _files(state.public / PARTS) if path not in parts]
    above = {name.removesuffix(".json"): meta.version for name, meta in _meta(state)}
    metadata = state.public / METADATA
    found += [
        metadata / f"{number}.{role}.json"
        for role, number in numbered(metadata)
        if role != "root" and number > above.get(role, 0)
    ]
    return found + [path for path in _files(metadata) if path.name.endswith(PARTIAL)]


def _assigned(state: State, keep: int) -> set[tuple[str, str]]:
    """Ensemble and first 16 digits of every release that a kept assignment pins."""
    return {
        (ensemble, release[:16])
        for track in TRACKS
        for ensemble in state.ensembles(track)
        for _, assignment in _kept(state, track, ensemble, keep)
        for release in assignment.pins
    }


def _kept(state: State, track: str, ensemble: str, keep: int) -> Iterator[tuple[str, Any]]:
    for (digest, assignment), _ in zip(state.history(track, ensemble), range(keep), strict=False):
        yield digest, assignment


def _without(state: State, assigned: set[tuple[str, str]]) -> dict[str, Targets]:
    """Bins that change when they name assigned releases alone, and what counters go on from."""
    changed: dict[str, Targets] = {}
    counted = highest(state)
    for kind in KINDS:
        for role in state.bins(kind):
            targets = state.role(role).signed.targets
            kept = {
                path: file
                for path, file in state.stated(role).items()
                if _release(path) in assigned or path in counted
            }
            if len(kept) < len(targets):
                changed[role] = edited(state.role(role))
                changed[role].targets = kept
    return changed


def _release(path: str) -> tuple[str, str]:
    _, ensemble, _, name = path.split("/")
    return ensemble, name.partition(".")[0]


def _targets(state: State, keep: int) -> Iterator[str]:
    for name in state.names():
        for path, file in state.stated(name).items():
            yield consistent(path, file.hashes["sha256"])
    for track in TRACKS:
        for ensemble in state.ensembles(track):
            for digest, _ in _kept(state, track, ensemble, keep):
                yield consistent(assignment_path(ensemble, track), digest)


def _meta(state: State) -> Iterator[tuple[str, Any]]:
    yield from state.snapshot.signed.meta.items()
    yield "snapshot.json", state.timestamp.signed.snapshot_meta


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
