"""The Scaler of ai.onnx.ml, which often stands before trees and tells no shape, as Sub and Mul."""

from typing import Any

import numpy as np
from onnx import helper, numpy_helper


def spelt_out(graph: Any) -> None:
    """Write every Scaler of a GraphProto as (x - offset) * scale, in place."""
    nodes = []
    for node in graph.node:
        if node.op_type != "Scaler":
            nodes.append(node)
            continue
        made = node.output[0]
        held = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        for part, default in (("offset", 0.0), ("scale", 1.0)):
            numbers = np.array(held.get(part, [default]), np.float32)
            graph.initializer.append(numpy_helper.from_array(numbers, f"{made}/{part}"))
        name = node.name or made
        shifted, inputs = f"{made}/shifted", [node.input[0], f"{made}/offset"]
        nodes.append(helper.make_node("Sub", inputs, [shifted], name=f"{name}/offset"))
        inputs = [shifted, f"{made}/scale"]
        nodes.append(helper.make_node("Mul", inputs, [made], name=f"{name}/scale"))
    del graph.node[:]
    graph.node.extend(nodes)
