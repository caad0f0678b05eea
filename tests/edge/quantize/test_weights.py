import numpy as np
import pytest
from onnx import helper

from edge.quantize.compensate import Moments, compensated, joined, moved
from edge.quantize.grids import Grid
from edge.quantize.moments import moments
from edge.quantize.portable import combined, integers
from edge.quantize.weights import pack, reach

GEMM = helper.make_node("Gemm", [], [])


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
    seen = moments(GEMM, weights, rows, rows)
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
    nothing = Moments(*(np.zeros(shape) for shape in ((1, 64, 64),) * 2 + ((1, 64),) * 2), 1)
    flat, steps = weights.astype(np.float64), np.full(32, 0.1)
    assert (moved(flat, (nothing, nothing)) == flat).all()
    assert (compensated(flat, steps, (nothing, nothing), 127) == np.rint(flat / 0.1)).all()


def test_what_the_other_half_of_the_rows_does_not_bear_out_is_not_done(correlated):
    """Halves that have nothing in common: what is learnt of one is wrong on the other."""
    weights, _ = correlated
    random = np.random.default_rng(3)
    rows = np.zeros((40, 64), np.float32)
    rows[:20, :32] = random.normal(size=(20, 2)) @ random.normal(size=(2, 32))
    rows[20:, 32:] = random.normal(size=(20, 2)) @ random.normal(size=(2, 32))
    rows += np.float32(0.05) * random.normal(size=rows.shape).astype(np.float32)
    lossy = rows + np.float32(0.1) * random.normal(size=rows.shape).astype(np.float32)
    flat, steps = weights.astype(np.float64), np.full(32, np.abs(weights).max() / 7)
    halves = moments(GEMM, weights, lossy, rows)
    by_itself = np.clip(np.rint(flat / steps[:, None]), -7, 7)
    chosen = compensated(flat, steps, halves, 7)
    for judge in halves:
        lost, most = (flat - whole * steps[:, None] for whole in (chosen, by_itself))
        assert (judge.times(lost) * lost).sum() <= (judge.times(most) * most).sum()


def test_weights_undo_what_the_layers_before_have_lost(correlated):
    weights, rows = correlated
    lossy = rows * np.float32(0.9) + np.float32(0.2)
    flat = weights.astype(np.float64)
    made = moved(flat, moments(GEMM, weights, lossy[::2], rows[::2]))
    wanted = rows[1::2] @ flat.T
    before, after = (np.var(lossy[1::2] @ used.T - wanted, axis=0).sum() for used in (flat, made))
    assert after < 0.5 * before


def test_one_row_is_enough(correlated):
    weights, rows = correlated
    seen = moments(GEMM, weights, rows[:1], rows[:1])
    assert [half.count for half in seen] == [1, 1]
    packed = pack(
        weights, np.zeros(32, np.float32), Grid(0.05, 3), None, seen, per_channel=True, levels=127
    )
    assert np.abs(packed.weights).max() == 127


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
    halves = moments(conv, weights, rows, 2 * rows)
    seen = joined(halves)
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
    assert seen.cross == pytest.approx(2 * expected, abs=2e-5)
    assert seen.real == pytest.approx(2 * seen.first, abs=1e-6)
    assert [half.count for half in halves] == [30, 30]
