from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.evidence.pairing import Pairs
from firnline.evidence.shadow import Plan, judge, pairs_to_go

PLAN = Plan(harm_limit=0.02)
KINDS = st.lists(st.sampled_from(["same", "win", "loss", "open"]), max_size=400)


def pairs_of(kinds: list[str]) -> Pairs:
    """The candidate flags what the live model does not; who is right follows from the label."""
    what = np.array(kinds, str)
    count = len(what)
    return Pairs(
        entities=np.array([f"d{number}" for number in range(count)], str),
        times=np.arange(count, dtype=np.int64),
        candidate=what != "same",
        live=np.zeros(count, bool),
        faulty=what == "win",
        known=what != "open",
    )


def test_without_a_live_model_it_is_the_first() -> None:
    decision = judge("x", None)
    assert (decision.verdict, decision.rules) == ("first", ("SH0",))


def test_a_harmless_candidate_is_accepted() -> None:
    decision = judge("x", pairs_of(["same"] * 300), PLAN)
    assert decision.verdict == "accept"
    after = decision.numbers["decided_after_pairs"]
    assert after == pairs_to_go(0, 0, PLAN)


def test_a_better_candidate_is_accepted_though_it_loses_some() -> None:
    decision = judge("x", pairs_of(["win", "same", "win", "win", "loss"] * 12), PLAN)
    assert decision.verdict == "accept"
    assert decision.numbers["candidate_losses"] == 12


def test_a_worse_candidate_is_rejected() -> None:
    decision = judge("x", pairs_of(["same", "loss", "loss", "loss", "win"] * 20), PLAN)
    assert (decision.verdict, decision.rules) == ("reject", ("SH2",))


def test_little_evidence_is_undecided_and_says_what_is_missing() -> None:
    decision = judge("x", pairs_of(["same"] * 50))
    assert decision.verdict == "undecided"
    more = decision.numbers["more_pairs_if_all_agree"]
    assert more == pairs_to_go(50, 0, Plan())
    assert f"{more:,} more pairs" in decision.reason


def test_no_pairs_are_undecided() -> None:
    assert judge("x", pairs_of([])).verdict == "undecided"


def test_without_labels_disagreements_count_as_losses() -> None:
    assert judge("x", pairs_of(["same"] * 300 + ["open"]), PLAN).verdict == "accept"
    assert judge("x", pairs_of(["open", "same", "same"] * 100), PLAN).verdict == "undecided"


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(0, 400))
def test_looking_early_never_changes_a_verdict_already_reached(
    kinds: list[str], looked: int
) -> None:
    early, late = judge("x", pairs_of(kinds[:looked]), PLAN), judge("x", pairs_of(kinds), PLAN)
    if early.verdict != "undecided":
        assert late.verdict == early.verdict


@settings(max_examples=60, deadline=None)
@given(KINDS)
def test_a_label_that_comes_late_takes_nothing_back(kinds: list[str]) -> None:
    def verdict(truth: str) -> str:
        return judge(
            "x", pairs_of([truth if kind == "open" else kind for kind in kinds]), PLAN
        ).verdict

    before = judge("x", pairs_of(kinds), PLAN).verdict
    if before == "accept":
        assert verdict("win") == "accept"
    if before == "reject":
        assert verdict("loss") == "reject"


def test_the_pairs_still_missing_are_exact() -> None:
    kinds = ["same"] * 30 + ["win", "win", "loss"]
    more = judge("x", pairs_of(kinds), PLAN).numbers["more_pairs_if_all_agree"]
    assert isinstance(more, int)
    assert judge("x", pairs_of([*kinds, *["same"] * (more - 1)]), PLAN).verdict == "undecided"
    assert judge("x", pairs_of([*kinds, *["same"] * more]), PLAN).verdict == "accept"


@pytest.mark.parametrize("harm", [0.05, 0.02])
def test_a_candidate_that_harms_at_the_limit_is_rarely_accepted(harm: float) -> None:
    random = np.random.default_rng(3)
    plan, runs, accepted = Plan(harm_limit=harm), 150, 0
    for _ in range(runs):
        draws = random.random(1_500)
        kinds = np.where(draws < harm, "loss", np.where(draws < 2 * harm, "win", "same"))
        accepted += judge("x", pairs_of(kinds.tolist()), plan).verdict == "accept"
    assert accepted / runs < 0.08


def test_the_decision_is_written_the_same_again() -> None:
    pairs = pairs_of(["same", "win"] * 30)
    assert judge("x", pairs).document() == judge("x", replace(pairs)).document()
