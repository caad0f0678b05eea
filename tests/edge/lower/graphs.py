"""QDQ graphs by hand, as a quantiser writes them, and ONNX Runtime to run them."""

from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    """Builds a graph node by node; methods return the name of the value they make."""

    def __init__(self, random):
        self.random = random
        self.nodes, self.constants, self.inputs, self.outputs = [], [], [], []

    def input(self, *shape, kind=TensorProto.FLOAT):
        name = f"x{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, kind, ["rows", *shape]))
        return name

    def constant(self, array):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, operator, *values, **attributes):
        made = f"v{len(self.nodes)}"
        name = f"{operator.lower()}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, values, [made], name=name, **attributes))
        return made

    def grid(self, low=0.01, high=0.1):
        return np.float32(self.random.uniform(low, high)), np.int8(self.random.integers(-128, 128))

    def quantized(self, value, grid):
        constants = [self.constant(item) for item in grid]
        return self.node("QuantizeLinear", value, *constants)

    def dequantized(self, value, grid):
        constants = [self.constant(item) for item in grid]
        return self.node("DequantizeLinear", value, *constants)

    def pair(self, value, grid=None):
        """A quantise-dequantise pair."""
        grid = grid or self.grid()
        return self.dequantized(self.quantized(value, grid), grid)

    def weights(self, shape, axis, bits=8, per_channel=True):
        """Dequantised weights; gives their name and scales."""
        most = 2 ** (bits - 1) - 1
        stored = self.random.integers(-most, most + 1, shape).astype(np.int8)
        count = shape[axis] if per_channel else 1
        scale = self.random.uniform(0.002, 0.01, count).astype(np.float32)
        held = scale if per_channel else scale.reshape(())
        zero = np.zeros(held.shape, np.int8)
        inputs = [self.constant(item) for item in (stored, held, zero)]
        return self.node("DequantizeLinear", *inputs, axis=axis), scale

    def bias(self, count, x_scale, scale):
        held = np.asarray(np.float32(x_scale) * scale, np.float32)
        held = held if held.size > 1 or count == 1 else held.reshape(())
        stored = self.random.integers(-3000, 3000, count).astype(np.int32)
        inputs = [self.constant(item) for item in (stored, held, np.zeros(held.shape, np.int32))]
        return self.node("DequantizeLinear", *inputs, axis=0)

    def output(self, value, kind=TensorProto.FLOAT):
        name = f"y{len(self.outputs)}"
        for node in self.nodes:
            node.output[:] = [name if item == value else item for item in node.output]
            node.input[:] = [name if item == value else item for item in node.input]
        self.outputs.append(helper.make_tensor_value_info(name, kind, None))
        return name

    def bytes(self):
        graph = helper.make_graph(self.nodes, "graph", self.inputs, self.outputs, self.constants)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


def run(model, inputs):
    """Outputs of ONNX Runtime by name, all its optimisations on."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # Without it int8 becomes uint8 on x86, and graphs with branches leave the integer path.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def has_vnni():
    """Whether this host multiplies int8 without saturating in 16 bits, as far as can be told."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "vnni" in flags.read_text()
