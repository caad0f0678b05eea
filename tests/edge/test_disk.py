import os
from pathlib import Path

from edge.agent.lock import exclusive
from edge.disk import RealDisk


def test_nobody_else_may_write_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        RealDisk().append(tmp_path / "a/b/log", b"line")
        with exclusive(tmp_path / "c/state"):
            pass
    finally:
        os.umask(before)
    for name in ("a", "a/b", "a/b/log", "c", "c/state"):
        assert not (tmp_path / name).stat().st_mode & 0o022, name
