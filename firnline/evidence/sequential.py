"""Tests of a failure probability that may be looked at after every trial.

A mixture of likelihood ratios against the edge of a null hypothesis is an e-process: under the
null, whatever the rule by which somebody stops, it exceeds 1/alpha with probability at most
alpha (Ville 1939; Robbins 1970, Ann. Math. Stat. 41:1397; Ramdas et al. 2023, Stat. Sci.
38:576). No correction for peeking is needed, and what is undecided simply goes on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from scipy.stats import binom

FloatArray = NDArray[np.float64]

_WEIGHT_SLACK = 1e-9
_IGNORED_PROBABILITY = 1e-12


@dataclass(frozen=True)
class BernoulliMixture:
    """Evidence against "the failure probability is `null`, or lies on the far side of it".

    Alternatives above the null test `p <= null`, alternatives below it test `p >= null`; the
    likelihood ratio is a supermartingale for the whole of that side, also where the
    probability of the next failure changes with what came before.

    Attributes:
        null: Edge of the null hypothesis, in (0, 1).
        alternatives: Probabilities bet on, all on one side of the null.
        weights: Share of the stake on each; they sum to 1.

    Example:
        >>> test = BernoulliMixture(0.5, (0.9,), (1.0,))
        >>> bool(test.log_e(6, 6) > np.log(20)), bool(test.log_e(5, 5) > np.log(20))
        (True, False)
    """

    null: float
    alternatives: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse what would not be an e-process.

        Raises:
            ValueError: Probabilities on both sides of the null, or weights that are no shares.
        """
        sides = {probability > self.null for probability in self.alternatives}
        if len(sides) != 1 or self.null in self.alternatives or not 0 < self.null < 1:
            raise ValueError("alternatives must all lie on one side of a null in (0, 1)")
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > _WEIGHT_SLACK:
            raise ValueError("weights must be shares that sum to 1")

    @property
    def upward(self) -> bool:
        """True where failures speak against the null, False where successes do."""
        return self.alternatives[0] > self.null

    def log_e(self, failures: ArrayLike, trials: ArrayLike) -> FloatArray:
        """Natural logarithm of the e-value; the arguments broadcast against each other."""
        failed = np.asarray(failures, np.float64)[..., None]
        passed = np.asarray(trials, np.float64)[..., None] - failed
        alternatives = np.asarray(self.alternatives)
        terms = (
            np.log(self.weights)
            + xlogy(failed, alternatives / self.null)
            + xlogy(passed, (1 - alternatives) / (1 - self.null))
        )
        total: FloatArray = np.logaddexp.reduce(terms, axis=-1)
        return total

    def running(self, failed: NDArray[np.bool_]) -> FloatArray:
        """Log e after each trial, shape [trials], of outcomes in the order they were asked."""
        return self.log_e(np.cumsum(failed), np.arange(1, len(failed) + 1))


def first_crossing(log_e: FloatArray, alpha: float) -> int | None:
    """Trials until log e first reaches log(1/alpha); None while it has not.

    The comparison uses the first crossing, not the last value: a decision, once reached, stays.
    """
    crossed = np.flatnonzero(log_e >= -np.log(alpha))
    return int(crossed[0]) + 1 if len(crossed) else None


@dataclass(frozen=True)
class Cost:
    """What a plan costs, before its shadow starts.

    Attributes:
        accepted: Probability of an accepting end within the horizon.
        stopped: Probability of a stopping end.
        expected_trials: Mean number of trials used, the horizon for what stays undecided.
    """

    accepted: float
    stopped: float
    expected_trials: float


def accept_from(mixture: BernoulliMixture, failures: int, horizon: int, alpha: float) -> list[int]:
    """Fewest trials that refute `p >= null` at 0, 1, ... `failures` failures.

    A number above the horizon stands for "not within it".

    Example:
        >>> from firnline.evidence.rare_rate import rarer_than
        >>> accept_from(rarer_than(0.001), 2, 20_000, 0.05)
        [3477, 7438, 9639]
    """
    counts = np.arange(failures + 1)
    low, high = counts.copy(), np.full(failures + 1, horizon + 1)
    while np.any(low < high):
        middle = (low + high) // 2
        enough = mixture.log_e(counts, middle) >= -np.log(alpha)
        high = np.where(enough, middle, high)
        low = np.where(enough, low, np.minimum(middle + 1, high))
    return [int(trials) for trials in high]


def plan_cost(
    rate: float,
    horizon: int,
    *,
    accept: BernoulliMixture | None = None,
    stop: BernoulliMixture | None = None,
    alpha: float = 0.05,
) -> Cost:
    """Exact probabilities and expected cost of a plan, by dynamic programming.

    The state after n trials is the number of failures alone, so the whole distribution is
    carried forward and what has crossed a boundary is taken out; nothing is simulated.

    Args:
        rate: True failure probability.
        horizon: Trials after which the shadow ends undecided.
        accept: Ends with success when it is refuted; its alternatives lie below its null.
        stop: Ends with failure when it is refuted; its alternatives lie above its null.
        alpha: Error of each.
    """
    most = int(binom.ppf(1 - _IGNORED_PROBABILITY, horizon, rate)) + 1
    counts = np.arange(most + 1)
    ready = np.full(most + 1, horizon + 1)
    if accept is not None:
        ready = np.array(accept_from(accept, most, horizon, alpha))
    state = np.zeros(most + 1)
    state[0] = 1.0
    accepted = stopped = expected = 0.0
    limit = _stop_at(stop, horizon, alpha)
    for trials in range(1, horizon + 1):
        expected += float(state.sum())
        state[1:], state[0] = state[1:] * (1 - rate) + state[:-1] * rate, state[0] * (1 - rate)
        ending = ready <= trials
        accepted += float(state[ending].sum())
        state[ending] = 0.0
        ending = counts >= limit[trials]
        stopped += float(state[ending].sum())
        state[ending] = 0.0
    return Cost(accepted, stopped, expected)


def _stop_at(mixture: BernoulliMixture | None, horizon: int, alpha: float) -> NDArray[np.int64]:
    """Fewest failures that refute `p <= null` after 0, 1, ... `horizon` trials."""
    trials = np.arange(horizon + 1)
    low, high = np.zeros(horizon + 1, np.int64), trials + 1
    if mixture is None:
        return high
    while np.any(low < high):
        middle = (low + high) // 2
        enough = mixture.log_e(middle, trials) >= -np.log(alpha)
        high = np.where(enough, middle, high)
        low = np.where(enough, low, np.minimum(middle + 1, high))
    return high
