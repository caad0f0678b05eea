"""The decision, put into the graph: score, whether it is flagged, and which class."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from firnline.evidence.scores import DecisionRule

SCORE, FLAGGED, FAULT = "score", "flagged", "fault"


def with_decision(model: bytes, rule: DecisionRule) -> bytes:
    """The same graph with its decision as further outputs, so that every target computes it.

    `score` [rows, 1] float32 is what the rule makes of the deciding output; `flagged` [rows, 1]
    float32 is 1 where it lies above the threshold; `fault` [rows, 1] int64, only with classes, is
    the place of the first most probable class.

    Args:
        model: ONNX bytes, opset 17; one of its outputs is the rule's.
        rule: From outputs to scores and decisions.
    """
    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    value = rule.output
    if rule.classes:
        graph.initializer.extend(
            [
                numpy_helper.from_array(np.array([0], np.int64), "decision/normal"),
                numpy_helper.from_array(np.ones((1, 1), np.float32), "decision/one"),
            ]
        )
        graph.node.extend(
            [
                _node("Gather", [value, "decision/normal"], "decision/p_normal", axis=1),
                _node("Sub", ["decision/one", "decision/p_normal"], SCORE),
                _node("ArgMax", [value], FAULT, axis=1, keepdims=1),
            ]
        )
    else:
        graph.node.append(_node("Identity", [value], SCORE))
    threshold = np.full((1, 1), rule.threshold, np.float32)
    graph.initializer.append(numpy_helper.from_array(threshold, "decision/threshold"))
    graph.node.extend(
        [
            _node("Greater", [SCORE, "decision/threshold"], "decision/above"),
            _node("Cast", ["decision/above"], FLAGGED, to=TensorProto.FLOAT),
        ]
    )
    rows = graph.input[0].type.tensor_type.shape.dim[0]
    batch = rows.dim_param or rows.dim_value
    for name, kind, shape in decision_outputs(rule):
        graph.output.append(helper.make_tensor_value_info(name, kind, [batch, *shape]))
    onnx.checker.check_model(loaded, full_check=True)
    return bytes(loaded.SerializeToString(deterministic=True))


def decision_outputs(rule: DecisionRule) -> list[tuple[str, int, tuple[int, ...]]]:
    """Name, ONNX type and shape without rows of what `with_decision` adds."""
    made: list[tuple[str, int, tuple[int, ...]]] = [
        (SCORE, TensorProto.FLOAT, (1,)),
        (FLAGGED, TensorProto.FLOAT, (1,)),
    ]
    if rule.classes:
        made.append((FAULT, TensorProto.INT64, (1,)))
    return made


def _node(operator: str, values: list[str], made: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(
        operator, values, [made], name=f"decision/{operator.lower()}/{made}", **attributes
    )
