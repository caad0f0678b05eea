"""Programs by hand: each operation as its definition says, batches, and what is refused."""

import numpy as np
import pytest

from edge.program import (
    Add,
    ArgMax,
    AveragePool,
    Conv,
    Dense,
    Factors,
    FloatBinary,
    FloatDense,
    FloatPool,
    FloatReduce,
    Operation,
    Program,
    Quantize,
    Requant,
    Trees,
    Value,
)
from edge.reference import run, trace
from firnline.errors import HandshakeError

RANDOM = np.random.default_rng(0)


def program(step: Operation, made: Value, *given: Value) -> Program:
    names = tuple(value.name for value in given)
    values = {value.name: value for value in (*given, made)}
    return Program("p", names, (made.name,), values, (step,))


def once(step, made, given, x):
    return run(program(step, made, given), {given.name: x})[made.name]


def requant(scale, zero, channels, low=-128, high=127):
    count = np.ones(channels)
    scale = np.full(channels, scale, np.float32)
    return Requant(
        scale, count.astype(np.int32), count.astype(np.uint8), count > 0, zero, low, high
    )


def test_a_dense_layer_is_its_definition_element_by_element():
    x = RANDOM.integers(-128, 128, (5, 7)).astype(np.int8)
    weights = RANDOM.integers(-127, 128, (3, 7)).astype(np.int8)
    bias = RANDOM.integers(-999, 999, 3).astype(np.int32)
    step = Dense("d", ("x",), "y", weights, bias, requant(0.013, 5, 3, low=5))
    made = once(step, Value("y", (3,), "int8", 0.1, 5), Value("x", (7,), "int8", 0.1, -9), x)
    for row in range(5):
        for place in range(3):
            acc = int(bias[place]) + sum(
                int(w) * (int(v) + 9) for w, v in zip(weights[place], x[row], strict=True)
            )
            real = np.rint(np.float32(acc) * np.float32(0.013))
            assert made[row, place] == np.clip(real + 5, 5, 127)


def test_sums_beyond_float32_are_exact():
    weights = np.full((1, 4096), 127, np.int8)
    step = Dense("d", ("x",), "y", weights, np.array([1], np.int32), None, np.ones(1, np.float32))
    x = np.full((1, 4096), 127, np.int8)
    x[0, 0] = 126
    made = once(step, Value("y", (1,), "float32"), Value("x", (4096,), "int8", 1, -128), x)
    assert made[0, 0] == np.float32(127 * (4096 * 255 - 1) + 1)


def test_padding_counts_as_the_zero_point():
    weights = np.ones((1, 1, 3, 1), np.int8)
    step = Conv(
        "c", ("x",), "y", weights, np.zeros(1, np.int32), requant(1, 0, 1), pad=(0, 1, 0, 1)
    )
    x = np.full((1, 1, 4, 1), 50, np.int8)
    given = Value("x", (1, 4, 1), "int8", 1.0, 40)
    made = once(step, Value("y", (1, 4, 1), "int8", 1.0, 0), given, x)
    assert made.ravel().tolist() == [20, 30, 30, 20]


def test_a_windowed_average_adds_its_zero_point_before_rounding():
    step = AveragePool("a", ("x",), "y", (1, 2), None)
    x = np.array([[[[0], [1]]]], np.int8)
    given = Value("x", (1, 2, 1), "int8", 1.0, 0)
    assert once(step, Value("y", (1, 1, 1), "int8", 1.0, 0), given, x).item() == 0
    assert once(step, Value("y", (1, 1, 1), "int8", 1.0, 1), given, x).item() == 2


def test_a_sum_is_fused_and_its_factors_are_the_same():
    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    a, b = a.ravel().astype(np.int8)[None], b.ravel().astype(np.int8)[None]
    step = Add("s", ("a", "b"), "y", 0.5, 0.25, 1.125, -100, 90, Factors(4, 2, 13, 3))
    values = [Value(name, (65536,), "int8", 1.0, 0) for name in ("a", "b")]
    made = run(program(step, Value("y", (65536,), "int8", 1.0, 0), *values), {"a": a, "b": b})["y"]
    integers = (a.astype(int) * 4 + b.astype(int) * 2 + 13) >> 3
    assert (made == np.clip(integers, -100, 90)).all()


def test_quantising_bounds_what_cannot_be_held():
    step = Quantize("q", ("x",), "y", -100, 100)
    x = np.array([[np.inf, -np.inf, 3e38, 0.5, 1.5, -0.5]], np.float32)
    made = once(step, Value("y", (6,), "int8", 1.0, 3), Value("x", (6,), "float32"), x)
    assert made.tolist() == [[100, -100, 100, 3, 5, 3]]


