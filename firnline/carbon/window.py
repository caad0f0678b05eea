"""When a job that may wait should run: the greenest window that starts in time.

The job takes a fixed time without a break and may start anywhere in
[release, latest start]. Intensity is constant within a step, so the mean over a sliding window is
piecewise linear in its start, and has its least value where the window's begin or end lies on a
border of steps, or at either limit: those starts are all that need be tried, whatever the step.
Means come from one prefix sum (exact, O(steps)).

The limit is on the delay of the start, not on the end: a job released at t with 48 h of slack
ends by t + 48 h + duration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from firnline.carbon.series import FloatArray, Series
from firnline.decision import Decision

KIND = "window"
_EQUAL_G_PER_KWH = 1e-9
_EQUAL_SECONDS = 1e-6


@dataclass(frozen=True)
class Window:
    """When to run, and what waiting is expected to save.

    Attributes:
        start: When to start, UTC; never after `latest_start`.
        end: When the job ends, UTC.
        release: When it could have started.
        latest_start: The limit that was kept.
        mean_g_per_kwh: Mean intensity over the window; None where the series has none.
        now_g_per_kwh: The same for a start at release.
        candidates: Starts compared.
        partial: The series did not cover every start allowed.
        zone: Of the series; empty without one.
        signal: Of the series; empty without one.
    """

    start: datetime
    end: datetime
    release: datetime
    latest_start: datetime
    mean_g_per_kwh: float | None
    now_g_per_kwh: float | None
    candidates: int
    partial: bool
    zone: str = ""
    signal: str = ""

    @property
    def saving_percent(self) -> float | None:
        """Emissions saved against a start at release, for the same energy."""
        if self.mean_g_per_kwh is None or self.now_g_per_kwh is None:
            return None
        return 100 * (1 - self.mean_g_per_kwh / self.now_g_per_kwh)

    @property
    def wait(self) -> timedelta:
        """From release to start."""
        return self.start - self.release


def greenest(
    series: Series | None,
    release: datetime,
    duration: timedelta,
    max_delay: timedelta,
    *,
    deadline: datetime | None = None,
) -> Window:
    """The start with the least mean intensity, the earliest of equals.

    Only starts whose whole window has values are compared. Where the series has none for any of
    them, or there is no series, the job starts at release: a missing source never holds a run.

    Args:
        series: What the grid does, or is expected to do.
        release: Earliest start, aware.
        duration: How long the job takes.
        max_delay: Most the start may come after release.
        deadline: When the job must have ended, if that comes earlier; where it cannot be met,
            the job starts at release.

    Raises:
        ValueError: A time without a zone, a duration of nothing, or a negative delay.
    """
    if release.tzinfo is None or (deadline is not None and deadline.tzinfo is None):
        raise ValueError("times need a zone")
    if duration <= timedelta(0) or max_delay < timedelta(0):
        raise ValueError("a job takes time, and a delay is not negative")
    release = release.astimezone(UTC)
    latest = release + max_delay
    if deadline is not None:
        latest = max(release, min(latest, deadline.astimezone(UTC) - duration))
    if series is None:
        return Window(release, release + duration, release, latest, None, None, 0, False)
    starts = _starts(series, _seconds(release, series), _seconds(latest, series), duration)
    means = window_means(series, starts, duration.total_seconds())
    covered = np.isfinite(means)
    chosen, mean = release, None
    if covered.any():
        best = int(np.flatnonzero(means <= np.nanmin(means) + _EQUAL_G_PER_KWH)[0])
        mean = float(means[best])
        chosen = series.start + timedelta(seconds=float(starts[best]))
    return Window(
        start=chosen,
        end=chosen + duration,
        release=release,
        latest_start=latest,
        mean_g_per_kwh=mean,
        now_g_per_kwh=float(means[0]) if covered[0] else None,
        candidates=int(covered.sum()),
        partial=not bool(covered.all()),
        zone=series.zone,
        signal=series.signal,
    )


def window_means(series: Series, starts: FloatArray, duration_seconds: float) -> FloatArray:
    """Mean intensity from each start on, g/kWh, NaN where the series does not cover it.

    Args:
        series: Intensities.
        starts: Seconds after the series' start, shape [starts].
        duration_seconds: Length of every window.
    """
    step = series.step.total_seconds()
    ends = starts + duration_seconds
    # Only the part that some window touches: a year of values costs no more than two days.
    first = max(0, int(starts.min() // step))
    values = series.values[first : max(first, int(np.ceil(ends.max() / step)))]
    borders = (first + np.arange(len(values) + 1)) * step
    present = np.isfinite(values)
    grams = np.concatenate([[0.0], np.cumsum(np.where(present, values, 0.0) * step)])
    missing = np.concatenate([[0.0], np.cumsum(~present * step)])
    total = np.interp(ends, borders, grams) - np.interp(starts, borders, grams)
    without = np.interp(ends, borders, missing) - np.interp(starts, borders, missing)
    covered = (starts >= borders[0]) & (ends <= borders[-1]) & (without < _EQUAL_SECONDS)
    return np.where(covered, total / duration_seconds, np.nan)


def decide(subject: str, window: Window, inputs: Mapping[str, str] | None = None) -> Decision:
    """The window as a decision: verdict `now` or `wait`.

    Rules: CW1 a start is greener than release, CW2 release is the greenest, CW3 there was
    nothing to compare, CW4 no value for release, so that no saving can be stated.
    """
    verdict, rule, reason = _verdict(window)
    if window.partial:
        reason += "; the series ends or has gaps before the latest start, the rest was not compared"
    saving = window.saving_percent
    numbers: dict[str, float | int | str | bool | None] = {
        "start": window.start.isoformat(),
        "latest_start": window.latest_start.isoformat(),
        "wait_hours": round(window.wait / timedelta(hours=1), 4),
        "mean_g_per_kwh": _rounded(window.mean_g_per_kwh),
        "now_g_per_kwh": _rounded(window.now_g_per_kwh),
        "saving_percent": _rounded(saving),
        "candidates": window.candidates,
        "partial": window.partial,
        "zone": window.zone,
        "signal": window.signal,
    }
    return Decision(KIND, subject, verdict, reason, (rule,), numbers, inputs or {})


def _verdict(window: Window) -> tuple[str, str, str]:
    if window.mean_g_per_kwh is None:
        return "now", "CW3", "no carbon intensity for the time allowed: it runs at once"
    at = f"{window.start:%Y-%m-%d %H:%M} UTC"
    if window.now_g_per_kwh is None:
        reason = f"at {at}, {window.mean_g_per_kwh:.0f} g/kWh; starting at once has no figure"
        return ("wait" if window.wait else "now"), "CW4", reason
    if not window.wait:
        return "now", "CW2", f"starting at once is greenest, {window.now_g_per_kwh:.0f} g/kWh"
    return "wait", "CW1", (
        f"at {at}, {window.mean_g_per_kwh:.0f} g/kWh instead of {window.now_g_per_kwh:.0f}: "
        f"{window.saving_percent:.1f} % less for a wait of {window.wait / timedelta(hours=1):.1f} h"
    )  # fmt: skip


def _starts(series: Series, first: float, last: float, duration: timedelta) -> FloatArray:
    """Release first, then every start that may be best, ascending; seconds after the series' start.

    Borders come from whole steps, so equal instants are equal numbers.
    """
    step, length = series.step.total_seconds(), duration.total_seconds()
    begins = np.arange(np.ceil(first / step), np.floor(last / step) + 1) * step
    ends = np.arange(np.ceil((first + length) / step), np.floor((last + length) / step) + 1) * step
    found = np.unique(np.concatenate([[first, last], begins, ends - length]))
    return found[(found >= first) & (found <= last)]


def _seconds(at: datetime, series: Series) -> float:
    return (at - series.start).total_seconds()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
