import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.npu.qdq_rules import check
from firnline.errors import HandshakeError
from tests.edge.npu.qdq import conv_model


@pytest.fixture(scope="module")
def model():
    return conv_model()


def broken(model):
    return {rule.rule: rule.where for rule in check(model) if not rule.good}


def edited(model, change):
    found = onnx.load_from_string(model)
    change(found)
    return found.SerializeToString()


def constant(model, name):
    (found,) = [item for item in model.graph.initializer if item.name == name]
    return found


def test_firnlines_own_graphs_keep_every_rule(model):
    assert broken(model) == {}
    assert [rule.rule for rule in check(model)] == [
        "static-shapes",
        "opset",
        "weights",
        "activations",
        "batch-norm",
        "relu",
        "bias",
        "pairs",
    ]


def open_batch(found):
    found.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def newer_opset(found):
    found.opset_import[0].version = 18


def vendor_domain(found):
    found.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def least_weight(found):
    name = weights_of(found)
    stored = numpy_helper.to_array(constant(found, name)).copy()
    stored.flat[0] = -128
    constant(found, name).CopyFrom(numpy_helper.from_array(stored, name))


def other_bias_scale(found):
    (layer,) = [node for node in found.graph.node if node.op_type == "Gemm"]
    (maker,) = [node for node in found.graph.node if layer.input[2] in node.output]
    held = numpy_helper.to_array(constant(found, maker.input[1]))
    found.graph.initializer.append(numpy_helper.from_array(held * np.float32(1.01), "off"))
    maker.input[1] = "off"


def loose_relu(found):
    (layer,) = [node for node in found.graph.node if node.op_type == "Conv"]
    (reader,) = [node for node in found.graph.node if layer.output[0] in node.input]
    reader.input[0] = "loose"
    place = list(found.graph.node).index(reader)
    found.graph.node.insert(place, helper.make_node("Relu", [layer.output[0]], ["loose"], "late"))


def weights_of(found):
    (layer,) = [node for node in found.graph.node if node.op_type == "Gemm"]
    (maker,) = [node for node in found.graph.node if layer.input[1] in node.output]
    return maker.input[0]


@pytest.mark.parametrize(
    ("change", "rules", "where"),
    [
        (open_batch, {"static-shapes"}, "x"),
        (newer_opset, {"opset"}, "default 18"),
        (vendor_domain, {"opset"}, "com.microsoft 1"),
        (least_weight, {"weights"}, "Gemm"),
        (other_bias_scale, {"bias"}, "Gemm"),
        (loose_relu, {"relu", "pairs"}, "Relu late"),
    ],
)
def test_each_breach_is_named(model, change, rules, where):
    found = broken(edited(model, change))
    assert set(found) == rules
    assert any(where in place for places in found.values() for place in places)


def test_float_weights_and_batch_norm_break_rules():
    scale = [numpy_helper.from_array(np.ones(3, np.float32), name) for name in "wgbmv"]
    scale[0] = numpy_helper.from_array(np.ones((3, 3), np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], "m"),
            helper.make_node("BatchNormalization", ["h", "g", "b", "m", "v"], ["y"], "n"),
        ],
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        scale,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    found = broken(made.SerializeToString())
    assert found["weights"] == ("MatMul m",)
    assert found["batch-norm"] == ("BatchNormalization n",)
    assert "pairs" in found


def test_what_is_no_model_is_refused():
    with pytest.raises(HandshakeError, match="E53"):
        check(b"not a model")
