"""`firnline doctor`: what this machine has, what it lacks, and the mend."""

import importlib.metadata
import os
import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from firnline import wiring
from firnline.cli.show import print_json, screen
from firnline.telemetry import SWITCHES

_PACKAGES = ("prefect", "feast", "dvc", "evidently", "onnxruntime", "mlflow", "duckdb")
_FREE_GB = 5.0
_MEMORY_GB = 3.0
_SQLITE = (3, 24)  # Prefect's upserts


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        name: What.
        good: Whether it will do.
        found: What was found.
        mend: What to do when it will not.
    """

    name: str
    good: bool
    found: str
    mend: str = ""


def examine(target: str | None = None, *, as_json: bool) -> None:
    """Look at everything, or at what one target needs; exit 1 when something is missing.

    Raises:
        DeliveryError: E80 there is no such target, E81 its profile does not fit the schema.
    """
    if target is None:
        findings = [look() for look in _LOOKS] + [package(name) for name in _PACKAGES]
    else:
        from firnline.cli.doctor_target import of_target

        findings = of_target(target)
    if as_json:
        print_json(
            {"good": all(f.good for f in findings), "findings": [asdict(f) for f in findings]}
        )
    else:
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            mark = "[green]ok[/green]" if finding.good else "[red]no[/red]"
            table.add_row(mark, finding.name, finding.found, "" if finding.good else finding.mend)
        screen().print(table)
    sys.exit(0 if all(finding.good for finding in findings) else 1)


def _python() -> Finding:
    good = sys.version_info[:2] in {(3, 11), (3, 12)}
    return Finding("Python", good, platform.python_version(), "use Python 3.11 or 3.12")


def _git() -> Finding:
    found = shutil.which("git")
    return Finding("git", found is not None, found or "not found", "apt-get install git")


def _make() -> Finding:
    found = shutil.which("make")
    return Finding("make", found is not None, found or "not found", "apt-get install make")


def _disk() -> Finding:
    state = wiring.settings().state
    place = next(folder for folder in (state, *state.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 1e9
    mend = f"{_FREE_GB:g} GB are needed; FIRNLINE_HOME chooses another disk"
    return Finding("free disk", free >= _FREE_GB, f"{free:.0f} GB at {place}", mend)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return Finding(
        "memory", total >= _MEMORY_GB, f"{total:.0f} GB", f"the demo needs {_MEMORY_GB:g} GB"
    )


def _writable() -> Finding:
    state = wiring.settings().state
    place = next(folder for folder in (state, *state.parents) if folder.exists())
    good = os.access(place, os.W_OK)
    return Finding("state folder", good, str(state), f"make {place} writable")


def _sqlite() -> Finding:
    good = sqlite3.sqlite_version_info[:2] >= _SQLITE
    return Finding("SQLite", good, sqlite3.sqlite_version, "use a Python with SQLite 3.24 or newer")


def _telemetry() -> Finding:
    on = [name for name, value in SWITCHES.items() if os.environ.get(name) != value]
    found = "off" if not on else f"changed by you: {', '.join(on)}"
    return Finding("telemetry", not on, found, "unset these variables")


def _lock() -> Finding:
    path = Path("requirements.lock.txt")
    if not path.is_file():
        return Finding("lock", True, "none here (installed as a package)")
    unlike = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, found, rest = line.partition("==")
        if found and not line.startswith((" ", "#")) and name.partition("[")[0] in _PACKAGES:
            locked = rest.split()[0]
            if importlib.metadata.version(name.partition("[")[0]) != locked:
                unlike.append(name)
    found = "as installed" if not unlike else f"differs: {', '.join(unlike)}"
    return Finding("lock", not unlike, found, "make setup")


def package(name: str) -> Finding:
    """A package and its version, or that it is missing."""
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", "make setup")


_LOOKS: tuple[Callable[[], Finding], ...] = (
    *(_python, _git, _make, _disk, _memory, _writable, _sqlite, _telemetry, _lock),
)
