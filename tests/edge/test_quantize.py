import logging

import numpy as np
import onnx
import pytest

from edge.parity_run import score
from edge.quantize import clip_ranges, layer_names, quantize
from firnline.contracts.ensemble import Quantize
from firnline.errors import EvidenceError
from models.float_onnx import Graph, StageGraph, merge


@pytest.fixture(scope="module", params=[("observed", False), ("clip", True)])
def how(request):
    ranges, float_outputs = request.param
    return Quantize(ranges=ranges, float_outputs=float_outputs)


@pytest.fixture(scope="module")
def made(float_model, rows, how):
    return quantize(float_model, rows.features, how)


def test_layers_are_int8_and_all_else_is_float(made):
    graph = onnx.load_from_string(made.model).graph
    constants = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    assert len(made.layers) == 3
    for node in graph.node:
        quantised = [makers[name].op_type for name in node.input if name in makers]
        if node.name in made.layers:
            weights = constants[makers[node.input[1]].input[0]]
            assert weights.data_type == onnx.TensorProto.INT8
            zeros = onnx.numpy_helper.to_array(constants[makers[node.input[1]].input[2]])
            assert zeros.shape == (weights.dims[0],)
            assert not zeros.any()
            assert quantised[0] == "DequantizeLinear"


def test_the_residual_subtracts_from_the_float_value(made):
    graph = onnx.load_from_string(made.model).graph
    makers = {name: node.op_type for node in graph.node for name in node.output}
    (subtraction,) = (node for node in graph.node if node.op_type == "Sub")
    assert makers[subtraction.input[0]] == "Clip"


def test_one_opset_and_nothing_of_when_or_who(made, float_model):
    model, source = onnx.load_from_string(made.model), onnx.load_from_string(float_model)
    assert list(model.opset_import) == list(source.opset_import)
    assert (model.producer_name, model.producer_version, model.doc_string) == ("", "", "")
    assert model.ir_version == source.ir_version


def test_the_same_rows_give_the_same_bytes(made, float_model, rows, how):
    assert quantize(float_model, rows.features, how).model == made.model


def test_int8_scores_lie_near_float_ones(made, float_model, rows):
    exact, rounded = (
        score(model, rows.features, "score.chance")["score.chance"]
        for model in (float_model, made.model)
    )
    assert np.abs(exact - rounded).mean() < 0.02


def test_clip_ranges_are_the_bounds(float_model):
    model = onnx.load_from_string(float_model)
    ranges = clip_ranges(model, layer_names(model))
    assert len(ranges) == 2
    assert all((item["rmin"], item["rmax"]) == (-4, 4) for (item,) in ranges.values())


def test_clip_ranges_hold_rows_that_calibration_never_saw(float_model, rows):
    narrow = rows.features * np.float32(0.05)
    far = np.full((8, 4), 4, np.float32)
    exact = score(float_model, far, "residual.size")["residual.size"]
    observed, clipped = (
        score(
            quantize(float_model, narrow, Quantize(ranges=ranges, float_outputs=True)).model, far
        )["residual.size"]
        for ranges in ("observed", "clip")
    )
    assert np.abs(clipped - exact).max() < 0.1 * np.abs(observed - exact).max()


def test_advice_on_preprocessing_is_not_repeated(float_model, rows, caplog):
    with caplog.at_level(logging.WARNING):
        quantize(float_model, rows.features, Quantize())
    assert not caplog.records


def test_preprocessing_alone_cannot_be_quantised():
    graph = Graph("linear")
    graph.output("out", graph.project(graph.input("features", 1), np.ones((1, 1), np.float32)), 1)
    model = merge([StageGraph("only", graph.bytes(), ("v__a",), (("out", 1),))])
    with pytest.raises(EvidenceError, match="E2"):
        quantize(model, np.zeros((4, 1), np.float32), Quantize())


def test_sums_do_not_saturate_on_any_processor():
    width = 64
    graph = Graph("wide")
    within = graph.clip(graph.input("features", width), -1.0, 1.0)
    weights = np.ones((2, width), np.float32)
    graph.output("out", graph.layer(within, weights, np.zeros(2, np.float32)), 2)
    names = tuple(f"v__{place}" for place in range(width))
    model = merge([StageGraph("only", graph.bytes(), names, (("out", 2),))])
    rows = np.linspace(-1, 1, 101, dtype=np.float32)[:, None].repeat(width, axis=1)
    made = quantize(model, rows, Quantize(ranges="clip", float_outputs=True)).model
    found = score(made, rows)["only.out"][:, 0]
    assert np.abs(found - width * rows[:, 0]).max() < width / 255
