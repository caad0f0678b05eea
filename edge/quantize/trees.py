"""Graphs of trees, in which nothing is to be quantised."""

import onnx

from edge.quantize.linear import is_preprocess

TREES_NOTE = (
    "trees hold no layer to quantise: they are exported as they are, their thresholds exact; a "
    "label is given as its place in the model's list of classes"
)

_LAYERS = ("Gemm", "MatMul", "Conv")


def trees_alone(model: bytes) -> bool:
    """Whether a model holds trees of the domain ai.onnx.ml, and no layer beside them."""
    try:
        nodes = onnx.load_from_string(model).graph.node
    except Exception:  # Of several unrelated kinds; whoever reads the model next says what it is.
        return False
    kinds = [node.op_type for node in nodes]
    layers = any(node.op_type in _LAYERS and not is_preprocess(node) for node in nodes)
    return any(kind.startswith("TreeEnsemble") for kind in kinds) and not layers
