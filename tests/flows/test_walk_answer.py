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
