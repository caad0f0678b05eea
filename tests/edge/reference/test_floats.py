"""exp, sigmoid, tanh: close to the true values, defined everywhere."""

import numpy as np
import pytest

from edge.reference.floats import EXP_GREATEST, EXP_LEAST, TANH_FLAT, exp, sigmoid, tanh

RANDOM = np.random.default_rng(0)


def inputs(*ranges):
    parts = [RANDOM.uniform(low, high, 20_000) for low, high in ranges]
    return np.concatenate(parts).astype(np.float32)


def units(made, true):
    """Distance in units in the last place of the true value."""
    least = np.maximum(np.abs(true), np.finfo(np.float32).tiny)
    unit = 2.0 ** (np.floor(np.log2(least)) - 23)
    return np.abs(made.astype(np.float64) - true.astype(np.float64)) / unit.astype(np.float64)


@pytest.mark.parametrize(
    ("function", "true", "ranges", "most"),
    [
        (exp, np.exp, [(-103.9, 88.7), (-1, 1)], 0.8),
        (sigmoid, lambda x: 1 / (1 + np.exp(-x)), [(-87, 20), (-4, 4)], 1.9),
        (tanh, np.tanh, [(-10, 10), (-1, 1)], 1.4),
    ],
)
def test_functions_are_within_their_bounds_of_the_truth(function, true, ranges, most):
    given = inputs(*ranges)
    assert units(function(given), true(given.astype(np.longdouble))).max() < most


def test_overflow_underflow_and_subnormals():
    above, below = np.nextafter(EXP_GREATEST, np.inf), np.nextafter(EXP_LEAST, -np.inf)
    given = np.array([EXP_GREATEST, above, np.inf, EXP_LEAST, below, -np.inf], np.float32)
    made = exp(given)
    assert np.isfinite(made[0]) and np.isinf(made[1:3]).all()
    assert made[3] == np.float32(2.0**-149) and (made[4:] == 0).all()
    assert (exp(np.array([0.0, -0.0], np.float32)) == 1).all()


def test_signs_zeros_limits_and_nan():
    tiny = np.array([0.0, -0.0, 1e-45, -1e-40, np.inf, -np.inf, np.nan], np.float32)
    assert tanh(tiny).tobytes() == np.array([0, 0, *tiny[2:4], 1, -1, np.nan], np.float32).tobytes()
    expected = np.array([0.5, 0.5, 0.5, 0.5, 1, 0, np.nan], np.float32)
    assert sigmoid(tiny).tobytes() == expected.tobytes()
    assert np.isnan(exp(tiny)[-1])
    flat = np.array([TANH_FLAT, -TANH_FLAT], np.float32)
    assert tanh(flat).tolist() == [1.0, -1.0]


def test_functions_rise_where_their_formula_changes():
    for function, place in ((tanh, 0.625), (tanh, float(TANH_FLAT)), (sigmoid, 0.0)):
        steps = np.arange(-200, 200, dtype=np.int32)
        near = (np.float32(place).view(np.int32) + steps).view(np.float32)
        near = near[np.isfinite(near) & (np.abs(near) < 100)]
        made = function(np.sort(near))
        assert (np.diff(made.astype(np.float64)) >= -(2.0**-23)).all()
