"""Kernels for Cortex-M0, M3 and RV32, compiled and run on emulated cores, against the reference."""

import shutil

import numpy as np
import pytest

from edge.mcu.generate import generate
from edge.mcu.kernels import Operand
from edge.mcu.kernels.m3 import KERNELS
from edge.mcu.kernels.small import in_place, moved_weights, packed, part, uniform
from edge.mcu.tools import CORES, build, run
from edge.program import Conv, Dense, Requant, Value, bounds
from edge.quantize.portable import integers
from edge.reference import run as reference
from tests.edge.mcu import programs
from tests.edge.mcu.programs import Builder, rows

ROWS = 6
BUILDS = [
    ("cortex-m0", "zig"),
    ("cortex-m3", "zig"),
    ("rv32imc", "zig"),
    ("cortex-m0", "gcc"),
    ("cortex-m3", "gcc"),
]


def dense(b):
    """Blocks whole and in part, one column, odd columns, more than the loop unrolls, extremes."""
    shapes = ((1, 1), (8, 1), (8, 2), (9, 31), (16, 32), (24, 33), (13, 66), (8, 640))
    for outs, columns in shapes:
        yield b.dense(b.input((columns,), name=f"d{columns}"), outs)
    several = b.input((3, 21), name="several", zero=-128)
    yield b.dense(several, 17)
    yield b.dense(several, 16, low=-20, high=33)
    yield b.dense(several, 8, low=-5, high=127)
    yield b.dense(several, 11, exact=False, low=-90)
    # All weights at their end: 259 columns are the most that are requantised in place.
    for columns in (259, 260, 800):
        x = b.input((columns,), name=f"full{columns}", zero=0)
        for extreme in (127, -127):
            yield b.dense(x, 9, weights=np.full((9, columns), extreme, np.int8))
    yield apart(b, several)
    yield floats(b, several)


def apart(b, x):
    """Scales that no common shift serves."""
    weights = b.random.integers(-127, 128, (10, x.shape[-1]), np.int8)
    bias = b.random.integers(-2000, 2000, 10, np.int32)
    layer = Dense("", (x.name,), "", weights, bias, None)
    scales = (b.scales(10, x.shape[-1]) * 2.0 ** np.arange(-5, 5)).astype(np.float32)
    made = [
        programs.requant(scale, low, high)
        for scale, low, high in zip(scales, *bounds(layer, x.zero), strict=True)
    ]
    parts = ("scale", "multiplier", "shift", "exact")
    how = Requant(*(np.concatenate([getattr(one, name) for one in made]) for name in parts), 0)
    assert how.exact.all() and uniform(how) is None
    return b.add(Dense, [x], (*x.shape[:-1], 10), zero=0, weights=weights, bias=bias, requant=how)


def floats(b, x):
    """Results that stay float."""
    fields = {
        "weights": b.random.integers(-127, 128, (9, x.shape[-1]), np.int8),
        "bias": b.random.integers(-9000, 9000, 9, np.int32),
        "requant": None,
        "scale": b.random.uniform(1e-4, 1e-2, 9).astype(np.float32),
    }
    return b.add(Dense, [x], (*x.shape[:-1], 9), "float32", **fields)


def conv(b):
    """Strides, dilations, paddings on every side, and windows no larger than a pixel."""
    series = b.input((1, 19, 14), name="series", zero=-7)
    yield b.conv(series, 8, (1, 5), pad=(0, 2, 0, 2), zero=-128)
    yield b.conv(series, 16, (1, 3), stride=(1, 2), pad=(0, 1, 0, 0), low=-40, high=60)
    yield b.conv(series, 9, (1, 3), dilation=(1, 4), pad=(0, 8, 0, 8))
    yield b.conv(series, 5, (1, 1), exact=False)
    image = b.input((6, 7, 3), name="image", zero=127)
    yield b.conv(image, 8, (3, 3), pad=(1, 1, 1, 1))
    yield b.conv(image, 12, (2, 3), stride=(2, 1), dilation=(2, 2), pad=(3, 0, 0, 5))
    yield b.conv(image, 10, (6, 7))
    yield b.conv(image, 6, (3, 3), groups=3)
    yield b.conv(image, 3, (3, 3), groups=3, pad=(1, 2, 1, 0), stride=(2, 1), low=-70, high=40)
    wide = b.input((1, 12, 10), name="wide", zero=-128)
    yield b.conv(wide, 10, (1, 3), groups=10, dilation=(1, 2), pad=(0, 4, 0, 4), zero=-128)
    yield b.conv(wide, 10, (1, 4), groups=10, exact=False)


