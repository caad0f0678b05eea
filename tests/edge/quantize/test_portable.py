import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.quantize.portable import combined, integers, nudged, portable

REACH = 60_000


def by_float(acc, scale, zero):
    product = acc.astype(np.float32) * np.float32(scale)
    return np.clip(np.rint(product).astype(np.int64) + zero, -128, 127)


def by_integers(acc, multiplier, shift, zero):
    made = (acc * int(multiplier) + (1 << (int(shift) - 1))) >> int(shift)
    return np.clip(made + zero, -128, 127)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(2**-14, 0.25, width=32, exclude_max=True),
    st.integers(-128, 127),
    st.integers(-REACH, REACH),
    st.integers(0, REACH),
)
def test_where_there_are_integers_they_give_what_float_gives(scale, zero, low, width):
    found = portable(scale, zero, low, low + width)
    if found is not None:
        acc = np.arange(low, low + width + 1)
        assert (by_integers(acc, *found, zero) == by_float(acc, scale, zero)).all()


def test_a_tie_that_float_rounds_to_even_has_no_integers_until_the_scale_is_moved():
    assert portable(0.125, 0, -1000, 1000) is None
    scale = nudged(1.0, np.float32([0.125]), 1.0, 0, np.array([-1000]), np.array([1000]))
    assert 0 < abs(scale[0] - 0.125) < 1e-5
    found = portable(float(scale[0]), 0, -1000, 1000)
    acc = np.arange(-1000, 1001)
    assert (by_integers(acc, *found, 0) == by_float(acc, scale[0], 0)).all()


def test_what_cannot_be_reached_does_not_matter():
    assert portable(0.125, 0, 0, 11) is not None
    assert portable(0.125, 0, 0, 12) is None


def test_a_folded_relu_leaves_only_what_is_above_it():
    assert portable(0.125, 100, -12, -4) is None
    assert portable(0.125, 100, -12, -4, low=100) is not None


def test_a_layer_gets_one_shift_and_the_low_word_of_the_product_does_not_matter():
    random = np.random.default_rng(0)
    wanted = random.uniform(2e-4, 4e-2, 96).astype(np.float32)
    reach = np.full(96, 400_000)
    scales = combined(0.5, nudged(0.5, wanted, 0.25, -7, -reach, reach), 0.25)
    made = integers(scales, -7, -reach, reach)
    assert made.exact.all()
    assert len(set(made.shift.tolist())) == 1
    shift = int(made.shift[0])
    acc = random.integers(-400_000, 400_001, (20_000, 1))
    high = (acc * made.multiplier) >> 32
    short = (high + (1 << (shift - 33))) >> (shift - 32)
    assert (np.clip(short - 7, -128, 127) == by_float(acc, scales, -7)).all()
    assert np.abs(scales / (wanted * 2) - 1).max() < 1e-4


def test_a_channel_without_integers_is_named_and_the_others_keep_theirs():
    scales = np.array([0.3, 0.010001], np.float32)
    made = integers(scales, 0, np.full(2, -1000), np.full(2, 1000))
    assert made.exact.tolist() == [False, True]
