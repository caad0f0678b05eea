from pathlib import Path

import numpy as np
import onnx
import pytest

from edge import reference
from edge.lower import lower
from edge.parity_run import score
from edge.program import Conv, Dense
from edge.quantize import layer_names, quantize
from firnline.contracts.quantize import Quantize
from firnline.errors import EvidenceError, HandshakeError
from models.float_onnx import Graph, StageGraph, merge
from tests.edge.quantize.nets import (
    branching,
    model,
    node,
    quantizers,
    rows_for,
    run,
    series,
)

IMAGE, SERIES = (3, 12, 12), (4, 16)


@pytest.fixture(scope="module")
def image():
    rows = rows_for(IMAGE)
    return rows, quantize(branching(), rows, Quantize())


def constants_of(made):
    graph = onnx.load_from_string(made).graph
    return {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}


def layers_of(made):
    """Weights, their scales and zeros, and the biases, of every layer."""
    graph, known = onnx.load_from_string(made).graph, constants_of(made)
    makers = {item.output[0]: item for item in graph.node}
    for item in graph.node:
        if item.op_type in ("Gemm", "Conv"):
            yield [
                [known[name] for name in makers[read].input]
                for read in item.input[1:]
                if makers[read].op_type == "DequantizeLinear"
            ]


def test_everything_between_the_layers_is_int8(image):
    kinds, read = quantizers(image[1].model)
    graph = onnx.load_from_string(image[1].model).graph
    for item in graph.node:
        if item.op_type not in ("QuantizeLinear", "DequantizeLinear", "Softmax"):
            assert all(name in read for name in item.input if "shape" not in name), item.op_type
    assert not {"Relu", "Clip", "BatchNormalization", "Sum"} & set(kinds)
    assert image[1].layers == ("node/a", "node/b", "node/c", "node/d", "node/logits")
    assert image[1].notes == ()


def test_integers_are_symmetric_by_channel_and_biases_at_both_scales(image):
    for (stored, scales, zeros), (bias, units, nought) in layers_of(image[1].model):
        assert stored.dtype == zeros.dtype == np.int8
        assert np.abs(stored.astype(int)).max() == 127
        assert scales.shape == zeros.shape == units.shape == nought.shape == (len(stored),)
        assert not zeros.any()
        assert not nought.any()
        assert bias.dtype == np.int32
        assert np.ptp(np.float64(units) / scales) < 1e-6 * units[0] / scales[0]


def test_int8_lies_near_float(image):
    rows, made = image
    exact = run(branching(), rows)
    for integers in (False, True):
        rounded = run(made.model, rows, integers=integers)
        assert np.abs(rounded - exact).mean() < 0.05 * exact.std()


def test_a_series_is_quantised_through_its_turns_and_reshapes():
    rows = rows_for(SERIES)
    made = quantize(series(), rows, Quantize())
    exact, rounded = run(series(), rows), run(made.model, rows, integers=True)
    assert made.layers == ("node/a", "node/m", "node/logits")
    assert np.abs(rounded - exact).mean() < 0.03 * exact.std()


@pytest.mark.skipif(
    "vnni" not in Path("/proc/cpuinfo").read_text(), reason="8-bit weights saturate without VNNI"
)
@pytest.mark.parametrize("net", [branching(output="logits"), series()])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_integer_program_gives_what_onnx_runtime_gives(net, per_channel):
    rows = rows_for(IMAGE if net != series() else SERIES)
    made = quantize(net, rows, Quantize(per_channel=per_channel)).model
    program = lower(made, "net")
    found = reference.run(program, {"x": rows})[program.outputs[0]]
    assert (found == run(made, rows, integers=True)).all()
    layers = [step.requant for step in program.operations if isinstance(step, Conv | Dense)]
    assert all(part.exact.all() and np.ptp(part.shift) == 0 for part in layers)


@pytest.mark.parametrize("ranges", ["percentile", "entropy", "clip"])
def test_every_way_to_find_ranges_gives_a_model_near_the_float_one(ranges):
    rows = rows_for(SERIES)
    exact = run(series(), rows)
    rounded = run(quantize(series(), rows, Quantize(ranges=ranges)).model, rows)
    assert np.abs(rounded - exact).mean() < 0.05 * exact.std()


