import errno
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.agent.config import Scores
from edge.agent.score_records import answer_id, line, parse, row_digest
from edge.agent.scores import ScoreLog, closed_segments, read, summary
from edge.disk import RealDisk
from firnline.digest import bytes_digest, digest
from firnline.errors import DeliveryError

SMALL = Scores(max_bytes=4096, segment_bytes=1024, batch_records=1, batch_seconds=0)


class FullDisk(RealDisk):
    """A disk on which so many more bytes fit; what does not fit is torn off in the middle."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room

    def append(self, path: Path, content: bytes, *, sync: bool = True) -> None:
        fits = content[: max(0, self.room)]
        self.room -= len(content)
        super().append(path, fits, sync=sync)
        if len(fits) < len(content):
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, path: Path, content: bytes | Iterable[bytes], mode: int = 0o644) -> None:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(path, content, mode)

    def remove(self, path: Path) -> None:
        self.room += path.stat().st_size if path.is_file() else 0
        super().remove(path)


def record(name: str, score: float = 0.5) -> dict[str, Any]:
    return {"request": name, "score": score}


def log(folder: Path, limits: Scores = SMALL, disk: RealDisk | None = None) -> ScoreLog:
    return ScoreLog(folder, limits, disk or RealDisk())


def names(folder: Path) -> list[str]:
    return [found["request"] for found in read(folder)]


def test_answers_are_read_back_in_order_and_as_they_were(tmp_path: Path) -> None:
    written = log(tmp_path)
    for place in range(5):
        assert written.add(record(f"r{place}", float(np.float32(0.1) * place))) == place
    found = list(read(tmp_path))
    assert [item["n"] for item in found] == [0, 1, 2, 3, 4]
    assert np.float32(found[3]["score"]) == np.float32(float(np.float32(0.1) * 3))
    assert summary(tmp_path) == written.summary
    lines = (tmp_path / "open.jsonl").read_text().splitlines()
    assert [json.loads(text)["request"] for text in lines] == [f"r{n}" for n in range(5)]


def test_records_wait_for_a_batch_or_for_a_while(tmp_path: Path) -> None:
    now = [0.0]
    limits = Scores(batch_records=3, batch_seconds=5)
    written = ScoreLog(tmp_path, limits, RealDisk(), lambda: now[0])
    written.add(record("a"))
    written.add(record("b"))
    assert names(tmp_path) == []
    written.add(record("c"))
    assert names(tmp_path) == ["a", "b", "c"]
    written.add(record("d"))
    now[0] = 4.9
    written.tick()
    assert names(tmp_path) == ["a", "b", "c"]
    now[0] = 5.0
    written.tick()
    assert names(tmp_path) == ["a", "b", "c", "d"]


def test_a_request_is_taken_once_in_a_segment_and_after_a_start(tmp_path: Path) -> None:
    written = log(tmp_path)
    assert written.add(record("a")) == 0
    assert written.add(record("a", 0.7)) is None
    again = log(tmp_path)
    assert again.add(record("a")) is None
    assert again.add(record("b")) == 1
    again.close_segment()
    assert again.add(record("a")) == 2
    assert names(tmp_path) == ["a", "b", "a"]


def test_segments_close_at_their_size_under_their_digest(tmp_path: Path) -> None:
    written = log(tmp_path)
    for place in range(40):
        written.add(record(f"request-{place}"))
    closed = closed_segments(tmp_path)
    assert len(closed) >= 2
    for path in closed:
        first, _, sha256 = path.stem.partition("-")
        assert bytes_digest(path.read_bytes()) == sha256
        assert next(iter(read(path)))["n"] == int(first)
    assert [found["n"] for found in read(tmp_path)] == list(range(40))


def test_a_segment_that_was_changed_is_refused(tmp_path: Path) -> None:
    written = log(tmp_path)
    written.add(record("a"))
    closed = written.close_segment()
    assert closed is not None
    closed.write_bytes(closed.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(DeliveryError, match="was changed") as caught:
        list(read(tmp_path))
    assert caught.value.code == "U34"


def test_the_oldest_go_first_and_are_counted(tmp_path: Path) -> None:
    written = log(tmp_path)
    for place in range(400):
        written.add(record(f"request-{place}"))
    numbers = [found["n"] for found in read(tmp_path)]
    assert numbers == list(range(numbers[0], 400))
    assert written.summary.dropped == numbers[0] > 0
    assert written.summary.bytes <= SMALL.max_bytes
    assert log(tmp_path).summary.dropped == numbers[0]


def test_numbers_go_on_when_everything_was_taken_away(tmp_path: Path) -> None:
    written = log(tmp_path)
    for place in range(7):
        written.add(record(f"r{place}"))
    closed = written.close_segment()
    assert closed is not None
    closed.unlink()
    assert log(tmp_path).add(record("next")) == 7


@pytest.mark.parametrize(
    "content",
    [
        '{"next": "3"',
        "[" * 100_000,
        "[3]",
        '{"next": -5, "dropped": 0}',
        '{"next": 1000000000000, "dropped": 0}',
        '{"next": 3, "dropped": -1}',
    ],
)
def test_a_count_that_is_damaged_is_made_anew(tmp_path: Path, content: str) -> None:
    written = log(tmp_path)
    for place in range(3):
        written.add(record(f"r{place}"))
    written.close_segment()
    (tmp_path / "log.json").write_text(content)
    again = log(tmp_path)
    assert again.summary.dropped == 0
    assert again.add(record("next")) == 3


def test_a_drop_that_was_cut_off_is_counted_once(tmp_path: Path) -> None:
    written = log(tmp_path)
    for place in range(3):
        written.add(record(f"r{place}"))
    closed = written.close_segment()
    assert closed is not None
    document = {"next": 3, "dropped": 3, "dropping": closed.name}
    (tmp_path / "log.json").write_text(json.dumps(document))
    assert log(tmp_path).summary.dropped == 3
    assert names(tmp_path) == []


def test_a_full_disk_costs_old_segments_and_never_the_service(tmp_path: Path) -> None:
    disk = FullDisk()
    written = log(tmp_path, SMALL, disk)
    for place in range(40):
        written.add(record(f"request-{place}"))
    disk.room = 10
    written.add(record("torn"))
    assert "torn" in names(tmp_path)
    assert written.summary.dropped > 0
    for path in closed_segments(tmp_path):
        path.unlink()
    before, disk.room = written.summary.dropped, 10
    written.add(record("lost"))
    assert written.summary.dropped == before + 1
    disk.room = 1 << 20
    written.add(record("next"))
    assert names(tmp_path)[-1] == "next"
    assert "lost" not in names(tmp_path)


def test_what_a_full_disk_cost_is_known_after_a_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FullDisk(0)
    written = log(tmp_path, SMALL, disk)
    written.add(record("lost"))
    written.add(record("lost too"))
    assert caplog.text.count("answers that are not kept") == 1
    disk.room = 1 << 20
    written.add(record("kept"))
    again = log(tmp_path)
    assert again.summary.dropped == 2
    assert again.add(record("next")) == 3
    assert [found["n"] for found in read(tmp_path)] == [2, 3]


def test_a_segment_that_a_full_disk_cost_is_known_after_a_start(tmp_path: Path) -> None:
    disk = FullDisk()
    written = log(tmp_path, SMALL, disk)
    for name in ("old", "older"):
        written.add(record(name))
    written.close_segment()
    disk.room = 10
    written.add(record("new"))
    assert names(tmp_path) == ["new"]
    assert log(tmp_path).summary.dropped == 2


class Stuck(FullDisk):
    """A disk that appends, and changes no name."""

    stuck = False

    def move(self, old: Path, new: Path) -> None:
        if self.stuck:
            raise OSError(errno.EROFS, "Read-only file system")
        super().move(old, new)

    def remove(self, path: Path) -> None:
        if self.stuck:
            raise OSError(errno.EROFS, "Read-only file system")
        super().remove(path)


def test_a_disk_that_changes_no_names_does_not_stop_who_scores(tmp_path: Path) -> None:
    disk = Stuck()
    written = log(tmp_path, SMALL, disk)
    for place in range(30):
        written.add(record(f"before-{place}"))
    dropped, disk.stuck = written.summary.dropped, True
    for place in range(30):
        written.add(record(f"request-{place}"))
    disk.room = 0
    written.add(record("lost"))
    assert written.summary.dropped == dropped + 1
    disk.stuck, disk.room = False, 1 << 20
    written.add(record("after"))
    found = list(read(tmp_path))
    assert found[-1]["request"] == "after"
    assert "lost" not in {item["request"] for item in found}
    assert not (tmp_path / "open.jsonl").exists()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.binary(max_size=80), st.booleans())
def test_a_power_cut_costs_the_last_records_alone(
    tmp_path: Path, place: int, garbage: bytes, zeros: bool
) -> None:
    lines = [line({**record(f"r{n}"), "n": n}) for n in range(5)]
    content = b"".join(lines)
    cut = place % (len(content) + 1)
    tail = bytes(len(garbage)) if zeros else garbage
    path = tmp_path / "open.jsonl"
    path.write_bytes(content[:cut] + tail)
    whole = max(n for n in range(6) if len(b"".join(lines[:n])) <= cut)
    written = log(tmp_path)
    assert written.summary.next >= whole
    number = written.add(record("after"))
    found = names(tmp_path)
    assert found[-1] == "after"
    assert found[:whole] == [f"r{n}" for n in range(whole)]
    assert number == whole or found[whole:-1] == [f"r{n}" for n in range(whole, 5)]


def test_a_line_is_whole_or_nothing() -> None:
    whole = line({"n": 3, "request": "a"})
    assert parse(whole) == {"n": 3, "request": "a"}
    assert parse(whole.replace(b"a", b"b", 1)) is None
    assert parse(whole[:-1]) is None
    assert parse(line({"request": "a"})) is None
    with pytest.raises(ValueError, match="Out of range"):
        line({"n": 1, "score": float("nan")})


def test_an_answer_is_bound_to_device_release_request_and_row() -> None:
    row = np.array([1.5, np.nan, -0.0], np.float32)
    features = row_digest(row)
    assert features == bytes_digest(row.astype("<f4").tobytes())
    assert features != row_digest(np.array([1.5, np.nan, 0.0], np.float32))
    name = answer_id("unit-1", "a" * 64, "r1", features)
    assert name == digest(["unit-1", "a" * 64, "r1", features])[:32]
    others = {
        answer_id("unit-2", "a" * 64, "r1", features),
        answer_id("unit-1", "b" * 64, "r1", features),
        answer_id("unit-1", "a" * 64, "r2", features),
        answer_id("unit-1", "a" * 64, "r1", "c" * 64),
    }
    assert len(others | {name}) == 5
