"""What lowering moves, folds and refuses."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge.lower import lower
from edge.program import Dense, Quantize, Requant, Table, Transpose
from edge.reference import run
from firnline.errors import HandshakeError
from tests.edge.lower import graphs

GRID = np.float32(0.05), np.int8(-3)
RELU = np.int8(-128)


def start(*shape, seed=0):
    graph = graphs.Graph(np.random.default_rng(seed))
    return graph, graph.pair(graph.input(*shape), GRID)


def layer(graph, x, size, **attributes):
    weights, scale = graph.weights(size, 0)
    made = graph.node("Gemm", x, weights, graph.bias(size[0], GRID[0], scale), transB=1)
    return graph.pair(made, (np.float32(0.3), np.int8(5)))


def steps(program):
    return [type(step).__name__ for step in program.operations]


def test_a_flatten_behind_a_convolution_moves_no_data():
    graph, x = start(4, 20)
    weights, scale = graph.weights((6, 4, 3), 0)
    made = graph.node("Conv", x, weights, graph.bias(6, GRID[0], scale), kernel_shape=[3])
    made = graph.node("Flatten", graph.pair(made, GRID))
    graph.output(layer(graph, graph.pair(made, GRID), (5, 108)))
    kinds = steps(lower(graph.bytes(), "net"))
    assert kinds.count("Transpose") == 1 and kinds.index("Transpose") < kinds.index("Conv")


def test_transposes_that_undo_each_other_vanish():
    graph, x = start(6, 8)
    for _ in range(2):
        x = graph.pair(graph.node("Transpose", x, perm=[0, 2, 1]), GRID)
        x = graph.pair(graph.node("Sigmoid", x), GRID)
    graph.output(x)
    program = lower(graph.bytes(), "net")
    assert not any(isinstance(step, Transpose) for step in program.operations)


def test_tables_in_a_row_are_one():
    graph, x = start(6)
    y = graph.pair(graph.node("Sigmoid", x), (np.float32(1 / 256), np.int8(-128)))
    graph.output(graph.pair(graph.node("Neg", y), (np.float32(1 / 128), np.int8(127))))
    program = lower(graph.bytes(), "net")
    tables = [step for step in program.operations if isinstance(step, Table)]
    assert [table.kind for table in tables] == ["Sigmoid Neg"]


def test_relu_and_clip_become_bounds():
    graph, x = start(6)
    weights, scale = graph.weights((4, 6), 0)
    made = graph.node("Gemm", x, weights, graph.bias(4, GRID[0], scale), transB=1)
    bounds = [graph.constant(np.float32(bound)) for bound in (0, 6)]
    graph.output(graph.pair(graph.node("Clip", made, *bounds), (np.float32(0.1), np.int8(-100))))
    program = lower(graph.bytes(), "net")
    requant = program.operations[1].requant
    assert (requant.low, requant.high, steps(program)[1]) == (-100, -40, "Dense")


def test_a_clip_before_the_first_layer_is_in_its_quantisation():
    graph = graphs.Graph(np.random.default_rng(0))
    bounds = [graph.constant(np.float32(bound)) for bound in (-2, 2)]
    graph.output(graph.pair(graph.node("Clip", graph.input(5), *bounds), (np.float32(0.1), RELU)))
    program = lower(graph.bytes(), "net")
    first = program.operations[0]
    assert isinstance(first, Quantize) and (first.low, first.high) == (-128, -108)


def test_one_scale_for_all_channels_is_one_factor():
    graph, x = start(30)
    weights, scale = graph.weights((8, 30), 0, per_channel=False)
    made = graph.node("Gemm", x, weights, graph.bias(8, GRID[0], scale), transB=1)
    graph.output(graph.pair(made, (np.float32(0.3), np.int8(5))))
    requant = lower(graph.bytes(), "net").operations[1].requant
    assert isinstance(requant, Requant) and requant.scale.size in (1, 8)


def test_only_what_chosen_outputs_need_stays():
    graph, x = start(6)
    y = layer(graph, x, (4, 6))
    graph.output(layer(graph, y, (3, 4)))
    graph.output(graph.node("ArgMax", y, axis=1, keepdims=0), TensorProto.INT64)
    program = lower(graph.bytes(), "net", ["y1"])
    assert steps(program) == ["Quantize", "Dense", "ArgMax"]
    assert program.outputs == ("y1",) and program.values["y1"].dtype == "int32"


def test_a_layer_that_is_read_in_float_gives_float():
    graph, x = start(6)
    weights, scale = graph.weights((4, 6), 0)
    made = graph.node("Gemm", x, weights, graph.bias(4, GRID[0], scale), transB=1)
    graph.output(graph.node("Mul", made, made))
    program = lower(graph.bytes(), "net")
    dense = next(step for step in program.operations if isinstance(step, Dense))
    assert dense.requant is None and len(dense.scale) == 4


def test_a_float_graph_is_close_to_onnx_runtime():
    """Its sums go another way; nothing else differs."""
    graph = graphs.Graph(np.random.default_rng(0))
    x = graph.input(9)
    fill = graph.constant(np.arange(9, dtype=np.float32)[None])
    x = graph.node("Where", graph.node("IsNaN", x), fill, x)
    code = graph.node("Gather", x, graph.constant(np.array([2])), axis=1)
    rest = graph.node("Gather", x, graph.constant(np.array([0, 1, 3, 4])), axis=1)
    codes = graph.constant(np.array([[0.0, 1, 2]], np.float32))
    same = graph.node("Cast", graph.node("Equal", code, codes), to=1)
    one = graph.node("ReduceSum", same, graph.constant(np.array([1])), keepdims=1)
    rows = graph.node("Concat", same, graph.node("Sub", one, same), axis=1)
    table = graph.constant(np.random.default_rng(1).normal(size=(6, 4)).astype(np.float32))
    y = graph.node("Div", graph.node("Sub", rest, graph.node("MatMul", rows, table)), rest)
    y = graph.node("Softmax", graph.node("Tanh", y), axis=1)
    graph.output(graph.node("ReduceL2", y, axes=[1]))
    graph.output(graph.node("Reshape", y, graph.constant(np.array([0, 2, 2]))))
    model = graph.bytes()
    x = np.random.default_rng(2).normal(size=(50, 9)).astype(np.float32)
    x[::7, 1], x[:, 2] = np.nan, np.arange(50) % 5
    made, expected = run(lower(model, "net"), {"x0": x}), graphs.run(model, {"x0": x})
    for name, wanted in expected.items():
        assert made[name].shape == wanted.shape
        np.testing.assert_allclose(made[name], wanted, rtol=2e-5, atol=1e-6)


def test_float_layers_on_images_are_close_to_onnx_runtime():
    graph = graphs.Graph(np.random.default_rng(0))
    random = graph.random
    x = graph.input(4, 9, 8)
    weights = graph.constant(random.normal(size=(6, 2, 3, 3)).astype(np.float32))
    y = graph.node("Conv", x, weights, group=2, auto_pad="SAME_LOWER", strides=[2, 1])
    y = graph.node("LeakyRelu", y, alpha=0.2)
    y = graph.node("MaxPool", y, kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    y = graph.node("AveragePool", y, kernel_shape=[3, 3], pads=[1] * 4)
    parts = graph.node("Slice", y, *(graph.constant(np.array([v])) for v in (1, 5, 1, 2)))
    graph.output(graph.node("HardSwish", graph.node("GlobalAveragePool", parts)))
    graph.output(graph.node("ReduceMax", graph.node("Add", y, y), axes=[1, 3], keepdims=0))
    model = graph.bytes()
    values = {"x0": random.normal(size=(5, 4, 9, 8)).astype(np.float32)}
    made, expected = run(lower(model, "net"), values), graphs.run(model, values)
    for name, wanted in expected.items():
        assert made[name].shape == wanted.shape
        np.testing.assert_allclose(made[name], wanted, rtol=2e-5, atol=1e-6)


def unsupported(graph, x):
    return graph.node("Einsum", x, equation="ij->ij")


def product(graph, x):
    return graph.pair(graph.node("Mul", x, graph.pair(graph.input(6))))


def other_window(graph, x):
    weights = graph.constant(np.ones((4, 6, 3), np.float32))
    image = graph.node("Unsqueeze", x, graph.constant(np.array([2])))
    return graph.node("Conv", image, weights, kernel_shape=[1], pads=[0, 0])


def picked(graph, x):
    return graph.pair(graph.node("Gather", x, graph.constant(np.array([1, 4])), axis=1), GRID)


def asymmetric(graph, x):
    stored = graph.random.integers(-9, 9, (4, 6)).astype(np.int8)
    inputs = [graph.constant(item) for item in (stored, np.float32(0.1), np.int8(3))]
    return graph.node("Gemm", x, graph.node("DequantizeLinear", *inputs), transB=1)


def most_negative(graph, x):
    stored = np.full((4, 6), -128, np.int8)
    inputs = [graph.constant(item) for item in (stored, np.float32(0.1), np.int8(0))]
    return graph.node("Gemm", x, graph.node("DequantizeLinear", *inputs), transB=1)


def negative_scale(graph, x):
    stored = np.ones((4, 6), np.int8)
    inputs = [graph.constant(item) for item in (stored, np.float32(-0.1), np.int8(0))]
    return graph.node("Gemm", x, graph.node("DequantizeLinear", *inputs), transB=1)


def no_scale(graph, x):
    return graph.pair(x, (np.float32(0), np.int8(0)))


def other_bias(graph, x):
    weights, scale = graph.weights((4, 6), 0)
    return graph.node("Gemm", x, weights, graph.bias(4, 3 * GRID[0], scale), transB=1)


def over_the_batch(graph, x):
    return graph.node("ReduceSum", x, graph.constant(np.array([0])), keepdims=1)


def mixing_rows(graph, x):
    return graph.node("Reshape", x, graph.constant(np.array([3, 2])))


def overflowing(graph, x):
    weights, scale = graph.weights((1, 6), 0)
    bias = [np.array([2**31 - 9], np.int32), np.float32(GRID[0] * scale), np.zeros(1, np.int32)]
    held = graph.node("DequantizeLinear", *(graph.constant(item) for item in bias), axis=0)
    return graph.pair(graph.node("Gemm", x, weights, held, transB=1))


@pytest.mark.parametrize(
    ("code", "build"),
    [
        *(("E20", build) for build in (unsupported, product, other_window, picked)),
        *(
            ("E21", build)
            for build in (asymmetric, most_negative, negative_scale, no_scale, other_bias)
        ),
        *(("E22", build) for build in (over_the_batch, mixing_rows)),
        ("E26", overflowing),
    ],
)
def test_what_cannot_be_lowered_is_refused_by_name(code, build):
    graph, x = start(6)
    graph.output(build(graph, x))
    with pytest.raises(HandshakeError) as caught:
        lower(graph.bytes(), "net")
    assert caught.value.code == code
    assert "node" in caught.value.where or "value" in caught.value.where


def test_values_beyond_all_memory_are_refused_before_they_are_made():
    graph = graphs.Graph(np.random.default_rng(0))
    graph.output(graph.node("Relu", graph.input(1 << 40)))
    with pytest.raises(HandshakeError, match=r"E22.*over 67,108,864"):
        lower(graph.bytes(), "net")


def test_other_models_are_refused():
    graph, x = start(6)
    graph.output(x)
    with pytest.raises(HandshakeError, match="E24"):
        lower(graph.bytes(), "net", ["nothing"])
    model = onnx.load_from_string(graph.bytes())
    model.opset_import[0].version = 11
    for bad in (b"no model", model.SerializeToString()):
        with pytest.raises(HandshakeError, match="E23"):
            lower(bad, "net")
    free = helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["rows", "width"])
    graph.inputs[0].CopyFrom(free)
    with pytest.raises(HandshakeError, match="E22"):
        lower(graph.bytes(), "net")
