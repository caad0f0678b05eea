import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from firnline.adapters.artifact_store import ArtifactStore, write_atomically
from firnline.errors import ContractError

KEY = "k" * 64

WRITER = """
import sys, time
from pathlib import Path
from firnline.adapters.artifact_store import ArtifactStore

def make(out):
    (out / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(float(sys.argv[2]))
    (out / "whole").write_text("whole")
    return {"made_by": sys.argv[3]}

document = ArtifactStore(Path(sys.argv[1])).build("pump", "train", "k" * 64, make)
print(document["made_by"], flush=True)
"""


def make(out: Path) -> dict[str, Any]:
    (out / "sub").mkdir()
    (out / "sub" / "file").write_text("content")
    return {"rows": 3}


def refuse(_out: Path) -> dict[str, Any]:
    raise AssertionError("a whole artifact is made again")


def writer(root: Path, seconds: float, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(seconds), name],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_whole_artifact_is_found_again(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    made = store.build("pump", "train", KEY, make)

    assert store.build("pump", "train", KEY, refuse) == made == {"rows": 3}


@pytest.mark.parametrize("harm", ["altered", "lost", "added", "record"])
def test_a_harmed_artifact_is_made_anew(tmp_path: Path, harm: str) -> None:
    store = ArtifactStore(tmp_path)
    store.build("pump", "train", KEY, make)
    folder = store.folder("pump", "train", KEY)
    if harm == "altered":
        (folder / "sub" / "file").write_text("c0ntent")
    elif harm == "lost":
        (folder / "sub" / "file").unlink()
    elif harm == "added":
        (folder / "stray").write_text("")
    else:
        (folder / "result.json").write_text("{")

    assert store.whole("pump", "train", KEY) is None
    store.build("pump", "train", KEY, make)

    assert (folder / "sub" / "file").read_text() == "content"
    assert store.whole("pump", "train", KEY) == {"rows": 3}


def test_nothing_of_a_failed_build_stays(tmp_path: Path) -> None:
    def fail(out: Path) -> dict[str, Any]:
        (out / "half").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ArtifactStore(tmp_path).build("pump", "train", KEY, fail)

    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def fill(_out: Path) -> dict[str, Any]:
        with Path("/dev/full").open("w") as full:
            full.write("x" * 10_000)
        return {}

    with pytest.raises(ContractError) as caught:
        ArtifactStore(tmp_path).build("pump", "train", KEY, fill)

    assert caught.value.code == "C09"
    assert os.strerror(errno.ENOSPC) in caught.value.found


def test_a_killed_writer_leaves_nothing_that_counts(tmp_path: Path) -> None:
    process = writer(tmp_path, 60, "killed")
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = ArtifactStore(tmp_path)

    assert store.whole("pump", "train", KEY) is None
    assert store.build("pump", "train", KEY, make) == {"rows": 3}
    assert list(tmp_path.rglob("half")) == []


def test_of_two_writers_one_makes_and_the_other_finds(tmp_path: Path) -> None:
    first = writer(tmp_path, 1.0, "first")
    assert first.stdout is not None
    assert first.stdout.readline() == "writing\n"
    time.sleep(0.1)
    second = writer(tmp_path, 0.0, "second")

    assert first.communicate()[0] == "first\n"
    assert second.communicate()[0] == "first\n"


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "text"
    write_atomically(path, "one")

    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")

    assert path.read_text() == "one"
    assert list(path.parent.iterdir()) == [path]


def test_an_artifact_is_found_by_what_its_document_says(tmp_path):
    store = ArtifactStore(tmp_path)

    def make(value):
        def filled(out):
            (out / "file").write_text(value)
            return {"value": value}

        return filled

    for key in ("a", "b"):
        store.build("small", "step", key, make(key))
    folder, document = store.find("small", "step", value="a")
    assert (folder, document) == (store.folder("small", "step", "a"), {"value": "a"})
    assert store.find("small", "step", value="c") is None
    assert store.find("small", "other") is None
    (folder / "file").write_text("altered")
    assert store.find("small", "step", value="a") is None
    (store.folder("small", "step", "b") / "result.json").write_bytes(b"\xff")
    assert store.find("small", "step") is None
