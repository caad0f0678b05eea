"""A folder that is handed over: what lies beside it is nobody else's business."""

import errno

import pytest

from edge.agent.handover import earlier, leave
from edge.disk import RealDisk
from firnline.errors import DeliveryError


class Full(RealDisk):
    """A disk with room for one more file."""

    def write(self, path, content, mode=0o644):
        if path.name != "a.c":
            raise OSError(errno.ENOSPC, "no room", str(path))
        super().write(path, content, mode)


def test_leftovers_of_a_killed_pull_go_and_nothing_of_others(tmp_path):
    out = tmp_path / "[ab]"
    others = [".a.1.new.partial", ".[ab].tar.partial", ".out.1.new.partial"]
    for name in [*others, ".[ab].1.new.partial", ".[ab].22.old.partial"]:
        (tmp_path / name).mkdir()

    assert leave(out, {"a.c": b"1"}, {}, earlier(out), RealDisk())
    assert not leave(out, {"a.c": b"1"}, {}, earlier(out), RealDisk())
    assert leave(out, {"a.c": b"2"}, {}, earlier(out), RealDisk())

    assert (out / "a.c").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, out.name])


def test_a_full_disk_gets_its_bytes_back(tmp_path):
    with pytest.raises(OSError, match="no room"):
        leave(tmp_path / "out", {"a.c": b"1", "b.c": b"2"}, {}, None, Full())

    assert not list(tmp_path.iterdir())


def test_a_record_that_no_pull_left_is_refused(tmp_path):
    (tmp_path / "pulled.json").write_bytes(b"[" * 100_000)
    with pytest.raises(DeliveryError, match="U43"):
        earlier(tmp_path)
