import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from firnline.evidence.drift import Comparison, Limits, calibrated_limit, judge, psi

FINITE = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, st.integers(1, 80), elements=FINITE))
def test_a_sample_does_not_drift_from_itself(values: np.ndarray) -> None:
    assert psi(values, values) == 0.0


@settings(max_examples=60, deadline=None)
@given(
    arrays(np.float64, st.integers(1, 80), elements=FINITE),
    arrays(np.float64, st.integers(1, 80), elements=FINITE),
)
def test_a_score_is_finite_and_not_negative(before: np.ndarray, now: np.ndarray) -> None:
    assert 0 <= psi(before, now) < 1e3


@pytest.mark.parametrize("rows", [300, 3_000, 30_000])
@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (0.5, 0.24), (1.0, 0.93)])
def test_a_score_does_not_depend_on_how_many_rows_there_are(
    rows: int, shift: float, expected: float
) -> None:
    random = np.random.default_rng(11)
    scores = [psi(random.normal(size=rows), random.normal(size=rows) + shift) for _ in range(20)]
    assert np.mean(scores) == pytest.approx(expected, abs=0.06)


def test_a_shift_of_a_value_that_repeats_is_seen() -> None:
    shut = np.zeros(1_000)
    ajar = np.r_[np.zeros(800), np.full(200, 0.3)]
    assert psi(shut, ajar) > 0.25
    assert psi(shut, shut - 1) > 0.25
    assert psi(ajar, shut) > 0.25


def test_an_outlier_does_not_hide_a_shift() -> None:
    random = np.random.default_rng(5)
    before, now = random.normal(size=2_000), random.normal(size=2_000) + 1
    assert psi(before, np.r_[now, 1e9]) > 0.5


def scores(*values: float) -> Comparison:
    return Comparison({f"f{place}": value for place, value in enumerate(values)})


def test_nothing_over_its_limit_is_stable() -> None:
    decision = judge("x", scores(0.0, 0.1, 0.2))
    assert (decision.verdict, decision.numbers["features_moderate"]) == ("stable", 2)


def test_a_few_features_over_their_limit_are_drift() -> None:
    decision = judge("x", scores(0.3, *[0.0] * 9))
    assert (decision.verdict, decision.rules) == ("drift", ("DR2",))
    assert decision.numbers["retrain_due"] is False
    assert "f0" in decision.reason


def test_more_than_five_features_ask_for_a_retrain() -> None:
    decision = judge("x", scores(*[0.3] * 6, *[0.0] * 20))
    assert (decision.verdict, decision.numbers["retrain_due"]) == ("drift", True)


def test_too_many_features_at_once_point_to_the_pipeline() -> None:
    assert judge("x", scores(*[0.3] * 31, *[0.0] * 69)).rules == ("DR3",)
    assert judge("x", scores(*[0.3] * 30, *[0.0] * 70)).rules == ("DR2",)


def test_a_feature_without_values_points_to_the_pipeline() -> None:
    lost = Comparison({"a": 0.0}, not_compared={"b": "no values in the current"}, lost=("b",))
    assert judge("x", lost).verdict == "suspect"


def test_a_feature_that_is_missing_more_often_drifts() -> None:
    many = {f"f{place}": 0.0 for place in range(10)}
    assert judge("x", Comparison(many, missing_points={"f3": 6.0})).verdict == "drift"
    assert judge("x", Comparison(many, missing_points={"f3": 4.0})).verdict == "stable"


def test_nothing_compared_is_said() -> None:
    assert judge("x", Comparison({}, not_compared={"a": "no values"})).rules == ("DR4",)


def test_a_feature_that_moves_in_health_gets_a_wider_limit() -> None:
    wide = calibrated_limit([0.1, 0.7, 0.4], Limits().psi)
    assert wide == 0.7
    assert calibrated_limit([0.01], Limits().psi) == Limits().psi
    many = {f"f{place}": 0.5 if place == 0 else 0.0 for place in range(10)}
    assert judge("x", Comparison(many, limits={"f0": wide})).verdict == "stable"
