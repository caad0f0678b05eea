import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.evidence.discordant import loses_more_often, wins_more_often
from firnline.evidence.rare_rate import rarer_than
from firnline.evidence.sequential import (
    BernoulliMixture,
    accept_from,
    first_crossing,
    plan_cost,
)

FLOORS = {0.55: 598, 0.60: 149, 0.70: 36, 0.80: 16}
PUBLISHED = {0.55: 835, 0.60: 197, 0.70: 45, 0.80: 19}


def test_a_rare_rate_is_accepted_at_the_published_boundary() -> None:
    boundary = accept_from(rarer_than(0.001), 7, 20_000, 0.05)
    assert boundary == [3477, 7438, 9639, 11572, 13309, 14911, 16427, 17887]


@pytest.mark.parametrize(("rate", "expected"), [(0.0, 3_477), (2e-4, 7_219), (5e-4, 21_730)])
def test_a_rare_rate_costs_about_what_is_published(rate: float, expected: float) -> None:
    cost = plan_cost(rate, 60_000, accept=rarer_than(0.001))
    assert cost.expected_trials == pytest.approx(expected, rel=0.03)
    assert cost.accepted > 0.96


def test_a_rate_at_the_limit_is_rarely_accepted() -> None:
    assert plan_cost(0.001, 40_000, accept=rarer_than(0.001)).accepted <= 0.05


@pytest.mark.parametrize("theta", FLOORS)
def test_a_worse_candidate_is_found_no_later_than_published(theta: float) -> None:
    cost = plan_cost(theta, 8_000, stop=loses_more_often())
    assert FLOORS[theta] <= cost.expected_trials <= PUBLISHED[theta]
    assert cost.stopped > 0.999


def test_equals_are_rarely_called_worse_or_better() -> None:
    assert plan_cost(0.5, 10_000, stop=loses_more_often()).stopped <= 0.05
    assert plan_cost(0.5, 3_000, accept=wins_more_often()).accepted <= 0.05


def test_the_calculator_agrees_with_simulated_shadows() -> None:
    random = np.random.default_rng(7)
    test, horizon, runs = loses_more_often(), 60, 4_000
    stops = [first_crossing(test.running(random.random(horizon) < 0.7), 0.05) for _ in range(runs)]
    cost = plan_cost(0.7, horizon, stop=test)
    assert np.mean([stop is not None for stop in stops]) == pytest.approx(cost.stopped, abs=0.03)
    assert np.mean([stop or horizon for stop in stops]) == pytest.approx(
        cost.expected_trials, rel=0.03
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.sampled_from([loses_more_often(), rarer_than(0.1)]))
def test_the_expected_e_value_at_the_null_is_one(trials: int, test: BernoulliMixture) -> None:
    from scipy.stats import binom

    failures = np.arange(trials + 1)
    weights = binom.pmf(failures, trials, test.null)
    assert np.sum(weights * np.exp(test.log_e(failures, trials))) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), max_size=60))
def test_one_more_failure_only_ever_speaks_for_worse(outcomes: list[bool]) -> None:
    failed = np.array(outcomes, bool)
    worse, harmless = loses_more_often().running(failed), rarer_than().running(failed)
    assert np.all(worse <= loses_more_often().running(np.ones_like(failed)) + 1e-9)
    assert np.all(harmless <= rarer_than().running(np.zeros_like(failed)) + 1e-9)


@pytest.mark.parametrize(
    ("null", "alternatives", "weights"),
    [
        (0.5, (0.4, 0.6), (0.5, 0.5)),
        (0.5, (0.5,), (1.0,)),
        (0.5, (0.6,), (0.9,)),
        (0.5, (0.6, 0.7), (1.5, -0.5)),
    ],
)
def test_what_is_no_e_process_is_refused(
    null: float, alternatives: tuple[float, ...], weights: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError):
        BernoulliMixture(null, alternatives, weights)
