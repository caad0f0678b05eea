"""Float ONNX -> static int8 ONNX: pairs of Q and DQ around everything between the layers.

Weights are symmetric int8 with zero point 0, one scale a channel; activations asymmetric int8;
biases int32 at the product of both scales. Batch normalisation and Relu are inside the layers.
What comes before the first layer and after the last stays float, as do nodes with `preprocess`
among the parts of their name. The scales are such that requantisation needs no float arithmetic:
see `edge.quantize.portable`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edge.calibration import RECOMMENDED_ROWS
from edge.quantize.assemble import assembled
from edge.quantize.graph import floats, model_of, serialised
from edge.quantize.linear import is_preprocess
from edge.quantize.plan import Plan, layers_of, plan
from edge.quantize.prepare import prepare
from edge.quantize.trees import TREES_NOTE, trees_alone
from edge.quantize.weights import Packed
from firnline.contracts.quantize import Quantize
from firnline.errors import EvidenceError

__all__ = ["Quantized", "layer_names", "quantize"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """An int8 model and what was quantised.

    Attributes:
        model: ONNX bytes.
        layers: Names of the quantised layers, in graph order.
        notes: What is worth knowing about it; empty when all is as recommended.
    """

    model: bytes
    layers: tuple[str, ...]
    notes: tuple[str, ...] = ()


def quantize(float_model: bytes, calibration: Floats, how: Quantize) -> Quantized:
    """Quantise a float model. A graph of trees without layers stays as it is.

    Args:
        float_model: ONNX bytes, with one float32 input [1 or rows, *shape].
        calibration: Rows that activation ranges are taken from, [rows, *shape]; NaN allowed where
            the graph fills it before the first layer.
        how: Where ranges come from, how weights are rounded, and what stays float.

    Raises:
        EvidenceError: E2, there is no layer to quantise; E14, the calibration rows make a value
            that is not finite; E15, there are no calibration rows.
        HandshakeError: E10, an operator between layers has no integer form; E11, it is no float
            ONNX model that ONNX Runtime runs; E12, its input does not fit; E13,
            `float_layers` names no layer.
    """
    rows = floats(calibration)
    if rows.ndim < 2 or not len(rows):
        raise EvidenceError(
            "E15",
            found=f"calibration rows of shape {list(rows.shape)}",
            where="quantising",
            mend=f"give at least {RECOMMENDED_ROWS} rows that cover what the device will see",
        )
    if trees_alone(float_model):
        return Quantized(float_model, (), (TREES_NOTE,))
    net = prepare(float_model, rows.shape[1:])
    chosen = plan(net, how)
    made, packed = assembled(net, chosen, rows, how)
    model = model_of(made)
    onnx.checker.check_model(model, full_check=True)
    return Quantized(serialised(model), chosen.layers, _notes(rows, chosen, packed))


def layer_names(model: Any) -> list[str]:
    """Names of a ModelProto's nodes that would be layers in int8."""
    constants = {constant.name: list(constant.dims) for constant in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("Gemm", "MatMul", "Conv")
        and node.input[1] in constants
        and node.input[0] not in constants
        and not is_preprocess(node)
    ]


def _notes(rows: Floats, chosen: Plan, packed: dict[str, Packed]) -> tuple[str, ...]:
    notes = []
    if len(rows) < RECOMMENDED_ROWS:
        notes.append(
            f"{len(rows)} calibration rows, fewer than the {RECOMMENDED_ROWS} that cover what "
            "is rare"
        )
    if chosen.islands:
        notes.append(f"computed in float between layers: {', '.join(chosen.islands)}")
    kept = [name for name in layers_of(chosen.net) if name not in chosen.layers]
    if kept:
        notes.append(f"layers kept in float: {', '.join(kept)}")
    for name, layer in packed.items():
        if not layer.exact.all():
            count = int((~layer.exact).sum())
            notes.append(f"{count} channels of {name} requantise in float arithmetic")
    return tuple(notes)
