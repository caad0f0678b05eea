"""Float ONNX -> static int8: quantise-dequantise pairs around layers, everything else in float.

Layers are the `Gemm`s and `MatMul`s with constant weights and the ReLUs after them. Weights are
symmetric int8 per output channel within [-64, 64], activations asymmetric int8 per tensor,
biases int32 at the product of both scales. Nodes that hold `preprocess` in their name, residual
sums, percentile maps and softmax stay float and read float values.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from firnline.contracts.ensemble import Quantize
from firnline.errors import EvidenceError

LAYERS = ("Gemm", "MatMul")
PREPROCESS = "preprocess"
_BATCH_ROWS = 256

FloatMatrix = NDArray[np.float32]


@dataclass(frozen=True)
class Quantized:
    """An int8 model and what was quantised.

    Attributes:
        model: ONNX bytes.
        layers: Names of the quantised nodes, in graph order.
    """

    model: bytes
    layers: tuple[str, ...]


def quantize(float_model: bytes, calibration: FloatMatrix, how: Quantize) -> Quantized:
    """Quantise an ensemble's layers.

    Args:
        float_model: Merged graph with the one input `features` [rows, columns].
        calibration: Rows that activation ranges are taken from, [rows, columns]; NaN allowed.
        how: Where ranges come from, and whether layers' outputs stay float.

    Raises:
        EvidenceError: E2, there is no layer to quantise.
    """
    model = onnx.load_from_string(float_model)
    layers = layer_names(model)
    if not layers:
        raise EvidenceError(
            "E2",
            found="no Gemm or MatMul with constant weights",
            where="the float graph",
            mend="write the stages' layers as Gemm, or release the ensemble in float",
        )
    relus = [node.name for node in model.graph.node if node.op_type == "Relu"]
    options: dict[str, Any] = {
        "ActivationSymmetric": False,
        "WeightSymmetric": True,
        "OpTypesToExcludeOutputQuantization": list(LAYERS) if how.float_outputs else [],
        "TensorQuantOverrides": clip_ranges(model, layers) if how.ranges == "clip" else {},
    }
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(float_model)
        quantize_static(
            source,
            made,
            _Rows(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*LAYERS, "Relu"],
            nodes_to_quantize=[*layers, *relus],
            per_channel=True,
            # 7 of 8 bits: x86 without VNNI adds two products in 16 bits and saturates silently,
            # so with all 8 the same file would decide differently from host to host.
            reduce_range=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=options,
        )
        quantized = onnx.load(made)
    return Quantized(_tidied(quantized, model, layers), tuple(layers))


def layer_names(model: Any) -> list[str]:
    """Nodes to quantise: layers with constant weights that are not preprocessing."""
    constants = {constant.name for constant in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS
        and node.input[1] in constants
        and PREPROCESS not in node.name.split("/")
    ]


def clip_ranges(model: Any, layers: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Activation ranges of layers that read a Clip: its bounds, which no input can leave."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    clips = {node.output[0]: node for node in model.graph.node if node.op_type == "Clip"}
    overrides: dict[str, list[dict[str, Any]]] = {}
    for node in model.graph.node:
        clip = clips.get(node.input[0]) if node.name in layers else None
        if clip is None or not all(bound in constants for bound in clip.input[1:3]):
            continue
        low, high = (numpy_helper.to_array(constants[bound]).item() for bound in clip.input[1:3])
        overrides[node.input[0]] = [{"rmin": np.float32(low), "rmax": np.float32(high)}]
    return overrides


class _Rows(CalibrationDataReader):  # type: ignore[misc]
    """Feeds the calibration rows in batches."""

    def __init__(self, rows: FloatMatrix) -> None:
        self._batches = iter(
            [rows[place : place + _BATCH_ROWS] for place in range(0, len(rows), _BATCH_ROWS)]
        )

    def get_next(self) -> dict[str, FloatMatrix] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"features": batch}


def _tidied(quantized: Any, model: Any, layers: list[str]) -> bytes:
    """One opset, no producer, float readers on float values; equal models give equal bytes."""
    graph = quantized.graph
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    # ONNX Runtime hands a layer's dequantised input to everybody who reads that value. Those
    # that are computed in float, such as a residual's other side, get the float value back.
    dequantised = {
        f"{node.input[0]}_DequantizeLinear_Output": node.input[0]
        for node in graph.node
        if node.op_type == "QuantizeLinear"
        and made_by.get(node.input[0]) not in (*LAYERS, "Relu", None)
    }
    for node in graph.node:
        if node.name not in layers:
            node.input[:] = [dequantised.get(name, name) for name in node.input]
    del quantized.opset_import[:]
    quantized.opset_import.extend(model.opset_import)
    del quantized.metadata_props[:]
    quantized.producer_name = quantized.producer_version = quantized.doc_string = ""
    quantized.ir_version = model.ir_version
    del graph.value_info[:]
    onnx.checker.check_model(quantized, full_check=True)
    return bytes(quantized.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime advises its shape preprocessing on the root logger; this graph needs none."""
    root = logging.getLogger()

    def advice(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root.addFilter(advice)
    try:
        yield
    finally:
        root.removeFilter(advice)
