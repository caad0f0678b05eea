"""QDQ graphs that firnline's own quantiser makes of small float ones."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edge.npu.qdq_rules import static
from edge.quantize import quantize
from firnline.contracts.quantize import Quantize


def model_of(nodes, held, shape, width, calibration):
    """Nodes from `x` to `y` with constants, quantised on rows, its batch 1."""
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return static(quantize(made.SerializeToString(), calibration, Quantize()).model)


def dense_model():
    """Two dense layers with a Relu between, and 20 rows for them."""
    random = np.random.default_rng(1)
    held = {
        "w1": random.normal(size=(16, 24)).astype(np.float32),
        "b1": random.normal(size=16).astype(np.float32),
        "w2": random.normal(size=(8, 16)).astype(np.float32),
        "b2": random.normal(size=8).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["y"], "second", transB=1),
    ]
    rows = random.normal(size=(64, 24)).astype(np.float32)
    return model_of(nodes, held, (24,), 8, rows), rows[:20]


def conv_model():
    """A convolution, its Relu, a pool and a dense layer."""
    random = np.random.default_rng(0)
    held = {
        "w1": random.normal(size=(6, 3, 3)).astype(np.float32),
        "b1": random.normal(size=6).astype(np.float32),
        "w2": random.normal(size=(4, 48)).astype(np.float32),
        "b2": random.normal(size=4).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], "conv", pads=[1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2], strides=[2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], "dense", transB=1),
    ]
    rows = random.normal(size=(64, 3, 16)).astype(np.float32)
    return model_of(nodes, held, (3, 16), 4, rows)
