"""Vendors' converters are optional: without their environment these tests skip and say so."""

import numpy as np
import onnxruntime
import pytest

from edge.npu.vendor import agreement, convert
from edge.toolchains import environment
from firnline.errors import DeliveryError
from tests.edge.npu.qdq import dense_model


@pytest.mark.parametrize(("kind", "platform"), [("qnn", "75"), ("rknn", "rk3588")])
def test_a_vendors_simulator_agrees_but_for_steps(kind, platform):
    try:
        environment(kind)
    except DeliveryError as error:
        pytest.skip(str(error))
    model, rows = dense_model()
    session = onnxruntime.InferenceSession(model)
    wanted = np.concatenate([session.run(None, {"x": row[None]})[0] for row in rows])
    found = convert(kind, model, platform, [rows])
    if kind == "qnn":
        # Each conversion has a folder of its own, whose path must not be in the file.
        assert convert(kind, model, platform, [rows[:1]]).content == found.content
    assert found.content
    assert found.versions
    assert {name.split()[0] for name in found.cpu_operators} <= {
        "QuantizeLinear",
        "DequantizeLinear",
    }
    near = agreement(found.outputs, [wanted])
    assert (near.vectors, near.values) == (len(rows), wanted.size)
    assert near.most < 0.5 * near.spread
    assert near.mean < 0.05 * near.spread


def test_agreement_counts_what_differs():
    wanted = [np.zeros((2, 2), np.float32), np.ones((2, 1), np.float32)]
    made = [np.float32([[0, 0.5], [0, 0]]), np.ones((2, 1), np.float32)]
    found = agreement(made, wanted)
    assert (found.vectors, found.values, found.differ) == (2, 6, 1 / 6)
    assert (found.most, found.mean) == (0.5, 0.5 / 6)
    assert found.spread > 0
