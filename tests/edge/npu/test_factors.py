import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge.npu.factors import of_float_mean, of_mean, of_sum

SCALES = st.floats(2.0**-6, 2.0, width=32)
ZEROS = st.integers(-128, 127)


def float_sum(left, right, fixed):
    """Every pair, in the two fused steps of `edge.program.Add`."""
    stored = np.arange(-128, 128).astype(np.float64)
    inner = np.float32(stored * right + fixed).astype(np.float64)
    return np.clip(np.rint(np.float32(stored[:, None] * left + inner)), -128, 127)


@settings(max_examples=15, deadline=None)
@given(SCALES, SCALES, ZEROS, ZEROS, ZEROS)
def test_factors_of_a_sum_are_right_for_every_pair(left, right, za, zb, zy):
    left, right = float(np.float32(left)), float(np.float32(right))
    fixed = float(np.float32(zy - (left * za + right * zb)))
    found = of_sum(left, right, fixed, (za, zb, zy), (-128, 127))
    assume(found is not None)
    a, b = np.meshgrid(np.arange(-128, 128) - za, np.arange(-128, 128) - zb, indexing="ij")
    total = a * found.left + b * found.right
    assert np.abs(total).max() < 2**31
    assert max(found.left, found.right) < 2**22
    made = np.clip(((total + (1 << (found.shift - 1))) >> found.shift) + zy, -128, 127)
    assert np.array_equal(made, float_sum(left, right, fixed))


def test_most_sums_have_factors_and_ties_have_none():
    random = np.random.default_rng(0)
    found = 0
    for _ in range(20):
        left, right = (float(np.float32(value)) for value in random.uniform(0.2, 1.2, 2))
        fixed = float(np.float32(3 - (left * -5 + right * 7)))
        found += of_sum(left, right, fixed, (-5, 7, 3), (-128, 127)) is not None
    assert found >= 15
    assert of_sum(0.5, 0.5, 0.0, (0, 0, 0), (-128, 127)) is None
    assert of_sum(0.0, 1.0, 0.0, (0, 0, 0), (-128, 127)) is None


@settings(max_examples=60, deadline=None)
@given(st.floats(2.0**-10, 1.5, width=32), ZEROS, ZEROS, st.integers(1, 60))
def test_a_mean_is_right_for_every_sum(scale, zx, zy, count):
    sums = (-128 - zx) * count, (127 - zx) * count
    found = of_mean(scale, zy, sums, (-128, 127))
    assume(found is not None)
    reach = np.arange(sums[0], sums[1] + 1)
    made = ((reach * found[0] + (1 << (found[1] - 1))) >> found[1]) + zy
    wanted = np.rint(reach.astype(np.float32) * np.float32(scale)) + zy
    assert np.array_equal(np.clip(made, -128, 127), np.clip(wanted, -128, 127))


@settings(max_examples=60, deadline=None)
@given(SCALES, SCALES, ZEROS, ZEROS, st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_mean_in_float_steps_is_right_in_any_order(x, y, zx, zy, count, seed):
    found = of_float_mean((x, y), (zx, zy), count, (-128, 127))
    assume(found is not None)
    windows = np.random.default_rng(seed).integers(-128, 128, (400, count))
    total = np.zeros(400, np.float32)
    for column in windows.T:
        total += np.float32(column - zx) * np.float32(x)
    mean = total / np.float32(count) / np.float32(y) + np.float32(zy)
    wanted = np.clip(np.rint(mean), -128, 127)
    sums = (windows - zx).sum(1)
    made = ((sums * found[0] + (1 << (found[1] - 1))) >> found[1]) + zy
    assert np.array_equal(np.clip(made, -128, 127), wanted)


def test_a_mean_with_ties_has_no_factors():
    # Equal scales and an even count: half of all sums lie on a tie.
    assert of_float_mean((0.1, 0.1), (0, 0), 2, (-128, 127)) is None
    assert of_mean(0.5, 0, (-256, 254), (-128, 127)) is None
