"""features.lock on disk: the one that ships with the package, and the one of a project.

What is published is what both hold. Where the project is the repository itself they are one file.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from firnline.adapters.artifact_store import raise_if_full, write_atomically
from firnline.contracts.breach import Breach, refuse
from firnline.contracts.lock import (
    Line,
    Lock,
    Versioned,
    add,
    examine,
    joined,
    render,
    tidied,
)
from firnline.errors import HandshakeError

LOCK = Path("feature_repo", "features.lock")
_HEAD = "# Published feature versions, written by `firnline lock add`: no line changes or goes.\n"


def project_lock_path(project: Path) -> Path:
    """A project's own lock, whether there is one or not."""
    return project.resolve() / LOCK


def shipped_lock_path() -> Path:
    """The lock of the views that ship, beside the installed package."""
    return Path(__file__).resolve().parents[2] / LOCK


def outputs_lock_path(state: Path) -> Path:
    """The lock of what trained stages give; models are made at run time, so it lies there."""
    return state / "features" / "outputs.lock"


def lock_files(project: Path) -> tuple[Path, ...]:
    """The files that say what is published, the shipped one first; a project's need not be there.

    Args:
        project: The project folder.
    """
    return tuple(dict.fromkeys((shipped_lock_path(), project_lock_path(project))))


def effective_lock(project: Path) -> Lock:
    """Every published version: those that ship, and the project's own.

    Args:
        project: The project folder.

    Raises:
        HandshakeError: L2 to L5 when a file is no whole lock; L1 when the project's contradicts
            the shipped one.
    """
    return joined({place(path, project): read_lock(path) for path in lock_files(project)})


def read_lock(path: Path) -> Lock:
    """A lock; empty when there is no file.

    Raises:
        HandshakeError: L2 to L5, every breach at once.
    """
    lock, breaches = examine_lock(path, str(path))
    refuse(breaches, "the feature lock")
    return lock


def examine_lock(path: Path, where: str) -> tuple[Lock, tuple[Breach, ...]]:
    """A lock as far as it can be read, and all that is wrong with it.

    Args:
        path: The file; there need not be one.
        where: What the breaches call it.
    """
    try:
        return examine(_text(path, where), where)
    except HandshakeError as error:
        return Lock(), (Breach(error.code, error.found, error.where, error.mend),)


def publish(project: Path, versions: Iterable[Versioned]) -> tuple[Line, ...]:
    """Add versions to the project's lock, and bring its lines into order.

    One process at a time does so, and the file is replaced whole, so none loses another's lines.

    Args:
        project: The project folder.
        versions: What to publish; what is published already with the same digest stays.

    Returns:
        The lines that were added.

    Raises:
        HandshakeError: L1 when a version is published with another digest; L2, L3 and L5 when
            the file is broken beyond the order of its lines. Nothing is written then.
        ContractError: C09, the disk is full.
    """
    path = project_lock_path(project)
    wanted = tuple(versions)
    where = place(path, project)
    with _alone(project):
        before = _text(path, where) if path.is_file() else _HEAD
        own = _mended(before, where)
        shipped = Lock() if path == shipped_lock_path() else read_lock(shipped_lock_path())
        published = joined({"the shipped lock": shipped, where: own})
        new = tuple(line for line in add(published, wanted) if not published.get(line.reference))
        after = render(Lock((*own, *new), own.head))
        if after != before and (new or len(own)):
            try:
                write_atomically(path, after)
            except OSError as error:
                raise_if_full(error, path)
                raise
    return new


def place(path: Path, project: Path) -> str:
    """How messages call a file: below the project where it lies there."""
    root = project.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _mended(text: str, where: str) -> Lock:
    lock, breaches = examine(tidied(text), where)
    # Told by the lines as they stand in the file, which tidying has moved.
    refuse(breaches and examine(text, where)[1], "publishing")
    return lock


def _text(path: Path, where: str) -> str:
    try:
        # Bytes, so that a carriage return is found and not read away.
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise HandshakeError(
            "L2",
            found=f"not text in UTF-8: {error.reason} at byte {error.start}",
            where=where,
            mend="take the file back from git",
        ) from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder itself, so that no file of ours is left in a repository."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
