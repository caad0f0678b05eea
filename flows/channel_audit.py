"""Whether a channel still holds what it assigns: every manifest and every part, hashed again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge.verify import parse_manifest
from firnline.contracts.places import PARTS, TARGETS, TRACKS, manifest_path, part_path
from firnline.digest import file_digest
from firnline.errors import FirnlineError

if TYPE_CHECKING:
    from edge.channel.state import State
    from firnline.rollout.assignment import Pin


def damage(state: "State") -> list[str]:
    """What devices could not pull, and what only a thief signs; nothing where the channel is whole.

    Args:
        state: The channel, its metadata verified as a client would.
    """
    parts: dict[str, str] = {}
    found: list[str] = []
    for path, pin in _assigned(state):
        manifest, told = _manifest(state, path, pin)
        if told:
            found.append(told)
        parts |= dict.fromkeys(manifest, path)
    found += [
        f"{name} speaks of {len(strays)} paths that are not its own, as of {strays[0][:80]!r}: no "
        "publisher signs such, so rotate its key as a stolen one"
        for name in state.names()
        if (strays := sorted(set(state.role(name).signed.targets) - set(state.stated(name))))
    ]
    return found + [
        f"{digest[:12]} of {path}: {told}"
        for digest, path in parts.items()
        if (told := _wrong(state.public / PARTS / part_path(digest), digest))
    ]


def _assigned(state: "State") -> Iterator[tuple[str, "Pin"]]:
    """Path and pin of every manifest that some track assigns now, each once."""
    pins: dict[str, Pin] = {}
    for track in TRACKS:
        for ensemble in state.ensembles(track):
            assignment = state.assignment(track, ensemble)
            for release, targets in (assignment.pins if assignment else {}).items():
                for target, pin in targets.items():
                    pins[manifest_path(ensemble, target, release)] = pin
    yield from sorted(pins.items())


def _manifest(state: "State", path: str, pin: "Pin") -> tuple[list[str], str]:
    """Digests of the files that a manifest names, and what is wrong with it."""
    signed = state.target(path)
    if signed is None or signed.hashes.get("sha256") != pin.sha256:
        return [], f"{path}: assignment and kind's role do not agree"
    folder, _, name = path.rpartition("/")
    file = state.public / TARGETS / folder / f"{pin.sha256}.{name}"
    told = _wrong(file, pin.sha256)
    if told:
        return [], f"{path}: {told}"
    try:
        return list(parse_manifest(file.read_bytes(), path)["files"].values()), ""
    except FirnlineError as error:
        return [], f"{path}: {error.found}"


def _wrong(file: Path, digest: str) -> str:
    """What is wrong with a file that must have a digest; nothing where it has it."""
    try:
        return "" if file_digest(file) == digest else "it has other bytes"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
