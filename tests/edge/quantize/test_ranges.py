import numpy as np
import pytest

from edge.quantize.grids import Grid
from edge.quantize.ranges import BINS, entropy_range, percentile_range


def histogram(values):
    ends = float(values.min()), float(values.max())
    return np.histogram(values, BINS, ends)[0], ends


def test_a_percentile_cuts_as_much_below_as_above():
    values = np.linspace(-1, 3, 100_001)
    low, high = percentile_range(*histogram(values), 99.0)
    assert (low, high) == (pytest.approx(-0.98, abs=2e-3), pytest.approx(2.98, abs=2e-3))
    assert percentile_range(*histogram(values), 100.0) == (-1, 3)


def test_entropy_cuts_a_long_tail_and_leaves_an_even_spread():
    random = np.random.default_rng(0)
    tailed = np.abs(random.normal(size=200_000))
    tailed[0] = 60
    assert entropy_range(*histogram(tailed))[1] < 30
    even = random.uniform(-1, 1, 200_000)
    low, high = entropy_range(*histogram(even))
    assert low < -0.95
    assert high > 0.95


@pytest.mark.parametrize(("low", "high"), [(0, 6), (-3, 0), (-8, 8), (-0.1, 25.4), (0, 0)])
def test_a_grid_holds_its_range_and_zero(low, high):
    grid = Grid.over(low, high)
    assert -128 <= grid.zero <= 127
    assert grid.low <= low + grid.scale / 2
    assert grid.scale * (127 - grid.zero) >= high - grid.scale / 2
