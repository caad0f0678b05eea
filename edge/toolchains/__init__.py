"""Environments of their own for tools whose dependencies would not fit beside firnline's.

Each is a lock file here (`NAME.lock.txt`, every wheel by its hash) and a folder NAME under
`.toolchains` of the project, or under FIRNLINE_TOOLCHAINS. Tools run there as processes; nothing
of them is imported.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from firnline.errors import DeliveryError

_LOCKS = Path(__file__).parent
FOLDER = ".toolchains"
_MARK = ".ready"
_TAIL = 12
"""Lines of an installer's complaint that are shown."""


def names() -> tuple[str, ...]:
    """Every environment there is a lock for, in alphabetical order."""
    return tuple(sorted(path.name.removesuffix(".lock.txt") for path in _LOCKS.glob("*.lock.txt")))


def root() -> Path:
    """The folder that holds the environments.

    FIRNLINE_TOOLCHAINS; else `.toolchains` of the project, where there is one; else the one
    beside these sources, where set-up puts them.
    """
    if chosen := os.environ.get("FIRNLINE_TOOLCHAINS"):
        return Path(chosen).resolve()
    project = Path(os.environ.get("FIRNLINE_PROJECT", ".")) / FOLDER
    return project.resolve() if project.is_dir() else _LOCKS.parents[1] / FOLDER


def lock(name: str) -> Path:
    """The lock file of an environment.

    Raises:
        DeliveryError: E60, there is no such environment.
    """
    path = _LOCKS / f"{name}.lock.txt"
    if not path.is_file():
        raise DeliveryError(
            "E60",
            found=f"no environment named {name!r}",
            where="edge/toolchains",
            mend=f"name one of: {', '.join(names())}",
        )
    return path


def environment(name: str) -> Path:
    """The Python of an environment that is installed whole, from today's lock.

    Raises:
        DeliveryError: E60 there is no such environment, E61 it is not installed, or its lock has
            changed since.
    """
    folder, wanted = root() / name, digest(name)
    python, mark = _python(folder), folder / _MARK
    if mark.is_file() and python.exists() and mark.read_text(encoding="utf-8") == wanted:
        return python
    state = "its lock has changed since it was installed" if mark.is_file() else "not installed"
    raise DeliveryError(
        "E61",
        found=f"the {name} tools: {state}",
        where=str(folder),
        mend=f"{Path(sys.executable).name} -m edge.toolchains install {name}",
    )


def install(name: str) -> Path:
    """Make an environment anew from its lock; its Python.

    The mark that `environment` asks for is written last, so that a killed installation does not
    count. Hashes alone decide what is installed, from whatever mirror the machine has.

    Raises:
        DeliveryError: E60 there is no such environment, E62 the installer failed.
    """
    held, folder = lock(name), root() / name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        venv.create(folder, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        # Debian's Python comes without what puts pip into an environment.
        mend = "make its folder writable, and install python3-venv where the system has it apart"
        raise DeliveryError("E62", found=str(error), where=str(folder), mend=mend) from error
    python = _python(folder)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(held)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DeliveryError(
            "E62",
            found="\n".join(done.stderr.strip().splitlines()[-_TAIL:]) or "pip failed",
            where=str(held),
            mend="see that the machine reaches a package index, then install again",
        )
    (folder / _MARK).write_text(digest(name), encoding="utf-8")
    return python


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def digest(name: str) -> str:
    """sha256 of an environment's lock, hexadecimal: what its tools compute depends on it alone.

    Raises:
        DeliveryError: E60, there is no such environment.
    """
    return hashlib.sha256(lock(name).read_bytes()).hexdigest()