def test_one_scale_a_layer_and_seven_bits_where_they_are_asked_for():
    made = quantize(series(), rows_for(SERIES), Quantize(per_channel=False, reduce_range=True))
    for (stored, scales, zeros), (bias, units, _) in layers_of(made.model):
        assert np.abs(stored.astype(int)).max() == 63
        assert scales.shape == zeros.shape == units.shape == ()
        assert bias.shape == (len(stored),)


def test_layers_named_stay_float_and_what_follows_them(image):
    how = Quantize(float_layers=("node/d",))
    made = quantize(branching(), image[0][:40], how)
    assert "node/d" not in made.layers
    assert made.notes[0].startswith("40 calibration rows, fewer than the 512")
    assert made.notes[1] == "layers kept in float: node/d"
    exact = run(branching(), image[0])
    errors = [np.square(run(item.model, image[0]) - exact).mean() for item in (made, image[1])]
    assert errors[0] < 2 * errors[1]
    with pytest.raises(HandshakeError, match=r"E13.*nowhere.*node/a, node/b"):
        quantize(branching(), image[0], Quantize(float_layers=("nowhere",)))


def test_an_operator_between_layers_is_refused_by_name():
    constants = {"w": np.eye(4, dtype=np.float32), "g": np.ones(4, np.float32)}
    nodes = [
        node("Gemm", "x w", "a", transB=1),
        node("LayerNormalization", "a g", "n", axis=-1),
        node("Gemm", "n w", "y", transB=1),
    ]
    made = model(nodes, constants, (4,), ["y"])
    with pytest.raises(HandshakeError, match=r"E10.*node/n .*LayerNorm.*use BatchNorm"):
        quantize(made, rows_for((4,)), Quantize())


def test_a_gate_between_layers_is_refused_unless_layers_outputs_are_float():
    nodes = [
        node("Gemm", "x w", "a", transB=1),
        node("Sigmoid", "a", "s"),
        node("Mul", "a s", "m"),
        node("Gemm", "m w", "y", transB=1),
    ]
    made = model(nodes, {"w": np.eye(4, dtype=np.float32)}, (4,), ["y"])
    with pytest.raises(HandshakeError, match=r"E10.*node/m .*Mul.*Add in the place of a gate"):
        quantize(made, rows_for((4,)), Quantize())
    scored = quantize(made, rows_for((4,)), Quantize(float_outputs=True))
    assert scored.notes[-1].startswith("computed in float between layers:")


def test_rows_that_int8_cannot_hold_are_refused():
    made = model(
        [node("Gemm", "x w", "y", transB=1)], {"w": np.eye(4, dtype=np.float32)}, (4,), "y"
    )
    rows = rows_for((4,))
    rows[3, 2] = np.nan
    with pytest.raises(EvidenceError, match=r"E14.*value x"):
        quantize(made, rows, Quantize())
    with pytest.raises(EvidenceError, match=r"E15.*\[0, 4\]"):
        quantize(made, rows[:0], Quantize())


@pytest.fixture(scope="module", params=[("observed", False), ("clip", True)])
def how(request):
    ranges, float_outputs = request.param
    return Quantize(ranges=ranges, float_outputs=float_outputs)


def test_an_ensemble_has_float_only_around_its_layers(float_model, rows, how):
    made = quantize(float_model, rows.features, how)
    assert len(made.layers) == 3
    assert set(made.layers) == set(layer_names(onnx.load_from_string(float_model)))
    exact, rounded = (
        score(given, rows.features, "score.chance")["score.chance"]
        for given in (float_model, made.model)
    )
    assert np.abs(exact - rounded).mean() < 0.02


def test_one_opset_nothing_of_when_or_who_and_the_same_bytes_again(float_model, rows, how):
    made = quantize(float_model, rows.features, how).model
    found, source = onnx.load_from_string(made), onnx.load_from_string(float_model)
    assert list(found.opset_import) == list(source.opset_import)
    assert (found.producer_name, found.producer_version, found.doc_string) == ("", "", "")
    assert quantize(float_model, rows.features, how).model == made


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