def test_float_sums_go_from_first_to_last():
    x = np.array([[1e8, 1.0, -1e8, 1.0]], np.float32)
    given = Value("x", (4,), "float32")
    made = once(FloatReduce("r", ("x",), "y", "sum"), Value("y", (1,), "float32"), given, x)
    assert made.item() == 1.0
    step = FloatDense("d", ("x",), "y", np.ones((1, 4), np.float32), np.zeros(1, np.float32))
    assert once(step, Value("y", (1,), "float32"), given, x).item() == 1.0


def test_float_pools_leave_the_padding_out():
    x = np.array([[[[-4.0], [-2.0]]]], np.float32)
    given, made = Value("x", (1, 2, 1), "float32"), Value("y", (1, 2, 1), "float32")
    for kind, expected in (("max", [-4, -2]), ("mean", [-4, -3])):
        step = FloatPool("p", ("x",), "y", kind, (1, 2), pad=(0, 1, 0, 0))
        assert once(step, made, given, x).ravel().tolist() == expected


def test_a_float_pool_keeps_the_first_of_two_zeros_and_any_nan():
    step = FloatPool("p", ("x",), "y", "max", (1, 2))
    given, made = Value("x", (1, 2, 1), "float32"), Value("y", (1, 1, 1), "float32")
    x = np.array([[-0.0, 0.0], [0.0, -0.0], [np.nan, 1], [1, np.nan]], np.float32)
    found = once(step, made, given, x.reshape(4, 1, 2, 1)).ravel()
    assert np.signbit(found[:2]).tolist() == [True, False]
    assert np.isnan(found[2:]).all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("min", [1, 1]), ("max", [2, 1]), ("greater", [1, 0]), ("equal", [0, 0]), ("div", [2, None])],
)
def test_comparisons_are_false_for_nan(kind, expected):
    step = FloatBinary("b", ("x",), "y", kind, np.ones(1, np.float32))
    value = Value("x", (2,), "float32"), Value("y", (2,), "float32")
    made = once(step, value[1], value[0], np.array([[2.0, np.nan]], np.float32))[0]
    assert [None if np.isnan(item) else item for item in made.tolist()] == expected


def test_the_first_of_several_greatest_is_taken():
    given = Value("x", (4,), "float32")
    x = np.array([[1, 3, 3, 2], [np.nan, 1, 2, 0]], np.float32)
    made = once(ArgMax("m", ("x",), "y"), Value("y", (1,), "int32"), given, x)
    assert made.tolist() == [[1], [0]]


def test_trees_follow_missing_values_and_sum_in_order():
    step = Trees(
        "t",
        ("x",),
        "y",
        roots=np.array([0, 3], np.int32),
        feature=np.array([0, -1, -1, -1], np.int16),
        threshold=np.array([0.5, 0, 0, 0], np.float32),
        left=np.array([1, 0, 0, 0], np.int32),
        right=np.array([2, 0, 0, 0], np.int32),
        missing_left=np.array([True, False, False, False]),
        leaf=np.array([[0], [10], [20], [3]], np.float32),
        base=np.array([1], np.float32),
    )
    x = np.array([[0.5], [0.6], [np.nan]], np.float32)
    made = once(step, Value("y", (1,), "float32"), Value("x", (1,), "float32"), x)
    assert made.ravel().tolist() == [14, 24, 14]


def test_many_rows_are_few_rows_many_times(monkeypatch):
    step = FloatReduce("r", ("x",), "y", "sum")
    made, given = Value("y", (1,), "float32"), Value("x", (4,), "float32")
    x = RANDOM.normal(size=(50, 4)).astype(np.float32)
    whole = once(step, made, given, x)
    monkeypatch.setattr("edge.reference._ELEMENTS", 16)
    assert (once(step, made, given, x) == whole).all()
    assert once(step, made, given, x[:0]).shape == (0, 1)
    assert set(trace(program(step, made, given), {"x": x})) == {"x", "y"}


@pytest.mark.parametrize(
    "given", [{}, {"x": np.zeros((2, 3), np.float32)}, {"x": np.zeros((2, 4))}]
)
def test_other_inputs_are_refused(given):
    step = FloatReduce("r", ("x",), "y", "sum")
    made = program(step, Value("y", (1,), "float32"), Value("x", (4,), "float32"))
    with pytest.raises(HandshakeError, match="E25"):
        run(made, given)
