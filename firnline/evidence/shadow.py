"""The shadow's verdict: may the candidate take the live model's place?

| code | verdict | holds when |
|---|---|---|
| SH0 | first | there is nothing to compare with |
| SH1 | accept | "it loses no less often than it wins, and reaches the harm limit" is refuted |
| SH2 | reject | "it loses at most as often as it wins" is refuted |
| SH3 | undecided | neither is; not promoted |
| SH4 | undecided | the live bundle is of another format and cannot be run; not promoted |

The accepting evidence is the mean of two e-processes on the same pairs, one against each half
of that hypothesis; a mean of e-processes is one too, so alpha is spent once. The verdict is the
first boundary reached in time order, hence the same however often the shadow was looked at.
A disagreement without a label counts as a loss where it would help to accept, and as a win
where it would help to reject: labels that come late cannot make either easier.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from firnline.decision import Decision
from firnline.evidence.discordant import loses_more_often, wins_more_often
from firnline.evidence.pairing import Pairs
from firnline.evidence.rare_rate import LIMIT, rarer_than
from firnline.evidence.sequential import FloatArray, accept_from, first_crossing

KIND = "shadow"
_HORIZON_PER_LIMIT = 1_000
_DIGITS = 6
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class Plan:
    """What a release owner fixes before a shadow begins.

    Attributes:
        alpha: Probability of accepting a bad candidate, and of rejecting a good one.
        harm_limit: Share of pairs the candidate may lose and still be called harmless.
    """

    alpha: float = 0.05
    harm_limit: float = LIMIT


@dataclass(frozen=True)
class Evidence:
    """Running log e-values, natural logarithm, each of shape [pairs].

    Attributes:
        better: Against "it loses at least as often as it wins".
        harmless: Against "its losses reach the harm limit".
        worse: Against "it loses at most as often as it wins".
    """

    better: FloatArray
    harmless: FloatArray
    worse: FloatArray

    @property
    def acceptable(self) -> FloatArray:
        """Against `better`'s and `harmless`'s hypotheses holding both."""
        mean: FloatArray = np.logaddexp(self.better, self.harmless) - np.log(2)
        return mean


def weigh(pairs: Pairs, plan: Plan) -> Evidence:
    """The three e-processes on pairs in time order, unsettled ones taken at their worst."""
    not_won = pairs.losses | pairs.unsettled
    return Evidence(
        better=_on_discordant(pairs, wins_more_often().running(not_won[pairs.disagreements])),
        harmless=rarer_than(plan.harm_limit).running(not_won),
        worse=_on_discordant(pairs, loses_more_often().running(pairs.losses[pairs.disagreements])),
    )


def judge(
    subject: str,
    pairs: Pairs | None,
    plan: Plan | None = None,
    *,
    against: str = "the live model",
    inputs: Mapping[str, str] | None = None,
) -> Decision:
    """Decide on a candidate.

    Args:
        subject: The ensemble's name.
        pairs: From `firnline.evidence.pairing.pair`; None when nothing is live.
        plan: Error and harm limit.
        against: What the candidate was compared with, for the reason.
        inputs: Name -> digest of everything read.
    """
    plan = plan or Plan()
    if pairs is None:
        reason = "nothing is live yet, so there is nothing to compare with"
        return Decision(KIND, subject, "first", reason, ("SH0",), {"pairs": 0}, inputs or {})
    evidence = weigh(pairs, plan)
    accepted_after = first_crossing(evidence.acceptable, plan.alpha)
    rejected_after = first_crossing(evidence.worse, plan.alpha)
    counts = _Counts.of(pairs, plan, evidence)
    if rejected_after and (accepted_after is None or rejected_after <= accepted_after):
        verdict, rule, after = "reject", "SH2", rejected_after
    elif accepted_after:
        verdict, rule, after = "accept", "SH1", accepted_after
    else:
        verdict, rule, after = "undecided", "SH3", None
    numbers = {
        **counts.numbers(),
        "decided_after_pairs": after,
        "log_e_better": _last(evidence.better),
        "log_e_harmless": _last(evidence.harmless),
        "log_e_worse": _last(evidence.worse),
        "log_e_needed": round(float(-np.log(plan.alpha)), _DIGITS),
        "alpha": plan.alpha,
        "harm_limit": plan.harm_limit,
    }
    reason = counts.reason(verdict, after, against, plan)
    return Decision(KIND, subject, verdict, reason, (rule,), numbers, inputs or {})


@dataclass(frozen=True)
class _Counts:
    pairs: int
    wins: int
    losses: int
    unsettled: int
    more_pairs: int | None = field(default=None)

    @classmethod
    def of(cls, pairs: Pairs, plan: Plan, evidence: Evidence) -> "_Counts":
        wins, losses = int(pairs.wins.sum()), int(pairs.losses.sum())
        unsettled = int(pairs.unsettled.sum())
        more = pairs_to_go(len(pairs), losses + unsettled, plan, _last(evidence.better))
        return cls(len(pairs), wins, losses, unsettled, more)

    def numbers(self) -> dict[str, int | None]:
        return {
            "pairs": self.pairs,
            "candidate_wins": self.wins,
            "candidate_losses": self.losses,
            "unsettled_disagreements": self.unsettled,
            "more_pairs_if_all_agree": self.more_pairs,
        }

    def reason(self, verdict: str, after: int | None, against: str, plan: Plan) -> str:
        tally = (
            f"in {_many(self.pairs, 'pair')} with {against} it won {self.wins} and lost "
            f"{self.losses}"
        )
        if self.unsettled:
            tally += f", {self.unsettled} await a label"
        if verdict == "accept":
            return f"{tally}; shown better, or harmless, after {after}"
        if verdict == "reject":
            return f"{tally}; shown worse after {after}"
        if self.more_pairs is None:
            return f"{tally}; too many losses to be called harmless, too few wins to be better"
        return (
            f"{tally}; {_many(self.more_pairs, 'more pair')} without a disagreement would show "
            f"that it loses fewer than {plan.harm_limit:.2%} of pairs"
        )


def pairs_to_go(pairs: int, failures: int, plan: Plan, log_e_better: float = 0.0) -> int | None:
    """Further pairs after which the candidate is accepted if both models agree on all of them.

    Args:
        pairs: Pairs so far.
        failures: Losses and unsettled disagreements so far.
        plan: Error and harm limit.
        log_e_better: What `Evidence.better` has reached; agreement leaves it there.

    Returns:
        How many, or None when it would take more than a thousand over the harm limit.
    """
    # The mean of both e-values must reach 1/alpha; this is what the other half has to bring.
    missing = 2 / plan.alpha - float(np.exp(min(log_e_better, _LARGEST_LOG)))
    if missing <= 0:
        return 0
    horizon = int(_HORIZON_PER_LIMIT / plan.harm_limit)
    needed = accept_from(rarer_than(plan.harm_limit), failures, horizon, 1 / missing)[failures]
    return None if needed > horizon else max(0, needed - pairs)


def _on_discordant(pairs: Pairs, log_e: FloatArray) -> FloatArray:
    """Spread values on discordant pairs over all pairs; a concordant pair changes nothing."""
    so_far = np.cumsum(pairs.disagreements)
    return np.concatenate([np.zeros(1), log_e])[so_far]


def _last(log_e: FloatArray) -> float:
    return round(float(log_e[-1]), _DIGITS) if len(log_e) else 0.0


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
