"""Copying a channel's public folder from a mirror: what verifies, and nothing else."""

import json
from collections.abc import Iterator

from edge.channel.commit import numbered
from edge.channel.repository import Repository
from edge.channel.state import State, consistent
from firnline.contracts.places import (
    METADATA,
    PARTS,
    TARGETS,
    TRACKS,
    assignment_path,
    part_path,
    sha256,
)
from firnline.digest import file_digest
from firnline.errors import DeliveryError

_CHUNK_BYTES = 1 << 20


def copy(repo: Repository, state: State) -> Iterator[str]:
    """Copy all that a verified state names, its snapshot and timestamp aside.

    Args:
        repo: Where it goes.
        state: As it was read from the mirror.

    Yields:
        Names of files that the mirror lacks or has damaged.

    Raises:
        DeliveryError: V6, a role does not verify.
    """
    source, sink = state.public / METADATA, repo.public / METADATA
    roots = {f"{number}.root.json" for role, number in numbered(source) if role == "root"}
    # Of the names in the snapshot only those that verify: a thief of its key adds others.
    standing = {name: state.role(name) for name in state.names()} | {"targets": state.targets}
    named = {f"{role.signed.version}.{name}.json" for name, role in standing.items()}
    for name in roots | named:
        repo.disk.write(sink / name, (source / name).read_bytes())
    missing, there = set(), set()
    for target, digest in set(named_targets(state)):
        name = f"{TARGETS}/{consistent(target, digest)}"
        if _take(repo, state, name, digest):
            there.add((target, digest))
        else:
            missing.add(name)
    for digest in _parts(state, there):
        name = f"{PARTS}/{part_path(digest)}"
        if not _take(repo, state, name, digest):
            missing.add(name)
    yield from sorted(missing)


def named_targets(state: State) -> Iterator[tuple[str, str]]:
    """Path and sha256 of every target, and of the assignments before those that stand."""
    for name in state.names():
        for path, file in state.stated(name).items():
            yield path, file.hashes["sha256"]
    for track in TRACKS:
        for ensemble in state.ensembles(track):
            for digest, _ in state.history(track, ensemble):
                yield assignment_path(ensemble, track), digest


def named_parts(state: State) -> set[str]:
    """sha256 of every part that a manifest names; a manifest that no device would take names none.

    Raises:
        DeliveryError: V6, a manifest is missing or differs.
    """
    return _parts(state, set(named_targets(state)))


def _parts(state: State, targets: set[tuple[str, str]]) -> set[str]:
    found: set[str] = set()
    for path, digest in targets:
        top = path.partition("/")[0]
        if top not in TRACKS and path.endswith(".json"):
            found.update(_files(state.content(path, digest)))
    return found


def _files(manifest: bytes) -> set[str]:
    # Not held to today's format: what an older or a newer release needs must stay as well.
    try:
        return {sha256(digest) for digest in json.loads(manifest)["files"].values()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DeliveryError):
        return set()


def _take(repo: Repository, state: State, name: str, digest: str) -> bool:
    """Copy a file; False where the mirror lacks it or has damaged it."""
    source = state.public / name
    if not source.is_file() or file_digest(source) != digest:
        return False
    with source.open("rb") as file:
        repo.disk.write(repo.public / name, iter(lambda: file.read(_CHUNK_BYTES), b""))
    return True
