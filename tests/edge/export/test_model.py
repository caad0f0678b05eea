"""A model on its way to targets: inputs, golden values and digests."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge import reference
from edge.decide import FAULT, FLAGGED, SCORE
from edge.export.model import identifier, input_name, of_onnx
from edge.quantize import quantize
from firnline.contracts.quantize import Quantize
from firnline.errors import ContractError, HandshakeError
from tests.edge.small_models import RULE, VERSIONS, decided, dense, of_dense, of_series, rows


def test_int8_windows_are_the_floats_on_the_inputs_grid():
    model = of_dense("int8")
    (value,) = (model.program.values[name] for name in model.program.inputs)
    (taken,) = model.inputs.values()
    assert taken.dtype == np.int8 and taken.shape == (64, 6)
    back = (taken.astype(np.float32) - value.zero) * np.float32(value.scale)
    inside = np.abs(taken) < 127
    assert inside.mean() > 0.9
    assert np.abs(back - model.vectors)[inside].max() <= value.scale / 2 * 1.001
    assert np.array_equal(of_dense("float32").inputs["x"], model.vectors)


def test_golden_values_are_the_references():
    model = of_series()
    again = reference.run(model.program, model.inputs)
    assert set(again) == set(model.program.outputs) == {"y", "raised"}
    assert all(np.array_equal(again[name], model.golden[name]) for name in again)
    assert model.golden["y"].shape == model.exact["y"].shape == (32, 5, 8)


def test_an_ensemble_carries_score_flag_and_class():
    model = decided()
    assert model.program.outputs == (RULE.output, SCORE, FLAGGED, FAULT)
    chance, score = model.golden[RULE.output], model.golden[SCORE][:, 0]
    assert np.array_equal(score, np.float32(1) - chance[:, 0])
    assert np.array_equal(model.golden[FLAGGED][:, 0] == 1, RULE.decisions(score))
    assert np.array_equal(model.golden[FAULT][:, 0], chance.argmax(axis=1))
    assert 0 < model.golden[FLAGGED].mean() < 1
    assert model.versions == VERSIONS


def test_equal_models_have_equal_digests_and_others_do_not():
    def made(vectors, scale=1.0):
        whole = quantize(dense(), rows(6) * np.float32(scale), Quantize())
        return of_onnx("Small dense", (dense(), whole.model), vectors).digests

    given = rows(6)[:64]
    assert made(given) == of_dense().digests
    assert set(made(given)) == {"onnx", "program", "vectors", "golden"}
    other = made(given[::-1])
    assert other["program"] == of_dense().digests["program"]
    assert other["vectors"] != of_dense().digests["vectors"]
    assert other["golden"] != of_dense().digests["golden"]
    assert made(given, 2.0)["program"] != of_dense().digests["program"]


@pytest.mark.parametrize("io", ["int8", "float32"])
def test_a_missing_value_cannot_be_an_int8_one(io):
    given = rows(6)[:8]
    given[5, 2] = np.nan
    whole = quantize(dense(), rows(6), Quantize())
    with pytest.raises(ContractError, match=r"E9.*'x' of small: NaN in window 5"):
        of_onnx("small", (dense(), whole.model), given, io)


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("Pump-Room 7", "pump_room_7"),
        ("7pumps", "model_7pumps"),
        ("../evil", "evil"),
        ("насос", "model"),
        ("int", "v_int"),
        ("time", "model_time"),
    ],
)
def test_names_become_c_identifiers(name, made):
    assert identifier(name) == made


def test_the_input_is_found_by_whatever_name():
    assert input_name(dense()) == "x"


def test_an_operator_with_outputs_left_out_is_refused_by_its_name():
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(1, 16, 3)),
        "r": random.normal(size=(1, 16, 4)),
        "head": random.normal(size=(4, 2)),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["first"], name="turn", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["first", "w", "r"], ["", "last"], name="memory", hidden_size=4),
        helper.make_node("Squeeze", ["last", "axis"], ["state"], name="squeeze"),
        helper.make_node("MatMul", ["state", "head"], ["y"], name="head"),
    ]
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()
    ]
    constants.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rows = random.normal(size=(32, 6, 3)).astype(np.float32)

    with pytest.raises(HandshakeError, match=r"E[12]0.*memory.*LSTM"):
        exact = model.SerializeToString()
        of_onnx("recurrent", (exact, quantize(exact, rows, Quantize()).model), rows)
