"""A PostgreSQL server of a test's own, on a socket in a folder that nobody else can enter."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# The server refuses to run as root.
_USER = "postgres"
_DATABASE = "postgres"


@contextmanager
def server() -> Iterator[str]:
    """URL of a fresh server as SQLAlchemy takes it; the server is gone afterwards."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="firnline-pg-"))
    user = _USER if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            cwd=folder,
        )

    data = folder / "data"
    try:
        run("initdb", "-D", str(data), "-A", "trust", "-U", _USER, "--no-sync", "-E", "UTF8")
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c shared_buffers=16MB"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(folder / "log"), "-o", settings, "start")
        try:
            yield f"postgresql+psycopg://{_USER}@/{_DATABASE}?host={folder}"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Folder of the server's programs; the newest version that is installed."""
    found = shutil.which("initdb")
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    usable = (
        [Path(found).parent] if found else [path for path in folders if (path / "initdb").exists()]
    )
    if usable:
        return usable[-1]
    reason = "no PostgreSQL server is installed"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
