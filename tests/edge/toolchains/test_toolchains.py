import sys
import venv

import pytest

from edge import toolchains
from firnline.errors import DeliveryError


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("FIRNLINE_TOOLCHAINS", str(tmp_path))
    return tmp_path


def test_a_missing_environment_names_its_mend(empty):
    with pytest.raises(DeliveryError, match=r"E61.*not installed.*edge\.toolchains install npu"):
        toolchains.environment("npu")


def test_an_unknown_environment_is_refused(empty):
    with pytest.raises(DeliveryError, match=r"E60.*'tpu'.*npu"):
        toolchains.environment("tpu")


def test_an_environment_from_another_lock_does_not_count(empty):
    folder = empty / "npu"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / ".ready").write_text("another lock", encoding="utf-8")
    with pytest.raises(DeliveryError, match=r"E61.*its lock has changed"):
        toolchains.environment("npu")


def bare(folder, **_):
    """An environment without pip."""
    venv.EnvBuilder(symlinks=True).create(folder)


def test_an_environment_that_cannot_be_made_is_told(empty):
    (empty / "npu").write_text("a file in its place", encoding="utf-8")
    with pytest.raises(DeliveryError, match=r"E62.*npu: .*exists.*writable"):
        toolchains.install("npu")


def test_an_environment_that_fails_to_install_does_not_count(empty, tmp_path, monkeypatch):
    locks = tmp_path / "locks"
    locks.mkdir()
    (locks / "bad.lock.txt").write_text("./missing-1-py3-none-any.whl\n", encoding="utf-8")
    monkeypatch.setattr(toolchains, "_LOCKS", locks)
    # Putting pip into an environment takes seconds, and without it the installer fails as well.
    monkeypatch.setattr(toolchains.venv, "create", bare)
    assert toolchains.names() == ("bad",)
    with pytest.raises(DeliveryError, match=r"E62.*bad\.lock\.txt"):
        toolchains.install("bad")
    assert (empty / "bad" / "bin" / "python").exists()
    assert [path.name for path in empty.iterdir()] == ["bad", "locks"]
    with pytest.raises(DeliveryError, match="E61"):
        toolchains.environment("bad")


def test_locks_hold_hashes_and_name_no_host():
    for name in toolchains.names():
        text = toolchains.lock(name).read_text(encoding="utf-8")
        pinned = [line for line in text.splitlines() if "==" in line]
        assert pinned
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "http" not in text
        assert "file:" not in text
