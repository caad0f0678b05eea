"""The lock on disk: two files as one, one writer at a time, and git's union of branches."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from feature_repo.refrigeration.transforms import VIEWS as DEVICE
from feature_repo.skab.transforms import VIEWS as RIG
from firnline.adapters.lock_base import committed
from firnline.adapters.lock_file import (
    effective_lock,
    examine_lock,
    lock_files,
    project_lock_path,
    publish,
    read_lock,
    shipped_lock_path,
)
from firnline.contracts.features import WindowView
from firnline.contracts.lock import Lock, add, parse, render
from firnline.errors import HandshakeError

ROOT = Path(__file__).parents[3]
VIEW = replace(DEVICE[0], name="pump_window", entity="pump", key="pump_id")
SECOND = replace(VIEW, version=2, ttl_seconds=7200)
PUBLISHES = """
import sys
from dataclasses import replace
from pathlib import Path

from feature_repo.skab.transforms import VIEWS
from firnline.adapters.lock_file import publish

first, project = int(sys.argv[1]), Path(sys.argv[2])
for number in range(first, 61, 2):
    publish(project, [replace(VIEWS[0], name="pump_window", version=number)])
"""


def test_what_ships_is_published_in_every_project(tmp_path: Path) -> None:
    shipped = {view.reference: view.digest() for view in (*DEVICE, *RIG)}

    assert {line.reference: line.digest for line in effective_lock(tmp_path)} == shipped
    assert list(tmp_path.iterdir()) == []
    assert lock_files(ROOT) == (shipped_lock_path(),)
    assert lock_files(tmp_path) == (shipped_lock_path(), project_lock_path(tmp_path))


def test_publishing_adds_to_the_projects_own_lock(tmp_path: Path) -> None:
    (first,) = publish(tmp_path, [VIEW, *DEVICE])
    (second,) = publish(tmp_path, [VIEW, SECOND])
    before = project_lock_path(tmp_path).read_bytes()

    assert publish(tmp_path, [SECOND]) == ()
    assert project_lock_path(tmp_path).read_bytes() == before
    assert [first.reference, second.reference] == ["pump_window@v1", "pump_window@v2"]
    assert read_lock(project_lock_path(tmp_path)).lines == (first, second)
    assert len(effective_lock(tmp_path)) == len(DEVICE) + len(RIG) + 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["features.lock"]


@pytest.mark.parametrize("view", [VIEW, DEVICE[0]], ids=["own", "shipped"])
def test_a_published_version_is_not_altered(tmp_path: Path, view: WindowView) -> None:
    publish(tmp_path, [VIEW])
    before = project_lock_path(tmp_path).read_bytes()

    with pytest.raises(HandshakeError) as caught:
        publish(tmp_path, [SECOND, replace(view, ttl_seconds=60)])

    assert caught.value.code == "L1" and "ttl_seconds" in caught.value.found
    assert project_lock_path(tmp_path).read_bytes() == before


def test_a_project_does_not_contradict_what_ships(tmp_path: Path) -> None:
    path = project_lock_path(tmp_path)
    path.parent.mkdir()
    path.write_text(render(add(Lock(), [replace(DEVICE[0], ttl_seconds=60)])))

    with pytest.raises(HandshakeError) as caught:
        effective_lock(tmp_path)

    assert caught.value.code == "L1"
    assert caught.value.where.endswith("feature_repo/features.lock")


def test_order_is_mended_and_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path, [VIEW, SECOND])
    path = project_lock_path(tmp_path)
    whole = path.read_text()
    head, first, second = whole.splitlines(keepends=True)

    path.write_text(head + second + first + second.rstrip())
    assert publish(tmp_path, []) == () and path.read_text() == whole

    path.write_text(head + second + first.replace("3600", "60"))
    with pytest.raises(HandshakeError) as caught:
        publish(tmp_path, [replace(VIEW, version=3)])
    assert caught.value.code == "L3" and "line 3" in caught.value.where


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = project_lock_path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe")

    (breach,) = examine_lock(path, "features.lock")[1]
    assert breach.code == "L2" and "UTF-8" in breach.found
    with pytest.raises(HandshakeError, match="L2"):
        publish(tmp_path, [VIEW])


def test_two_processes_that_publish_at_once_lose_nothing(tmp_path: Path) -> None:
    both = [
        subprocess.Popen([sys.executable, "-c", PUBLISHES, first, str(tmp_path)], cwd=ROOT)
        for first in ("1", "2")
    ]

    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert [line.order[1] for line in read_lock(project_lock_path(tmp_path))] == [*range(1, 61)]


def git(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text((ROOT / ".gitattributes").read_text())
    publish(tmp_path, [VIEW])
    save(tmp_path)
    return tmp_path


def save(folder: Path) -> None:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "Work")


def test_branches_that_publish_merge_without_a_conflict(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "theirs")
    publish(repository, [replace(VIEW, name="valve_window"), SECOND])
    save(repository)
    git(repository, "checkout", "-q", "main")
    publish(repository, [replace(VIEW, name="a_window"), replace(VIEW, name="zone_window"), SECOND])
    save(repository)

    git(repository, "merge", "-q", "theirs")
    publish(repository, [])

    names = [line.reference for line in read_lock(project_lock_path(repository))]
    assert names == [
        "a_window@v1",
        "pump_window@v1",
        "pump_window@v2",
        "valve_window@v1",
        "zone_window@v1",
    ]


def test_what_git_holds(repository: Path) -> None:
    publish(repository, [SECOND])
    held = committed(repository, None)
    assert held is not None and [len(lock) for lock in held] == [1, 1]

    save(repository)
    git(repository, "checkout", "-q", "-b", "work", "HEAD~1")
    held = committed(repository, "main")
    assert held is not None and [len(lock) for lock in held] == [2, 1]

    with pytest.raises(HandshakeError, match="L8"):
        committed(repository, "no-such-branch")
    with pytest.raises(HandshakeError, match="L8"):
        committed(repository, "--all")


def test_where_there_is_no_git(tmp_path: Path) -> None:
    assert committed(tmp_path, None) is None
    git(tmp_path, "init", "-q")
    assert committed(tmp_path, None) is None
    (tmp_path / "file").touch()
    save(tmp_path)
    assert committed(tmp_path, None) == (Lock(), Lock())


def test_the_repositorys_own_lock_is_as_committed_lines_are_written() -> None:
    text = shipped_lock_path().read_text(encoding="utf-8")
    assert render(parse(text, "features.lock")) == text
