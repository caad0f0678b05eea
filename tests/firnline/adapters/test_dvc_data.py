import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dvc.cli import main

from firnline.adapters.dvc_data import current, snapshot
from firnline.digest import tree_digest
from firnline.errors import ContractError

# DVC's own use of pygtrie.
pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")

PATTERNS = ("raw/*.csv", "tanks.csv")


def dvc(project: Path, *words: str) -> None:
    assert main(["--cd", str(project), *words]) == 0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "raw").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "raw" / f"{name}.csv").write_text(f"x\n{name}\n")
    (folder / "tanks.csv").write_text("tank\n1\n")
    (folder / "notes.txt").write_text("not data")
    return folder


@pytest.fixture(params=["git", "no git"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    if request.param == "git":
        subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def refused(code: str, source: Path, name: str, project: Path) -> ContractError:
    with pytest.raises(ContractError) as caught:
        snapshot(source, name, project, patterns=PATTERNS)
    assert caught.value.code == code
    return caught.value


def test_dvc_itself_accepts_and_restores_it(
    source: Path, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = snapshot(source, "tank", project, patterns=PATTERNS)
    second = snapshot(source / "tanks.csv", "other", project)
    assert first.path == project / "data/tank" and not first.reused
    assert first.sha256 == tree_digest(first.path)
    assert (first.files, first.dvc[-4:], second.files) == (3, ".dir", 1)
    assert not (first.path / "notes.txt").exists()
    outs = yaml.safe_load((project / "data.dvc").read_text())["outs"]
    assert [out["path"] for out in outs] == ["data/other", "data/tank"]
    dvc(project, "status")
    assert "up to date" in capsys.readouterr().out
    shutil.rmtree(project / "data")
    dvc(project, "checkout")
    assert tree_digest(first.path) == first.sha256
    dvc(project, "remote", "add", "--local", "shelf", str(tmp_path / "shelf"))
    dvc(project, "push", "--remote", "shelf")
    assert len(list((tmp_path / "shelf").rglob("*.dir"))) == 2


def test_the_same_source_is_reused_and_another_takes_its_place(source: Path, plain: Path) -> None:
    first = snapshot(source, "tank", plain, patterns=PATTERNS)
    again = snapshot(source, "tank", plain, patterns=PATTERNS)
    assert again.reused and again.sha256 == first.sha256
    (source / "raw/c.csv").write_text("x\nc\n")
    (source / "raw/a.csv").unlink()
    third = snapshot(source, "tank", plain, patterns=PATTERNS)
    assert third.sha256 != first.sha256 and third.dvc != first.dvc
    assert sorted(path.name for path in (third.path / "raw").iterdir()) == ["b.csv", "c.csv"]
    assert len(yaml.safe_load((plain / "data.dvc").read_text())["outs"]) == 1
    assert current("tank", plain) == snapshot(source, "tank", plain, patterns=PATTERNS)


def test_a_source_already_in_place_is_recorded(source: Path, plain: Path) -> None:
    shutil.copytree(source, plain / "data/tank")
    taken = snapshot(plain / "data/tank", "tank", plain)
    assert taken.files == 4 and taken.sha256 == tree_digest(source)
    assert snapshot(plain / "data/tank", "tank", plain).reused


def test_editing_the_source_leaves_the_snapshot(source: Path, plain: Path) -> None:
    taken = snapshot(source, "tank", plain, patterns=PATTERNS)
    with (source / "raw/a.csv").open("a") as stream:
        stream.write("more\n")
    assert tree_digest(taken.path) == taken.sha256


def test_current_tells_none_gone_and_changed(source: Path, plain: Path) -> None:
    assert current("tank", plain) is None
    taken = snapshot(source, "tank", plain, patterns=PATTERNS)
    shutil.rmtree(taken.path)
    back = current("tank", plain)
    assert back is not None and tree_digest(back.path) == taken.sha256
    changed = taken.path / "tanks.csv"
    changed.unlink()
    changed.write_text("tank\n2\n")
    with pytest.raises(ContractError) as caught:
        current("tank", plain)
    assert caught.value.code == "C10" and "dvc checkout" in caught.value.mend
    shutil.rmtree(taken.path)
    shutil.rmtree(plain / ".dvc/cache")
    assert current("tank", plain) is None


def test_what_a_killed_run_left_does_not_count(source: Path, plain: Path) -> None:
    taken = snapshot(source, "tank", plain, patterns=PATTERNS)
    taken.path.rename(plain / "data/.tank.old")
    (plain / "data/.tank.partial").mkdir()
    (plain / "data/.tank.partial/half").write_text("half")
    (source / "raw/c.csv").write_text("x\nc\n")
    after = snapshot(source, "tank", plain, patterns=PATTERNS)
    assert after.files == 4
    assert [p.name for p in (plain / "data").iterdir() if p.is_dir()] == ["tank"]


def test_paths_and_names_that_are_refused(source: Path, plain: Path, tmp_path: Path) -> None:
    refused("C01", tmp_path / "gone", "tank", plain)
    refused("C01", tmp_path / "project", "tank", plain)
    refused("C08", source, "../tank", plain)
    (source / "raw/z.csv").symlink_to("/etc/hostname")
    refused("C08", source, "tank", plain)
    assert not (plain / "data/tank").exists() and not (plain / "data.dvc").exists()


def test_a_broken_record_is_told(source: Path, plain: Path) -> None:
    (plain / "data.dvc").write_text("outs: [")
    assert "version control" in refused("C10", source, "tank", plain).mend
    (plain / "data.dvc").write_text("outs:\n- md5: 1\n")
    refused("C10", source, "tank", plain)


FULL_DISK = """
import resource, sys
from pathlib import Path
from firnline.adapters.dvc_data import snapshot
from firnline.errors import ContractError
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    snapshot(Path(sys.argv[1]), "tank", Path(sys.argv[2]), patterns=("raw/*.csv", "tanks.csv"))
except ContractError as error:
    print(error.code)
"""


def test_a_full_disk_keeps_the_earlier_snapshot(source: Path, plain: Path) -> None:
    taken = snapshot(source, "tank", plain, patterns=PATTERNS)
    (source / "raw/large.csv").write_bytes(b"x" * 20_000)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, source, plain],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "C09", done.stderr
    kept = current("tank", plain)
    assert kept is not None and kept.sha256 == taken.sha256
    assert [path.name for path in (plain / "data").iterdir() if path.is_dir()] == ["tank"]


def test_no_network_is_used(source: Path, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*where: object) -> None:
        raise AssertionError(f"a connection to {where}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    taken = snapshot(source, "tank", plain, patterns=PATTERNS)
    shutil.rmtree(taken.path)
    assert current("tank", plain) is not None
