import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from firnline.evidence.reconcile import SOURCES, Aligned, Limits, differing, judge

ANY = arrays(np.float64, (7,), elements=st.floats())
FEATURES = tuple(f"f{place}" for place in range(10))


def aligned(windows: int = 1_000, **moved: NDArray[np.float64]) -> Aligned:
    """Windows that agree, but for the sources that are given."""
    values = np.linspace(-50, 50, windows * len(FEATURES)).reshape(windows, len(FEATURES))
    values[::7, 3] = np.nan
    sources = {name: moved.get(name, values.copy()) for name in SOURCES}
    return Aligned("device_window@v1", FEATURES, **sources)


@given(ANY, ANY)
def test_differing_is_symmetric_and_nothing_differs_from_itself(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> None:
    assert not differing(one, one, 1e-6).any()
    assert (differing(one, other, 1e-6) == differing(other, one, 1e-6)).all()


@given(arrays(np.float64, (7,), elements=st.floats(-1e30, 1e30)))
def test_the_rounding_of_a_training_set_is_within_the_tolerance(
    values: NDArray[np.float64],
) -> None:
    assert not differing(values, values.astype(np.float32).astype(np.float64), 1e-6).any()


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (0.0, 0.9e-6, False),
        (0.0, 1.1e-6, True),
        (0.5, 0.5 + 0.9e-6, False),
        (1e6, 1e6 + 0.9, False),
        (1e6, 1e6 + 1.1, True),
        (np.nan, np.nan, False),
        (np.nan, 0.0, True),
        (np.inf, np.inf, False),
        (np.inf, -np.inf, True),
        (np.inf, 1e300, True),
        (np.inf, np.nan, True),
    ],
)
def test_the_tolerance_is_absolute_below_one_and_relative_above(
    one: float, other: float, apart: bool
) -> None:
    assert differing(np.array([one]), np.array([other]), 1e-6).tolist() == [apart]


def test_sources_that_agree() -> None:
    decision = judge("x", [aligned()], inputs={"device_window@v1": "d"})
    assert (decision.verdict, decision.rules) == ("agree", ("R1",))
    assert decision.numbers["values"] == 10_000
    assert decision.numbers["worst_feature"] is None
    assert decision.document()["inputs"] == {"device_window@v1": "d"}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("windows", "verdict"), [(1, "agree"), (2, "skew")])
def test_more_than_one_window_in_a_thousand_is_skew(
    source: str, windows: int, verdict: str
) -> None:
    moved = aligned().online.copy()
    moved[:windows, 5] += 1
    decision = judge("x", [aligned(**{source: moved})])
    assert decision.verdict == verdict
    assert decision.numbers["windows_differing"] == windows
    assert decision.numbers["worst_feature"] == "device_window@v1:f5"
    for pair in ("offline_online", "offline_fresh", "online_fresh"):
        assert decision.numbers[f"{pair}_differing"] == (windows if source in pair else 0)


def test_more_than_one_value_in_a_thousand_is_skew_though_few_windows_are() -> None:
    moved = aligned().fresh.copy()
    moved[0] = np.nan
    one, other = aligned(fresh=moved), aligned(windows=1)
    assert judge("x", [one, other]).verdict == "agree"
    decision = judge("x", [one], Limits(share=0.0009))
    assert decision.verdict == "skew"
    assert "offline and fresh" in decision.reason or "online and fresh" in decision.reason


def test_nothing_to_compare_is_no_agreement() -> None:
    for compared in ([], [aligned(windows=0)]):
        decision = judge("x", compared)
        assert (decision.verdict, decision.rules) == ("not compared", ("R3",))
