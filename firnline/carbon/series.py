"""A carbon-intensity series that has passed its quality gate.

| code | refused when |
|---|---|
| K4 | times are not strictly ascending, or there are fewer than two |
| K5 | steps have no common length |
| K6 | a value is not in (0, 2000) g/kWh |
| K7 | values are zero for several steps: an outage that was served as data |
| K8 | more than a tenth of the span has no value |
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from firnline.errors import ContractError

SECOND = 1_000_000
MOST_G_PER_KWH = 2_000.0
MOST_MISSING = 0.1
_STEPS = (timedelta(minutes=1), timedelta(days=1))

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Carbon intensity of one grid zone in equal steps, each value holding for its whole step.

    Attributes:
        zone: Zone as the source names it.
        start: Begin of the first step, aware, UTC.
        step: Length of every step.
        values: Shape [steps], gCO2e/kWh; NaN where there is none.
        signal: What is counted: `average` (life cycle), `average-direct` or `marginal`. Numbers
            of different signals are never compared.
    """

    zone: str
    start: datetime
    step: timedelta
    values: FloatArray
    signal: str = "average"

    @property
    def end(self) -> datetime:
        """End of the last step."""
        return self.start + self.step * len(self.values)

    @property
    def coverage(self) -> float:
        """Share of the steps that have a value."""
        return float(np.isfinite(self.values).mean())

    def resampled(self, step: timedelta) -> "Series":
        """Means over longer steps; a step with any gap in it has no value, a last part goes.

        Raises:
            ValueError: The new step is no multiple of the present one.
        """
        factor, rest = divmod(step, self.step)
        if rest or not factor:
            raise ValueError(f"{step} is no multiple of {self.step}")
        whole = len(self.values) // factor * factor
        means = self.values[:whole].reshape(-1, factor).mean(axis=1)
        return Series(self.zone, self.start, step, means, self.signal)


def regular(
    zone: str, times: NDArray[np.int64], values: FloatArray, *, where: str, signal: str = "average"
) -> Series:
    """Put samples on one grid, and refuse what no plan should be built on.

    The grid's step is the commonest difference. Finer stretches are averaged into it, absent
    samples become NaN.

    Args:
        zone: Zone as the source names it.
        times: Begin of each sample, epoch microseconds UTC, shape [samples].
        values: gCO2e/kWh, NaN where there is none, shape [samples].
        where: The source, for the error.
        signal: See `Series`.

    Raises:
        ContractError: K4 to K8, as the table above has it.
    """
    if len(times) < 2 or np.any(np.diff(times) <= 0):
        raise _error("K4", _first_step_back(times), where, "sort it by time, each time once")
    _check_values(values, where)
    step = _step(np.diff(times), where)
    place = (times - times[0]) // step
    steps = int(place[-1]) + 1
    present = np.isfinite(values)
    counts = np.bincount(place[present], minlength=steps)
    sums = np.bincount(place[present], weights=values[present], minlength=steps)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    series = Series(zone, _instant(int(times[0])), timedelta(microseconds=step), means, signal)
    if 1 - series.coverage > MOST_MISSING:
        found = f"{1 - series.coverage:.0%} of its steps have no value"
        raise _error("K8", found, where, "fetch it again, or leave it out: runs then start at once")
    return series


def _check_values(values: FloatArray, where: str) -> None:
    zero = values == 0
    if np.any(zero[1:] & zero[:-1]):
        found = f"{int(zero.sum())} values are exactly zero, some in a row"
        raise _error("K7", found, where, "the source was down; fetch that stretch again")
    wrong = np.flatnonzero(~np.isnan(values) & ~((values > 0) & (values < MOST_G_PER_KWH)))
    if len(wrong):
        found = f"row {int(wrong[0]) + 1} holds {values[wrong[0]]:g} g/kWh"
        mend = f"give gCO2e/kWh, more than 0 and less than {MOST_G_PER_KWH:g}; empty where unknown"
        raise _error("K6", found, where, mend)


def _step(gaps: NDArray[np.int64], where: str) -> int:
    lengths, counts = np.unique(gaps, return_counts=True)
    step = int(lengths[np.argmax(counts)])
    odd = [int(gap) for gap in lengths if gap % step and step % gap]
    shortest, longest = (int(bound / timedelta(microseconds=1)) for bound in _STEPS)
    if odd or not shortest <= step <= longest:
        found = f"steps of {_minutes(odd[0] if odd else step)}, mostly {_minutes(step)}"
        raise _error("K5", found, where, "give one step of a minute to a day throughout")
    return step


def _first_step_back(times: NDArray[np.int64]) -> str:
    if len(times) < 2:
        return f"{len(times)} sample" + ("" if len(times) == 1 else "s")
    row = int(np.flatnonzero(np.diff(times) <= 0)[0])
    return f"row {row + 2} is at {_instant(int(times[row + 1]))}, not after the row before"


def _instant(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _minutes(microseconds: int) -> str:
    return f"{microseconds / (60 * SECOND):g} min"


def _error(code: str, found: str, where: str, mend: str) -> ContractError:
    return ContractError(code, found=found, where=where, mend=mend)
