from datetime import UTC, datetime
from itertools import pairwise

import numpy as np

from firnline.sim.grid import carbon_intensity

START = datetime(2026, 2, 2, tzinfo=UTC)


def test_noon_is_clean_evening_dirty_weekend_lighter():
    series = list(carbon_intensity(3, START, 24 * 7 * 52))
    hour = np.array([at.hour for at, _ in series])
    weekend = np.array([at.weekday() >= 5 for at, _ in series])
    grams = np.array([value for _, value in series])
    by_hour = [grams[hour == h].mean() for h in range(24)]
    assert 11 <= int(np.argmin(by_hour)) <= 14
    assert 18 <= int(np.argmax(by_hour)) <= 20
    assert grams[weekend].mean() < grams[~weekend].mean() - 15


def test_wind_remembers_and_the_series_is_a_prefix_of_a_longer_one():
    short, longer = (list(carbon_intensity(3, START, hours)) for hours in (100, 200))
    assert short == longer[:100]
    grams = np.array([value for _, value in carbon_intensity(3, START, 24 * 200)])
    noons = grams[12::24]
    assert np.corrcoef(noons[:-1], noons[1:])[0, 1] > 0.25
    assert all((b - a).total_seconds() == 3600 for (a, _), (b, _) in pairwise(short))
