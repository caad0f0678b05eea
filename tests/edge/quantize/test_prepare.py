from collections import Counter

import numpy as np
import onnx
import pytest

from edge.quantize.graph import model_of, serialised
from edge.quantize.prepare import prepare
from firnline.errors import HandshakeError
from tests.edge.quantize.nets import branching, model, node, rows_for, run, series, weights

IMAGE, SERIES = (3, 12, 12), (4, 16)


@pytest.mark.parametrize(("made", "shape"), [(branching(), IMAGE), (series(), SERIES)])
def test_the_prepared_graph_computes_the_same_for_any_number_of_rows(made, shape):
    net = prepare(made, shape)
    assert net.batch == "rows"
    rows = rows_for(shape, 3)
    difference = run(serialised(model_of(net)), rows) - run(made, rows)
    assert np.abs(difference).max() < 1e-5


def test_normalisation_biases_and_padding_are_inside_the_layers():
    net = prepare(branching(), IMAGE)
    assert Counter(item.op_type for item in net.nodes) == {
        "Conv": 4, "Relu": 2, "Clip": 1, "MaxPool": 1, "Sigmoid": 1, "Concat": 1, "Add": 1,
        "AveragePool": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1, "Softmax": 1,
    }  # fmt: skip
    kinds = [item.op_type for item in net.nodes]
    assert kinds.index("Clip") < kinds.index("MaxPool")
    assert len({item.name for item in net.nodes}) == len(net.nodes)


def test_a_product_over_time_is_a_convolution_between_two_turns():
    kinds = [item.op_type for item in prepare(series(), SERIES).nodes]
    assert kinds == [
        "Conv", "LeakyRelu", "Transpose", "Transpose", "Conv", "Transpose", "Tanh", "Reshape",
        "Gemm",
    ]  # fmt: skip


def test_a_graph_for_one_row_stays_one_for_one_row():
    net = prepare(branching(batch=1), IMAGE)
    assert net.batch == ""
    assert all(net.shapes[name][0] == 1 for name in net.outputs)


def test_a_normalisation_before_the_first_layer_is_preprocessing():
    random = np.random.default_rng(0)
    constants = {name: weights(random, 4) for name in ("scale", "shift", "mean")}
    constants |= {"spread": np.ones(4, np.float32), "w": weights(random, 2, 4)}
    nodes = [
        node("BatchNormalization", "x scale shift mean spread", "n"),
        node("Gemm", "n w", "y", transB=1),
    ]
    made = model(nodes, constants, (4,), ["y"])
    net = prepare(made, (4,))
    assert [item.op_type for item in net.nodes] == ["Mul", "Add", "Gemm"]
    rows = rows_for((4,), 5)
    assert np.abs(run(serialised(model_of(net)), rows) - run(made, rows)).max() < 1e-5


@pytest.mark.parametrize("opset", [11, 18])
def test_another_opset_is_converted(opset):
    nodes = [node("Relu", "x", "r"), node("MatMul", "r w", "y")]
    made = model(nodes, {"w": np.ones((4, 2), np.float32)}, (4,), ["y"], opset=opset)
    assert prepare(made, (4,)).opset == 17


def test_what_cannot_be_prepared_is_named():
    one = {"w": np.ones((4, 2), np.float32)}
    layer = node("MatMul", "x w", "y")
    with pytest.raises(HandshakeError, match=r"E11.*not read as a model"):
        prepare(b"nonsense", (4,))
    with pytest.raises(HandshakeError, match=r"E12.*shape \['rows', 4\], a calibration row \[5\]"):
        prepare(model([layer], one, (4,), ["y"]), (5,))
    with pytest.raises(HandshakeError, match=r"E12.*shape \[32, 4\]"):
        prepare(model([layer], one, (4,), ["y"], batch=32), (4,))
    odd = onnx.helper.make_node("Strange", ["x"], ["z"], name="odd", domain="my.own")
    strange = model([layer, odd], one, (4,), ["y"], domains=("my.own",))
    with pytest.raises(HandshakeError, match=r"E10.*node odd.*my\.own\.Strange"):
        prepare(strange, (4,))