@pytest.fixture(scope="module")
def case():
    """Every layer in one program, its rows, and what the reference makes of them."""
    b = Builder("layers", 11)
    made = [*dense(b), *conv(b)]
    inputs = dict.fromkeys(b.inputs)
    b.inputs = list(inputs)
    program = b.program(*made)
    given = rows(program, ROWS)
    return program, given, reference(program, given)


@pytest.mark.parametrize(("core", "toolchain"), BUILDS)
def test_every_byte_is_the_reference_s(case, core, toolchain, tmp_path):
    if toolchain == "gcc" and shutil.which(CORES[core].gcc) is None:
        pytest.skip("the GNU compiler is not installed")
    program, given, wanted = case
    project = generate(program, CORES[core].family)
    assert {"firnline_small_conv.h", "firnline_small_depthwise.h"} < set(project.files)

    image = build(CORES[core], project.files, tmp_path, toolchain)
    made = programs.unpacked(program, run(image, programs.packed(program, given)).outputs)

    differ = {
        name: int((value.view(np.uint8) != made[name].view(np.uint8)).sum())
        for name, value in wanted.items()
    }
    assert differ == dict.fromkeys(wanted, 0)


def test_a_common_shift_is_found_where_multipliers_have_room():
    four = np.array([2**20, 2**30, 2**20 + 1, 2**26], np.int32)
    how = Requant(np.ones(4), four, np.array([40, 45, 42, 41], np.uint8), np.ones(4, bool), 0)

    multiplier, shift = uniform(how)
    assert shift == 45
    assert multiplier.tolist() == [2**25, 2**30, (2**20 + 1) << 3, 2**30]
    crowded = Requant(how.scale, four[::-1], how.shift, how.exact, 0)
    assert uniform(crowded) is None
    long = Requant(how.scale, four, how.shift + np.uint8(12), how.exact, 0)
    assert uniform(long) is None


def test_parts_keep_every_sum_below_24_bits():
    random = np.random.default_rng(5)
    for columns, extreme in ((258, 127), (260, 127), (1999, 127), (640, -127)):
        weights = random.integers(-127, 128, (9, columns), np.int8)
        weights[3] = extreme
        layer = Dense("", ("x",), "y", weights, np.zeros(9, np.int32), None)
        moved = moved_weights(layer)
        length = part(moved)
        sums = [moved[:, k : k + length].astype(np.int64).sum(1) for k in range(0, columns, length)]
        assert length % 2 == 0 and 255 * np.max(sums) < 2**24


def test_words_hold_four_channels_of_a_column_the_first_lowest():
    weights = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)[:9, :3]
    layer = Dense("", ("x",), "y", weights, np.zeros(9, np.int32), None)

    words = packed(moved_weights(layer))

    assert words.shape == (2, 4, 2)
    for channel in range(9):
        held = words[channel // 8, :, channel % 8 // 4] >> (8 * (channel % 4)) & 255
        assert held.tolist() == [*(weights[channel].astype(int) + 128), 0]
    assert not words[1, :, 1].any()


def test_layers_in_place_are_whole_blocks_within_reach():
    weights = np.full((20, 259), -127, np.int8)
    layer = Dense("", ("x",), "y", weights, np.zeros(20, np.int32), None)
    assert in_place(layer) == 0
    made = integers(np.full(20, 1e-4, np.float32), 0, *bounds(layer, 0))
    how = Requant(np.full(20, 1e-4, np.float32), made.multiplier, made.shift, np.ones(20, bool), 0)
    assert in_place(Dense("", ("x",), "y", weights, layer.bias, how)) == 16
    wider = np.full((20, 260), -127, np.int8)
    assert in_place(Dense("", ("x",), "y", wider, layer.bias, how)) == 0


def test_groups_are_left_to_portable_c():
    how = Requant(np.ones(1), np.ones(1, np.int32), np.full(1, 33), np.ones(1, bool), 0)
    layer = Conv(
        "", ("x",), "y", np.ones((4, 1, 1, 2), np.int8), np.zeros(4, np.int32), how, groups=2
    )
    image = Value("x", (1, 5, 4), "int8", 1.0)
    assert KERNELS.conv("l", layer, Operand("x", image), Operand("y", image)) is None
