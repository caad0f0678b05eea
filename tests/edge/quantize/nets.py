"""Small float graphs of many operators, and rows for them."""

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper


def model(nodes, constants, shape, outputs, *, batch="rows", opset=17, domains=()):
    """ONNX bytes of a graph with the input x [batch, *shape]."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, *shape])],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return onnx.shape_inference.infer_shapes(made).SerializeToString()


def node(kind, read, made, **attributes):
    """A node named after what it makes."""
    return helper.make_node(kind, read.split(), made.split(), name=f"node/{made}", **attributes)


def weights(random, *shape):
    """float32 weights whose outputs are as large as their inputs."""
    spread = np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 10
    return (random.normal(size=shape) / spread).astype(np.float32)


def branching(batch="rows", output="y"):
    """An image net: convolutions, depthwise and pointwise, pools, a residual sum, a Concat."""
    random = np.random.default_rng(3)
    shapes = {
        "w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 8, 1, 1), "w4": (24, 24, 1, 1),
        "w5": (5, 24), "scale": (8,), "shift": (8,), "mean": (8,),
    }  # fmt: skip
    constants = {name: weights(random, *shape) for name, shape in shapes.items()}
    constants |= {
        f"b{place}": weights(random, len(constants[f"w{place}"])) for place in range(1, 6)
    }
    constants |= {
        "spread": np.full(8, 0.5, np.float32),
        "six": np.float32(6),
        "nought": np.float32(0),
    }
    nodes = [
        node("Conv", "x w1", "a", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("BatchNormalization", "a scale shift mean spread", "an"),
        node("Relu", "an", "ar"),
        node("Conv", "ar w2 b2", "b", pads=[1, 1, 1, 1], group=8),
        node("MaxPool", "b", "bp", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Clip", "bp nought six", "br"),
        node("Conv", "ar w3 b3", "c"),
        node("Sigmoid", "c", "cs"),
        node("Concat", "br cs ar", "joined", axis=1),
        node("Conv", "joined w4 b4", "d"),
        node("Sum", "d joined", "e"),
        node("Relu", "e", "er"),
        node("AveragePool", "er", "small", kernel_shape=[2, 2], strides=[2, 2]),
        node("ReduceMean", "small", "means", axes=[2, 3], keepdims=0),
        node("Gemm", "means w5 b5", "logits", transB=1),
        node("Softmax", "logits", "y", axis=1),
    ]
    return model(nodes, constants, (3, 12, 12), [output], batch=batch)


def series():
    """A series net as exporters write it: Conv1D, MatMul over time, a reshape by computed shape."""
    random = np.random.default_rng(4)
    constants = {
        "w1": weights(random, 6, 4, 3), "b1": weights(random, 6), "w2": weights(random, 6, 5),
        "b2": weights(random, 5), "w3": weights(random, 40, 3), "first": np.array(0),
        "rest": np.array([-1]), "axis": np.array([0]),
    }  # fmt: skip
    nodes = [
        node("Conv", "x w1 b1", "a", strides=[2], dilations=[2], pads=[2, 2]),
        node("LeakyRelu", "a", "al", alpha=0.1),
        node("Transpose", "al", "turned", perm=[0, 2, 1]),
        node("MatMul", "turned w2", "m"),
        node("Add", "m b2", "mb"),
        node("Tanh", "mb", "mt"),
        node("Shape", "mt", "shape"),
        node("Gather", "shape first", "count"),
        node("Unsqueeze", "count axis", "counts"),
        node("Concat", "counts rest", "wanted", axis=0),
        node("Reshape", "mt wanted", "flat"),
        node("Dropout", "flat", "kept"),
        node("MatMul", "kept w3", "logits"),
        node("Identity", "logits", "y"),
    ]
    return model(nodes, constants, (4, 16), ["y"])


def run(made, rows, *, integers=False):
    """The first output of a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if integers:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: rows})[0]


def rows_for(shape, count=600):
    """Calibration rows, some columns larger than others."""
    random = np.random.default_rng(5)
    size = np.linspace(0.5, 2, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return (random.normal(size=(count, *shape)) * size).astype(np.float32)


def quantizers(made):
    """Operators of a quantised model, and its values that come out of a DQ."""
    graph = onnx.load_from_string(made).graph
    return [item.op_type for item in graph.node], {
        item.output[0] for item in graph.node if item.op_type == "DequantizeLinear"
    }
