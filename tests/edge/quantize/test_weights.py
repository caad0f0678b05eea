import numpy as np
import pytest
from onnx import helper

from edge.quantize.grids import Grid
from edge.quantize.moments import moments
from edge.quantize.portable import combined, integers
from edge.quantize.weights import Moments, compensated, pack, reach


@pytest.fixture(scope="module")
def correlated():
    """Weights [32, 64], and rows of 64 columns that 6 sources make."""
    random = np.random.default_rng(7)
    rows = random.normal(size=(800, 6)) @ random.normal(size=(6, 64)) + 1
    weights = random.normal(size=(32, 64))
    return weights.astype(np.float32), rows.astype(np.float32)


def error_of(weights, bias, packed, rows):
    flat = packed.weights.reshape(len(weights), -1) * packed.scales[:, None]
    made = rows @ flat.T + packed.bias * packed.bias_scales
    return np.square(made - (rows @ weights.T + bias)).mean()


def test_compensated_rounding_is_nearer_than_each_weight_by_itself(correlated):
    weights, rows = correlated
    bias = np.zeros(32, np.float32)
    seen = moments(helper.make_node("Gemm", [], []), weights, rows)
    by_itself, together = (
        error_of(
            weights,
            bias,
            pack(weights, bias, Grid(0.05, 3), None, how, per_channel=True, levels=127),
            rows,
        )
        for how in (None, seen)
    )
    assert together < 0.3 * by_itself


def test_columns_that_never_move_are_rounded_by_themselves(correlated):
    weights, _ = correlated
    nothing = Moments(np.zeros((1, 64, 64)), np.zeros((1, 64)))
    steps = np.full(32, 0.1)
    whole, added = compensated(weights.astype(np.float64), steps, nothing, 127)
    assert (whole == np.rint(weights / 0.1)).all()
    assert not added.any()


def test_every_channel_of_a_layer_has_integers_and_the_weights_hardly_change(correlated):
    weights, _ = correlated
    bias = np.linspace(-2, 2, 32, dtype=np.float32)
    given, made = Grid(0.021, -17), Grid(0.31, 4)
    packed = pack(weights, bias, given, made, None, per_channel=True, levels=127)
    assert packed.exact.all()
    low, high = reach(packed.weights, packed.bias.astype(np.int64), given.zero)
    factors = combined(given.scale, packed.scales, made.scale)
    found = integers(factors, made.zero, low, high)
    assert found.exact.all()
    assert len(set(found.shift.tolist())) == 1
    assert np.abs(packed.scales / (np.abs(weights).max(axis=1) / 127) - 1).max() < 1e-4
    assert np.abs(packed.bias * packed.bias_scales - bias).max() <= packed.bias_scales.max()


def test_a_great_bias_on_small_weights_still_fits():
    weights = np.float32([[1e-9, 0], [1, 2], [0, 0]])
    bias = np.float32([50, 0, 0])
    packed = pack(weights, bias, Grid(0.01, 0), Grid(0.5, 0), None, per_channel=True, levels=127)
    made = packed.bias[0] * packed.bias_scales[0]
    assert made == pytest.approx(50, rel=1e-5)
    assert not packed.weights[2].any()
    assert np.isfinite(packed.scales).all()


def test_windows_are_those_that_a_convolution_sees():
    random = np.random.default_rng(1)
    rows = random.normal(size=(3, 4, 7, 6)).astype(np.float32)
    weights = random.normal(size=(6, 2, 3, 2)).astype(np.float32)
    conv = helper.make_node(
        "Conv", ["x", "w"], ["y"], group=2, pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2]
    )
    seen = moments(conv, weights, rows)
    wide = np.pad(rows, [(0, 0), (0, 0), (1, 2), (0, 1)])
    windows = [
        [wide[row, 2 * part : 2 * part + 2, top : top + 3, left : left + 3 : 2].ravel()
         for part in range(2)]
        for row in range(3) for top in range(0, 8, 2) for left in range(5)
    ]  # fmt: skip
    columns = np.array(windows, np.float64)
    assert seen.first == pytest.approx(columns.mean(axis=0), abs=1e-6)
    expected = np.einsum("ngi,ngj->gij", columns, columns) / len(columns)
    assert seen.second == pytest.approx(expected, abs=1e-5)
