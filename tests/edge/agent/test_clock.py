"""Time that does not run behind what the channel has signed."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from edge.agent.clock import TrustedClock, utc_now

DAY = datetime(2026, 5, 1, tzinfo=UTC)


def test_before_the_first_poll_the_system_is_all_there_is() -> None:
    assert TrustedClock(system=lambda: DAY).now() == DAY
    assert utc_now().utcoffset() == timedelta(0)


def test_a_clock_behind_signed_time_is_not_believed() -> None:
    clock = TrustedClock(DAY, lambda: datetime(1970, 1, 1, tzinfo=UTC))
    assert clock.now() == DAY


@given(st.integers(-(10**6), 10**6))
def test_never_behind_the_floor_nor_behind_the_system(seconds: int) -> None:
    system = DAY + timedelta(seconds=seconds)
    clock = TrustedClock(DAY, lambda: system)
    assert clock.now() == max(DAY, system)
