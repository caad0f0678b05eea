from hypothesis import given
from hypothesis import strategies as st

from edge.agent.schedule import first, following, retry

DRAWS = st.floats(0, 1, exclude_max=True)


@given(st.floats(1, 1e6), st.floats(0, 1), DRAWS)
def test_polls_are_spread_evenly_around_the_period(
    period: float, jitter: float, draw: float
) -> None:
    found = following(period, jitter, draw)
    assert period * (1 - jitter / 2) * 0.999 <= found <= period * (1 + jitter / 2) * 1.001
    mirrored = following(period, jitter, 1 - draw)
    assert abs(found + mirrored - 2 * period) < 1e-6 * period


@given(st.floats(1, 1e6), DRAWS)
def test_the_first_poll_falls_anywhere_in_a_period_or_at_once(period: float, draw: float) -> None:
    assert 0 <= first(period, True, draw) < period or draw > 1 - 1e-15
    assert first(period, False, draw) == 0


@given(st.floats(1, 1e6), st.integers(1, 10_000), DRAWS)
def test_retries_wait_longer_and_never_longer_than_a_period(
    period: float, failures: int, draw: float
) -> None:
    found = retry(period, failures, draw)
    assert 0 < found <= period
    assert retry(period, failures + 1, draw) >= found
    assert retry(1e9, 2, draw) == 2 * retry(1e9, 1, draw)
