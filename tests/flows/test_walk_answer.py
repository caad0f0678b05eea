"""A log that somebody wrote by hand is told from one that a device wrote."""

from pathlib import Path

import pytest

from edge.agent.score_records import line
from firnline.errors import DeliveryError
from flows.walk_answer import find, recomputed


@pytest.mark.parametrize("wanted", ["newest", "one"])
def test_a_record_without_an_answer_is_altered_and_no_crash(tmp_path: Path, wanted: str) -> None:
    path = tmp_path / "open.jsonl"
    path.write_bytes(line({"n": 0, "request": "one"}))
    with pytest.raises(DeliveryError, match=r"W2.*answer"):
        recomputed(find(path, wanted))
    with pytest.raises(DeliveryError, match=r"W1.*none of its 1 answers"):
        find(path, "ffffffff")


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-23:59", "yesterday", "2026-01-01", 5, None])
def test_a_record_of_no_time_is_altered_and_no_crash(tmp_path: Path, time: object) -> None:
    record = {
        "answer": "ab" * 16,
        "request": "one",
        "device": "unit-1",
        "key": "unit-1",
        "window_end": time,
        "release": "cd" * 32,
        "features": "ef" * 32,
        "score": 0.5,
        "flagged": False,
        "fault": None,
    }
    path = tmp_path / "open.jsonl"
    path.write_bytes(line({"n": 0, **record}))
    with pytest.raises(DeliveryError, match="W2"):
        recomputed(find(path, "newest"))