def test_preprocessing_alone_cannot_be_quantised():
    graph = Graph("linear")
    graph.output("out", graph.project(graph.input("features", 1), np.ones((1, 1), np.float32)), 1)
    made = merge([StageGraph("only", graph.bytes(), ("v__a",), (("out", 1),))])
    with pytest.raises(EvidenceError, match="E2"):
        quantize(made, np.zeros((4, 1), np.float32), Quantize())


def test_seven_bits_do_not_saturate_on_any_processor():
    width = 64
    graph = Graph("wide")
    within = graph.clip(graph.input("features", width), -1.0, 1.0)
    ones = np.ones((2, width), np.float32)
    graph.output("out", graph.layer(within, ones, np.zeros(2, np.float32)), 2)
    rows = np.linspace(-1, 1, 101, dtype=np.float32)[:, None].repeat(width, axis=1)
    how = Quantize(ranges="clip", float_outputs=True, reduce_range=True)
    made = quantize(graph.bytes(), rows, how).model
    assert all(np.abs(stored).max() == 63 for (stored, *_), _ in layers_of(made))
    # Half a step of the input for every column, and what the weights moved by.
    assert np.abs(run(made, rows)[:, 0] - width * rows[:, 0]).max() < 1.1 * width / 255


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("net", "shape"), [(branching, IMAGE), (series, SERIES)])
def test_compensated_rounding_is_never_worse_on_rows_it_has_not_seen(net, shape, per_channel):
    rows = rows_for(shape, 1200)
    exact = run(net(), rows[200:])
    nearest, compensated = (
        np.square(run(made.model, rows[200:], integers=True) - exact).mean()
        for made in (
            quantize(net(), rows[:200], Quantize(per_channel=per_channel, rounding=rounding))
            for rounding in ("nearest", "compensated")
        )
    )
    assert compensated <= nearest


def test_layers_may_share_constants_and_have_the_names_that_quantising_gives():
    random = np.random.default_rng(8)
    constants = {"a/scale": random.normal(size=(4, 4)).astype(np.float32), "a/zero": np.zeros(4)}
    constants["a/zero"] = constants["a/zero"].astype(np.float32)
    nodes = [
        node("Gemm", "x a/scale a/zero", "a", transB=1),
        node("Relu", "a", "a/int8"),
        node("Gemm", "a/int8 a/scale a/zero", "x/real", transB=1),
    ]
    nodes[1].name = "x/quantize"
    rows = rows_for((4,))
    float_model = model(nodes, constants, (4,), ["x/real"])
    for how in (Quantize(), Quantize(float_layers=("node/a",))):
        made = quantize(float_model, rows, how)
        exact, found = run(float_model, rows), run(made.model, rows)
        assert np.square(found - exact).mean() < 1e-3 * np.square(exact).mean()
        assert "node/x/real" in made.layers


@pytest.mark.parametrize("how", [
    {"pads": [-1, -1]}, {"kernel_shape": [5]}, {"group": 2}, {"strides": [0]}, {"dilations": [9]},
])  # fmt: skip
def test_a_convolution_that_contradicts_itself_is_refused(how):
    made = onnx.load_from_string(
        model([node("Conv", "x w", "y")], {"w": np.ones((4, 3, 3), np.float32)}, (3, 9), ["y"])
    )
    made.graph.node[0].attribute.extend(
        onnx.helper.make_attribute(name, value) for name, value in how.items()
    )
    with pytest.raises(HandshakeError, match="E11"):
        quantize(made.SerializeToString(), rows_for((3, 9)), Quantize())


def test_a_value_without_elements_is_refused():
    constants = {"w": np.zeros((0, 4), np.float32), "b": np.zeros(0, np.float32)}
    made = model([node("Gemm", "x w b", "y", transB=1)], constants, (4,), ["y"])
    with pytest.raises(HandshakeError, match=r"E11.*value y has no elements"):
        quantize(made, rows_for((4,)), Quantize())
