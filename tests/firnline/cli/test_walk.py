"""What people and machines see of a walk."""

import json

import pytest

from firnline.cli.show import screen
from firnline.cli.walk import tree, walk_answer
from firnline.errors import DeliveryError, EvidenceError
from flows.walk_links import Seen, Trail, Walk

RECORD = {
    "answer": "4849f8950cf0e8f42ad6cf9457bd6036",
    "device": "unit-[1]",
    "score": 0.25,
    "flagged": True,
    "fault": "slow_leak",
    "at": "2026-02-02T00:00:00.000+00:00",
}


def trail() -> Trail:
    made = Trail()
    made.look("answer", lambda: (Seen("recomputed", {"answer": "ab" * 32}, ("one [line]",)), 1))

    def broken():
        raise EvidenceError("W5", found="0.3, not 0.25", where="here", mend="look at the device")

    made.look("score", broken)
    made.skip("readings", because="nothing is known")
    return made


def test_a_trail_goes_on_behind_a_broken_link() -> None:
    made = trail()
    walk = Walk(RECORD, tuple(made.links))
    assert [(link.name, link.mark) for link in walk.links] == [
        ("answer", "holds"),
        ("score", "broken"),
        ("readings", "unseen"),
    ]
    assert not walk.whole
    assert Walk(RECORD, walk.links[:1]).whole
    document = json.loads(json.dumps(walk.document()))
    assert document["links"][1]["error"]["code"] == "W5"
    assert document["links"][0]["digests"] == {"answer": "ab" * 32}


def test_what_a_link_leads_to_is_given_and_a_broken_one_leads_nowhere() -> None:
    made = Trail()
    assert made.look("one", lambda: (Seen("fine"), 42)) == 42
    with pytest.raises(ZeroDivisionError):
        made.look("two", lambda: (Seen("fine"), 1 // 0))


def test_the_tree_marks_every_link(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    screen().print(tree(Walk(RECORD, tuple(trail().links))))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert RECORD["answer"] in lines[0]
    for told in ("unit-[1]", "slow_leak", "#abababababab", "one [line]", "look at the device"):
        assert told in shown
    marks = [line for line in lines if line.startswith(("├── ", "└── "))]
    assert [mark[4:].split("  ")[0] for mark in marks] == ["ok", "broken W5", "not seen"]
    assert max(map(len, lines)) <= 60


def test_a_log_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    escape = "\x1b]0;owned\x07\x1b[2J\u202e"
    made = Trail()
    made.look("answer", lambda: (Seen(escape, {}, (escape,)), 1))

    def broken():
        raise EvidenceError("W5", found=escape, where=escape, mend="look at the device")

    made.look("score", broken)
    record = RECORD | dict.fromkeys(("answer", "device", "score", "fault"), escape)
    screen().print(tree(Walk(record, tuple(made.links))))
    shown = capsys.readouterr().out
    assert "owned" in shown and "look at the device" in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}


def test_no_log_is_an_error_and_not_a_walk(tmp_path) -> None:
    with pytest.raises(DeliveryError, match=r"W1.*no such file"):
        walk_answer("newest", tmp_path / "scores", None, as_json=False)
    (tmp_path / "scores").mkdir()
    with pytest.raises(DeliveryError, match=r"W1.*none of its 0 answers"):
        walk_answer("newest", tmp_path / "scores", None, as_json=False)
