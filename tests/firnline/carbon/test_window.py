from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firnline.adapters.carbon_file import load
from firnline.carbon.series import Series
from firnline.carbon.window import Window, decide, greenest

START = datetime(2026, 1, 5, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def hourly(*values: float, step: timedelta = HOUR) -> Series:
    return Series("Z", START, step, np.array(values, float))


def mean_by_minutes(series: Series, start: datetime, duration: timedelta) -> float:
    """Mean intensity minute by minute; NaN outside the series or in a gap."""
    total, minutes = 0.0, duration // MINUTE
    for minute in range(minutes):
        place = (start + minute * MINUTE - series.start) // series.step
        inside = 0 <= place < len(series.values)
        total += float(series.values[place]) if inside else np.nan
    return total / minutes


VALUES = st.lists(
    st.one_of(st.sampled_from([50.0, 100.0, float("nan")]), st.floats(1, 900)),
    min_size=1,
    max_size=14,
)


@settings(max_examples=60, deadline=None)
@given(
    values=VALUES,
    step=st.sampled_from([5, 10, 15]),
    release=st.integers(-20, 60),
    duration=st.integers(1, 40),
    delay=st.integers(0, 60),
)
def test_it_is_what_trying_every_minute_finds(
    values: list[float], step: int, release: int, duration: int, delay: int
) -> None:
    series = hourly(*values, step=step * MINUTE)
    begin = START + release * MINUTE
    window = greenest(series, begin, duration * MINUTE, delay * MINUTE)
    tried = [
        mean_by_minutes(series, begin + minute * MINUTE, duration * MINUTE)
        for minute in range(delay + 1)
    ]
    assert begin <= window.start <= window.latest_start == begin + delay * MINUTE
    if np.all(np.isnan(tried)):
        assert (window.start, window.mean_g_per_kwh) == (begin, None)
        return
    least = np.nanmin(tried)
    assert window.mean_g_per_kwh == pytest.approx(least)
    equal = np.flatnonzero(np.array(tried) <= least + 1e-10)
    assert window.start <= begin + int(equal[0]) * MINUTE
    if np.isfinite(tried[0]):
        assert window.now_g_per_kwh == pytest.approx(tried[0])


@settings(max_examples=60, deadline=None)
@given(
    release=st.integers(0, 600),
    duration=st.integers(1, 300),
    delay=st.integers(0, 600),
    deadline=st.integers(-100, 1_200),
)
def test_a_deadline_is_never_passed_where_it_can_be_met(
    release: int, duration: int, delay: int, deadline: int
) -> None:
    values = np.random.default_rng(1).uniform(50, 500, 30)
    begin, end = START + release * MINUTE, START + deadline * MINUTE
    window = greenest(hourly(*values), begin, duration * MINUTE, delay * MINUTE, deadline=end)
    assert begin <= window.start <= begin + delay * MINUTE
    assert window.end <= end or window.start == begin


def test_a_tie_goes_to_the_earliest() -> None:
    window = greenest(hourly(300, 100, 300, 100, 300), START, HOUR, 4 * HOUR)
    assert window.start == START + HOUR
    assert window.saving_percent == pytest.approx(200 / 3)


def test_it_starts_between_steps_where_that_is_best() -> None:
    window = greenest(hourly(300, 100, 200, 300), START, 90 * MINUTE, 2 * HOUR)
    assert window.start == START + HOUR
    window = greenest(hourly(200, 100, 300, 300), START, 90 * MINUTE, 2 * HOUR)
    assert window.start == START + 30 * MINUTE


def test_no_series_runs_at_once() -> None:
    window = greenest(None, START, HOUR, 48 * HOUR)
    assert (window.start, window.candidates) == (START, 0)
    decision = decide("x", window)
    assert (decision.verdict, decision.rules) == ("now", ("CW3",))


def test_a_series_elsewhere_in_time_runs_at_once() -> None:
    for release in (START - 100 * HOUR, START + 100 * HOUR):
        assert greenest(hourly(100, 200), release, HOUR, 4 * HOUR).start == release


def test_a_series_that_ends_early_is_used_as_far_as_it_goes() -> None:
    window = greenest(hourly(300, 200, 100), START, HOUR, 48 * HOUR)
    assert (window.start, window.partial) == (START + 2 * HOUR, True)
    assert "not compared" in decide("x", window).reason


def test_a_window_over_a_gap_is_no_candidate() -> None:
    window = greenest(hourly(300, np.nan, 250, 200), START, 2 * HOUR, 2 * HOUR)
    assert window.start == START + 2 * HOUR
    assert window.saving_percent is None
    assert decide("x", window).rules == ("CW4",)


def test_decisions_say_what_waiting_saves() -> None:
    wait = decide("x", greenest(hourly(300, 150), START, HOUR, HOUR))
    assert (wait.verdict, wait.rules, wait.numbers["saving_percent"]) == ("wait", ("CW1",), 50.0)
    now = decide("x", greenest(hourly(150, 300), START, HOUR, HOUR))
    assert (now.verdict, now.rules, now.numbers["saving_percent"]) == ("now", ("CW2",), 0.0)


def test_other_zones_of_time_are_the_same_instants() -> None:
    from datetime import timezone

    there = START.astimezone(timezone(timedelta(hours=5, minutes=30)))
    series = hourly(300, 150, 200)
    assert greenest(series, there, HOUR, HOUR) == greenest(series, START, HOUR, HOUR)


@pytest.mark.parametrize(
    ("release", "duration", "delay"),
    [
        (START.replace(tzinfo=None), HOUR, HOUR),
        (START, 0 * HOUR, HOUR),
        (START, HOUR, -HOUR),
    ],
)
def test_senseless_jobs_are_refused(
    release: datetime, duration: timedelta, delay: timedelta
) -> None:
    with pytest.raises(ValueError):
        greenest(hourly(100, 200), release, duration, delay)


@pytest.mark.parametrize(
    ("file", "published"), [("ger_ci", 28.34), ("gb_ci", 31.39), ("fr_ci", 19.27)]
)
def test_the_oracle_saves_what_is_published(shared_data: Path, file: str, published: float) -> None:
    """4 h jobs, released every hour of 2020, started at most 48 h later: emissions in all."""
    path = shared_data / "carbon" / "lwa" / f"{file}.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    series = load(path).resampled(HOUR)
    releases = (series.end - series.start) // HOUR - 52
    windows = [
        greenest(series, series.start + hour * HOUR, 4 * HOUR, 48 * HOUR)
        for hour in range(releases + 1)
    ]
    whole = [window for window in windows if window.saving_percent is not None]
    assert saving(whole) == pytest.approx(published, abs=0.1)


def saving(windows: list[Window]) -> float:
    best = sum(window.mean_g_per_kwh or 0 for window in windows)
    return 100 * (1 - best / sum(window.now_g_per_kwh or 0 for window in windows))
