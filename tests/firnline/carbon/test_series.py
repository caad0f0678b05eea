from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from firnline.carbon.series import Series, regular
from firnline.errors import ContractError

MINUTE = 60_000_000
START = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) * 1_000_000


def series(minutes: list[int], values: list[float]) -> Series:
    times = START + np.array(minutes, np.int64) * MINUTE
    return regular("Z", times, np.array(values, float), where="test")


def refused(minutes: list[int], values: list[float]) -> str:
    with pytest.raises(ContractError) as caught:
        series(minutes, values)
    return caught.value.code


def test_equal_steps_stay_as_they_are() -> None:
    made = series([0, 60, 120], [100, 200, 300])
    assert (made.start, made.step) == (datetime(2026, 1, 5, tzinfo=UTC), timedelta(hours=1))
    assert made.values.tolist() == [100, 200, 300]
    assert made.end == made.start + timedelta(hours=3)


def test_a_step_left_out_is_a_gap() -> None:
    minutes = [60 * hour for hour in range(21) if hour != 7]
    made = series(minutes, [100.0] * 20)
    assert np.flatnonzero(np.isnan(made.values)).tolist() == [7]


def test_finer_stretches_are_averaged() -> None:
    made = series([0, 30, 60, 75, 90, 120], [100, 200, 300, 500, 600, 700])
    assert made.step == timedelta(minutes=30)
    assert made.values.tolist() == [100, 200, 400, 600, 700]


def test_longer_steps_are_means_and_keep_gaps() -> None:
    values = np.array([1, 2, np.nan, 4, 5, 6, 7], float)
    made = Series("Z", datetime(2026, 1, 5, tzinfo=UTC), timedelta(minutes=30), values)
    hourly = made.resampled(timedelta(hours=1))
    assert hourly.values[[0, 2]].tolist() == [1.5, 5.5]
    assert np.isnan(hourly.values[1])
    with pytest.raises(ValueError):
        made.resampled(timedelta(minutes=45))


@pytest.mark.parametrize(
    ("code", "minutes", "values"),
    [
        ("K4", [0], [100]),
        ("K4", [0, 60, 60], [100, 100, 100]),
        ("K4", [0, 60, 30], [100, 100, 100]),
        ("K5", [0, 60, 120, 160], [100, 100, 100, 100]),
        ("K5", [0, 3_000, 6_000], [100, 100, 100]),
        ("K6", [0, 60, 120], [100, 2_000, 100]),
        ("K6", [0, 60, 120], [100, -1, 100]),
        ("K6", [0, 60, 120], [100, 0, 100]),
        ("K7", [0, 60, 120], [0, 0, 100]),
        ("K8", [0, 60, 120], [100, float("nan"), 100]),
    ],
)
def test_what_no_plan_should_be_built_on_is_refused(
    code: str, minutes: list[int], values: list[float]
) -> None:
    assert refused(minutes, values) == code
