"""The yardstick models of edge export, as float ONNX with the windows they are calibrated on.

The autoencoder has the shape of MLPerf Tiny's anomaly detection, 640-128x4-8-128x4-640, 264,192
multiply-accumulates (Banbury et al. 2021, MLPerf Tiny Benchmark). It comes with random weights,
with weights trained here on 64 minutes of 10 simulated sensors, and, where the published model
is at hand, with its weights. The extractor is a 1-D convolution over 14 sensors and 64 readings.
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from flatbuffers.table import Table
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.mlp import Training, train

WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)
EXTRACTOR = ((32, 5, 1), (64, 5, 2), (64, 3, 2), (64, 3, 1))
"""Channels, kernel and stride of its convolutions; 64 channels are pooled and projected to 16."""

PUBLISHED = (
    Path(os.environ.get("FIRNLINE_SHARED", "../shared")) / "data/mlperf_tiny_ad/ad01_fp32.tflite"
)
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Yardstick:
    """A model to measure.

    Attributes:
        name: What the results call it.
        model: Float ONNX, batch 1.
        calibration: float32 [rows, *input].
        vectors: float32 [rows, *input], other rows.
    """

    name: str
    model: bytes
    calibration: Floats
    vectors: Floats


def autoencoder_random(seed: int = 0, vectors: int = 196) -> Yardstick:
    """The autoencoder with He-scaled random weights, on random windows."""
    random = np.random.default_rng(seed)
    layers = [
        (
            random.normal(0, np.sqrt(2 / width), (made, width)).astype(np.float32),
            random.normal(0, 0.1, made).astype(np.float32),
        )
        for width, made in itertools.pairwise(WIDTHS)
    ]
    rows = random.normal(0, 1, (512 + vectors, WIDTHS[0])).astype(np.float32)
    return Yardstick("autoencoder-random", _dense("input", layers), rows[:512], rows[512:])


def autoencoder_trained(seed: int = 0, vectors: int = 196) -> Yardstick:
    """The autoencoder trained on standardised windows of a simulated fleet."""
    rows = _windows(seed)
    weights = np.ones(len(rows), np.float32)
    how = Training("squares", epochs=20, batch=128, rate=2e-3)
    net = train(rows, rows, weights, WIDTHS[1:-1], WIDTHS[-1], how, seed)
    layers = list(zip(net.weights, net.biases, strict=True))
    return Yardstick("autoencoder-trained", _dense("input", layers), rows[:512], rows[-vectors:])


def autoencoder_published(vectors: int = 196) -> Yardstick | None:
    """The published model, its windows drawn to the scale its first layer was trained for.

    None where the file is not at hand.
    """
    if not PUBLISHED.is_file():
        return None
    layers = _layers_of(PUBLISHED.read_bytes())
    random = np.random.default_rng(1)
    # Log-mel energies in decibels: negative, neighbouring bins alike.
    coarse = random.normal(-20, 8, (512 + vectors, 5, 16)).repeat(8, axis=2)
    rows = (coarse + random.normal(0, 3, coarse.shape)).reshape(len(coarse), -1).astype(np.float32)
    return Yardstick("autoencoder-published", _dense("input", layers), rows[:512], rows[512:])


def extractor(seed: int = 0, vectors: int = 196) -> Yardstick:
    """The convolutional extractor, 14 x 64 in, an embedding of 16 out; random weights."""
    random = np.random.default_rng(seed)
    nodes: list[Any] = []
    constants: list[Any] = []
    value, width = "input", 14
    for place, (channels, kernel, stride) in enumerate(EXTRACTOR):
        shape = (channels, width, kernel)
        weights = random.normal(0, np.sqrt(2 / (width * kernel)), shape).astype(np.float32)
        bias = random.normal(0, 0.1, channels).astype(np.float32)
        constants += [
            numpy_helper.from_array(weights, f"w{place}"),
            numpy_helper.from_array(bias, f"b{place}"),
        ]
        pad = kernel // 2
        nodes.append(
            helper.make_node(
                "Conv",
                [value, f"w{place}", f"b{place}"],
                [f"conv{place}"],
                name=f"conv{place}",
                kernel_shape=[kernel],
                strides=[stride],
                pads=[pad, pad],
            )
        )
        nodes.append(
            helper.make_node("Relu", [f"conv{place}"], [f"relu{place}"], name=f"relu{place}")
        )
        value, width = f"relu{place}", channels
    head = random.normal(0, np.sqrt(2 / width), (16, width)).astype(np.float32)
    constants += [
        numpy_helper.from_array(head, "w_head"),
        numpy_helper.from_array(np.zeros(16, np.float32), "b_head"),
    ]
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"], name="pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w_head", "b_head"], ["output"], name="head", transB=1),
    ]
    rows = random.normal(0, 1, (512 + vectors, 14, 64)).astype(np.float32)
    model = _model(nodes, constants, [1, 14, 64], [1, 16])
    return Yardstick("extractor-conv1d", model, rows[:512], rows[512:])


def _dense(name: str, layers: list[tuple[Floats, Floats]]) -> bytes:
    nodes, constants, value = [], [], name
    for place, (weights, bias) in enumerate(layers):
        last = place == len(layers) - 1
        made = "output" if last else f"dense{place}"
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(weights), f"w{place}"),
            numpy_helper.from_array(bias, f"b{place}"),
        ]
        given = [value, f"w{place}", f"b{place}"]
        nodes.append(helper.make_node("Gemm", given, [made], name=f"dense{place}", transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"relu{place}"], name=f"relu{place}"))
        value = f"relu{place}"
    return _model(nodes, constants, [1, len(layers[0][0][0])], [1, len(layers[-1][1])])


def _model(nodes: list[Any], constants: list[Any], given: list[int], made: list[int]) -> bytes:
    graph = helper.make_graph(
        nodes,
        "yardstick",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, made)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _windows(seed: int) -> Floats:
    """Windows [rows, 640]: 64 minutes of 10 sensors, standardised, clipped at 4 deviations."""
    import tempfile

    import pyarrow.dataset

    from firnline.sim.fleet import FleetSpec
    from firnline.sim.write import simulate

    with tempfile.TemporaryDirectory() as folder:
        simulate(FleetSpec(devices=60, days=3, seed=seed), Path(folder) / "fleet")
        table = pyarrow.dataset.dataset(Path(folder) / "fleet" / "readings").to_table()
    frame = table.to_pandas().sort_values(["device_id", "timestamp_device"], kind="stable")
    numbers = frame.select_dtypes("number").iloc[:, :10].interpolate().fillna(0.0)
    values = numbers.to_numpy(np.float32)
    scale = np.maximum(values.std(axis=0), np.float32(1e-3))
    standard = np.clip((values - values.mean(axis=0)) / scale, -4, 4)
    blocks = []
    for rows in frame.groupby("device_id", sort=True, observed=True).indices.values():
        whole = len(rows) // 64 * 64
        blocks.append(standard[rows[:whole]].reshape(-1, 640))
    order = np.random.default_rng(seed).permutation(sum(len(block) for block in blocks))
    return np.concatenate(blocks).astype(np.float32)[order]


def _layers_of(content: bytes) -> list[tuple[Floats, Floats]]:
    """Weights and biases of every fully connected layer of a .tflite, in order."""
    root = Table(bytearray(content), flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0))
    graph = _tables(root, 2)[0]
    tensors, buffers = _tables(graph, 0), _tables(root, 4)
    layers = []
    for operator in _tables(graph, 3):
        given = _numbers(operator, 1, np.int32)
        shape = _numbers(tensors[given[1]], 0, np.int32)
        arrays = [
            _numbers(buffers[_number(tensors[place], 2)], 0, np.uint8) for place in given[1:3]
        ]
        weights, bias = (np.frombuffer(array.tobytes(), np.float32) for array in arrays)
        layers.append((weights.reshape(shape), bias))
    return layers


def _field(table: Table, place: int) -> int:
    return int(table.Offset(4 + 2 * place))


def _number(table: Table, place: int) -> int:
    at = _field(table, place)
    return int(table.Get(flatbuffers.number_types.Uint32Flags, at + table.Pos)) if at else 0


def _tables(table: Table, place: int) -> list[Table]:
    at = _field(table, place)
    start = table.Vector(at)
    return [
        Table(table.Bytes, table.Indirect(start + 4 * item)) for item in range(table.VectorLen(at))
    ]


def _numbers(table: Table, place: int, kind: Any) -> NDArray[Any]:
    at = _field(table, place)
    return np.frombuffer(
        table.Bytes, kind, count=table.VectorLen(at), offset=table.Vector(at)
    ).copy() if at else np.zeros(0, kind)  # fmt: skip
