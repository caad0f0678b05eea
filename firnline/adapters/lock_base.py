"""What git holds of a project's lock: the published lines that a change is compared with."""

import subprocess
from pathlib import Path

from firnline.adapters.lock_file import LOCK
from firnline.contracts.lock import Lock, examine
from firnline.errors import HandshakeError

_HERE = LOCK.as_posix()


def committed(project: Path, base: str | None) -> tuple[Lock, Lock] | None:
    """The lock at a commit, and at the commit where the work at hand parted from it.

    Args:
        project: The project folder.
        base: A commit, branch or tag; None for the last commit.

    Returns:
        Both locks; None when no base is asked for and the project is not in git, or in a
        repository without a commit.

    Raises:
        HandshakeError: L8 when a base is asked for that is not there.
    """
    commit = _commit(project, base or "HEAD")
    if commit is None:
        if base is None:
            return None
        raise HandshakeError(
            "L8",
            found=f"git knows no commit {base!r} here",
            where=str(project),
            mend="name a commit, branch or tag that is fetched; in a shallow clone, "
            "git fetch --deepen=100 first",
        )
    parted = _git(project, "merge-base", commit, "HEAD")
    return _lock(project, commit), _lock(project, (parted or commit).strip())


def _commit(project: Path, name: str) -> str | None:
    # A name that git would take for an option is none of a commit.
    asked = () if name.startswith("-") else ("rev-parse", "-q", "--verify", f"{name}^{{commit}}")
    found = _git(project, *asked) if asked else None
    return found.strip() if found else None


def _lock(project: Path, commit: str) -> Lock:
    """The lock as committed, as far as it can be read; empty when the commit has none."""
    if not _git(project, "ls-tree", commit, "--", _HERE):
        return Lock()
    return examine(_git(project, "show", f"{commit}:./{_HERE}") or "", commit)[0]


def _git(project: Path, *arguments: str) -> str | None:
    """What git says; None when it fails, or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")
