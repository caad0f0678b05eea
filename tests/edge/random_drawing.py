"""A float graph as it is drawn, choice by choice: values, shapes, constants, and the model."""

import itertools

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROWS = 28
"""Of every graph; all but the last four calibrate it."""


class Drawing:
    """A graph as it is drawn; methods give the name of the value they make."""

    def __init__(self, whole, seed):
        self.whole = whole
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants, self.shapes = [], {}, {}
        self.number = itertools.count()
        self.refused, self.refusable = None, []

    def choose(self, *options):
        return options[self.whole(0, len(options) - 1)]

    def often(self, percent):
        return self.whole(0, 99) >= 100 - percent

    def constant(self, array):
        name = f"c{next(self.number)}"
        self.constants[name] = np.asarray(array)
        return name

    def node(self, kind, *read, prefix="net", **attributes):
        made = f"v{next(self.number)}"
        name = f"{prefix}/{made}/{kind}"
        node = helper.make_node(kind, read, [made], name=name, **attributes)
        self.nodes.append(node)
        self.shapes[made] = self._shape(node)
        return made

    def _shape(self, node):
        """By ONNX's own inference, over this node alone."""
        inputs = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, self.shapes[name])
            for name in node.input
            if name in self.shapes
        ]
        held = [
            numpy_helper.from_array(self.constants[name], name)
            for name in node.input
            if name in self.constants
        ]
        if any(item.name == "ceil_mode" for item in node.attribute):
            return self._rounded_up(node)
        if node.op_type in ("IsNaN", "Where", "Greater"):
            return self.shapes[next(n for n in reversed(node.input) if n in self.shapes)]
        output = onnx.ValueInfoProto(name=node.output[0])
        graph = helper.make_graph([node], "one", inputs, [output], held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        axes = inferred.graph.output[0].type.tensor_type.shape.dim
        return tuple(axis.dim_value for axis in axes)

    def _rounded_up(self, node):
        """ONNX's inference counts a window that begins behind the image; ONNX Runtime does not."""
        held = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        sizes, made = self.shapes[node.input[0]], []
        for axis, size in enumerate(sizes[2:]):
            kernel, stride = held["kernel_shape"][axis], held["strides"][axis]
            pads = held.get("pads", [0] * 4)
            before, after = pads[axis], pads[len(pads) // 2 + axis]
            count = -(-(size + before + after - kernel) // stride) + 1
            made.append(count - ((count - 1) * stride >= size + before))
        return (*sizes[:2], *made)

    def weights(self, *shape):
        """About as large a result as what goes in; now and then a channel of another size."""
        spread = max(np.sqrt(np.prod(shape[1:])), 1)
        made = self.random.normal(size=shape) / spread
        if self.often(15):
            made[0] = 0
        if self.often(15):
            made[-1] *= 100
        return made.astype(np.float32)

    def vector(self, size, low=-0.5, high=0.5):
        return self.random.uniform(low, high, size).astype(np.float32)

    def model(self, shape, outputs):
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [self.batch(), *shape])],
            [self.output(name) for name in dict.fromkeys(outputs)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opset = [helper.make_opsetid("", 17)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=8)
        return made.SerializeToString(deterministic=True)

    def output(self, name):
        maker = next(node for node in self.nodes if name in node.output)
        kind = onnx.TensorProto.INT64 if maker.op_type == "ArgMax" else onnx.TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, ["any", *self.shapes[name][1:]])

    def batch(self):
        return "rows" if self.often(80) else 1

    def io(self):
        return self.choose("int8", "float32")

    def given(self, shape, gaps):
        """Rows, the last ones beyond what calibration sees."""
        size = self.random.uniform(0.5, 2, (shape[0], *[1] * (len(shape) - 1)))
        made = (self.random.normal(size=(ROWS, *shape)) * size).astype(np.float32)
        made[-1], made[-2] = made[-1] * 20, 0
        if gaps:
            made[self.random.random(made.shape) < 0.1] = np.nan
        return made
