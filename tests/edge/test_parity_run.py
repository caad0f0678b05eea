import numpy as np
import onnx
import pytest

from edge.parity_run import Parity, enforce, gate, parity, score
from edge.quantize import quantize
from firnline.contracts.quantize import Parity as Limits
from firnline.contracts.quantize import Quantize
from firnline.errors import EvidenceError


@pytest.fixture(scope="module")
def int8(float_model, rows):
    return quantize(float_model, rows.features, Quantize(ranges="clip", float_outputs=True)).model


def test_the_same_model_agrees_with_itself(float_model, rows, rule):
    found = parity(float_model, float_model, rows.features, rows.labels, rule)
    assert (found.rows, found.agreement, found.max_score_difference) == (2000, 1.0, 0.0)
    assert found.auc_float == found.auc_int8
    assert found.auc_float > 0.8


def test_int8_passes_the_gate(float_model, int8, rows, rule):
    found = parity(float_model, int8, rows.features, rows.labels, rule)
    decision = gate("small", found, Limits(), {"float": "f", "int8": "i"})
    assert decision.verdict == "accept", decision.reason
    assert decision.numbers["agreement"] == found.agreement
    enforce(decision)


def test_a_sabotaged_int8_model_does_not(float_model, int8, rows, rule):
    model = onnx.load_from_string(int8)
    weights = next(
        item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT8
        and len(item.dims) == 2
    )  # fmt: skip
    weights.raw_data = bytes(len(weights.raw_data))
    found = parity(float_model, model.SerializeToString(), rows.features, rows.labels, rule)
    decision = gate("small", found, Limits(), {})
    assert decision.verdict == "reject"
    with pytest.raises(EvidenceError, match=r"E1.*small.*agreement .* is below 0\.99"):
        enforce(decision)


def test_every_breached_limit_is_named():
    found = Parity(10, 0.5, 0.9, 0.5, 0.9, 0.7, 3)
    reason = gate("small", found, Limits(), {}).reason
    assert [word in reason for word in ("agreement", "mean score", "AUC drop")] == [True] * 3


def test_scores_that_are_no_numbers_breach_every_limit():
    nan = float("nan")
    found = Parity(10, nan, nan, nan, 0.9, nan, 3)
    decision = gate("small", found, Limits(), {})
    assert decision.verdict == "reject"
    assert decision.reason.count(";") == 2


def test_rows_without_labels_have_no_auc_and_can_pass(float_model, int8, rows, rule):
    found = parity(float_model, int8, rows.features, np.full(2000, ""), rule)
    assert found.auc_float is None
    assert gate("small", found, Limits(), {}).verdict == "accept"


def test_scores_do_not_depend_on_how_many_rows_come_along(float_model, rows):
    whole = score(float_model, rows.features, "score.chance")["score.chance"]
    for place in (0, 7, 1999):
        alone = score(float_model, rows.features[place : place + 1])["score.chance"]
        assert alone.tobytes() == whole[place].tobytes()
