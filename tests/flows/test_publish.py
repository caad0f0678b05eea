"""What is said of an offered release is done and written down, whoever says it and how often."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from firnline import wiring
from firnline.contracts.offer import Offer
from firnline.errors import EvidenceError
from firnline.workload import locate
from flows.offers import markdown, offer
from flows.publish import Approval, decide, release_of, settled
from flows.publish import publish as publish_flow

RELEASE = "a" * 64
OFFER = Offer(
    "refrigeration", RELEASE, "beta", {"cpu-arm64": "not run"}, {"shadow": "accept: a | b\nc"}
)
EXPORTED = {"bundle": RELEASE, "targets": [{"target": "cpu-arm64", "proof": {"verdict": "accept"}}]}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FIRNLINE_PROJECT", str(tmp_path))
    monkeypatch.setenv("FIRNLINE_HOME", ".firnline")
    wiring.settings.cache_clear()
    yield tmp_path
    wiring.settings.cache_clear()


def test_without_a_channel_nothing_is_offered(project: Path) -> None:
    assert offer(locate("refrigeration", project), EXPORTED, {}) is None
    assert not (project / ".firnline" / "offers").exists()


def test_a_refusal_is_written_down_and_stands(project: Path) -> None:
    wiring.offers().offer(OFFER)
    word = Approval(approver="Ada", approve=False, reason="drift in two fleets")
    decision = decide(OFFER, word)
    assert (decision.kind, decision.verdict) == ("publication", "refused")
    assert decision.reason == "Ada: not published; drift in two fleets"
    assert decision.inputs == {"bundle": RELEASE}
    (kept,) = wiring.ledger().read("refrigeration")
    assert kept == decision.document()
    # Whoever resumes a run that waited meanwhile is told what was said, and changes nothing.
    again = decide(OFFER, Approval(approver="Bo"))
    assert (again.verdict, again.numbers["approver"]) == ("refused", "Ada")
    assert len(wiring.ledger().read("refrigeration")) == 1


def test_a_settled_offer_is_told_by_whom() -> None:
    told = settled(OFFER.settled("published", "Ada", "to 10 % of beta"))
    assert (told.verdict, told.reason, told.numbers) == (
        "published",
        "to 10 % of beta",
        {"approver": "Ada"},
    )


def test_a_release_whose_export_is_gone_stays_offered() -> None:
    wiring.offers().offer(OFFER)
    with pytest.raises(EvidenceError, match=r"E97.*aaaaaaaaaaaa"):
        decide(OFFER, Approval(approver="Ada"))
    assert wiring.offers().waiting() == [replace(OFFER, number=1)]
    assert wiring.ledger().read("refrigeration") == []


def test_which_release_is_meant_has_to_be_plain() -> None:
    with pytest.raises(EvidenceError, match=r"E96.*none"):
        release_of("refrigeration", None)
    made = wiring.offers().offer(OFFER)
    assert release_of("refrigeration", None) == release_of("refrigeration", RELEASE) == made
    with pytest.raises(EvidenceError, match=r"E96.*release bbbbbbbbbbbb"):
        release_of("refrigeration", "b" * 64)
    other = Offer("refrigeration", "c" * 64, "beta")
    assert wiring.offers().offer(other) == release_of("refrigeration", None)


def test_the_word_on_a_superseded_release_is_refused() -> None:
    made = wiring.offers().offer(OFFER)
    wiring.offers().offer(Offer("refrigeration", "c" * 64, "beta"))
    for approve in (True, False):
        with pytest.raises(EvidenceError, match=r"E98.*cccccccccccc was offered after it"):
            decide(made, Approval(approver="Ada", approve=approve))
    assert wiring.ledger().read("refrigeration") == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"approver": ""},
        {"approver": "Ada", "share": 0},
        {"approver": "Ada", "share": 1.5},
        {"approver": "Ada", "track": "nightly"},
        {"approver": "Ada", "reason": "x" * 501},
    ],
)
def test_an_approval_is_typed(given) -> None:
    with pytest.raises(ValidationError):
        Approval(**given)


def test_the_page_tells_what_an_approver_needs() -> None:
    page = markdown(OFFER)
    for told in (
        RELEASE,
        "not run",
        "accept: a \\| b c",
        "firnline channel publish refrigeration --proved",
        "No proof accepts **cpu-arm64**",
    ):
        assert told in page
    # A cell never breaks its table.
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.replace("\\|", "").count("|") == 3 for line in rows)


def test_a_release_that_is_proved_for_all_is_asked_of_nothing_more() -> None:
    proved = Offer("refrigeration", RELEASE, "beta", {"cpu-x86_64": "accept"})
    assert (proved.proved, proved.unproved, OFFER.unproved) == (("cpu-x86_64",), (), ("cpu-arm64",))
    assert "No proof" not in markdown(proved)
    assert proved.command == "firnline channel publish refrigeration"


def test_a_run_started_by_hand_in_other_words_is_left_alone() -> None:
    from flows.waiting_runs import _offer

    made = wiring.offers().offer(OFFER)
    assert _offer({"ensemble": "refrigeration", "release": RELEASE}) == made
    for other in ({"ensemble": "ensembles/pump", "release": RELEASE}, {"ensemble": "pump"}):
        assert _offer(other) is None


def test_a_publish_run_can_be_taken_up_again() -> None:
    # A suspended run is rescheduled from its result store.
    assert publish_flow.persist_result
