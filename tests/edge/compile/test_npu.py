"""An Ethos-U and the core beside it, by turns; and other vendors' parts of a graph."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from edge.compile import npu, qdq
from edge.compile.qdq import FILE
from edge.compile.vendor import cut
from edge.export.make import build
from edge.targets import load
from firnline.errors import DeliveryError, HandshakeError
from tests.edge.npu.conftest import tools  # noqa: F401 - a fixture
from tests.edge.small_models import decided, of_dense, of_series


def test_npu_and_core_together_give_the_references_bytes(tools, tmp_path):  # noqa: F811
    model = of_series()
    made = build(model, load("npu-ethos-u55-128"), tmp_path)
    assert made.proof.verdict == "accept" and made.proof.bytes.differ == 0
    assert set(made.proof.bytes.values) >= set(model.program.outputs)
    assert (
        made.proof.runner.startswith("qemu-system-arm ") and "tosa-reference" in made.proof.runner
    )
    assert {"series_1.tosa", "series_1.tflite", "series_1_vela.tflite"} <= set(made.artifact.files)
    turns = json.loads(made.artifact.files["parts.json"])
    assert all(row["file"] in made.artifact.files for row in turns)
    body = next(row for row in turns if row["place"] == "npu")
    (read,) = body["inputs"]
    assert model.program.values[read["name"]].scale == read["scale"] > 0
    assert f"`{body['file']}`" in made.artifact.files["README.md"].decode()
    taken, given = made.figures, made.artifact.figures
    assert taken["ram_bytes"] == given["ram_bytes"] + taken["stack_bytes"]
    assert taken["stack_bytes"] > 0 and taken["instructions"] > 0 and taken["cycles"] > 0


def test_the_verdict_is_left_open_where_the_vector_core_cannot_run(monkeypatch):
    def missing(*_):
        raise DeliveryError("E42", found="no QEMU", where="runner qemu", mend="install it")

    monkeypatch.setattr(npu, "run_image", missing)
    assert npu._vector_instructions(of_dense().program) is None


def test_what_vendors_get_is_what_ran(tmp_path):
    made = build(of_dense(), load("qdq-onnx"), tmp_path)
    graph = onnx.load_from_string(made.artifact.files[FILE]).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
    assert made.proof.verdict == "accept" and made.proof.bytes.differ == 0
    broken = replace(made.artifact, files={FILE: b"no model"})
    with pytest.raises(Exception, match=r"(?i)pars"):
        qdq.run(broken, of_dense(), made.profile)


def test_a_vendor_gets_the_integer_part_alone():
    parts = cut(of_series())
    kinds = {node.op_type for node in onnx.load_from_string(parts.body).graph.node}
    assert kinds == {"Conv", "QuantizeLinear", "DequantizeLinear"}
    assert parts.before is None and parts.after is not None
    assert np.array_equal(parts.given, ("x",)) and parts.made == ("y",)


def test_float_between_integers_is_refused_by_name():
    """Layers whose sums stay float, and what is quantised anew behind them."""
    with pytest.raises(HandshakeError, match=r"E55.*score/clip/0.*float operations between"):
        cut(decided())
