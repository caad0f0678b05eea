"""ONNX Runtime as a target: what it computes is held to the reference."""

import platform

import numpy as np
import onnx
import pytest

from edge.compile import compiler
from edge.compile.cpu import FILE, run
from edge.export.make import build
from edge.export.proof import compare
from edge.program import Dequantize
from edge.session import exact_in_eight_bits
from edge.targets import load
from tests.edge.small_models import SCORE, decided, of_dense, of_series

pytestmark = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64"} or not exact_in_eight_bits(),
    reason="ONNX Runtime's int8 is the reference's on x86 with VNNI",
)


@pytest.mark.parametrize("make", [of_dense, of_series])
@pytest.mark.parametrize("io", ["int8", "float32"])
def test_every_output_is_the_references(tmp_path, make, io):
    model = make(io)
    made = build(model, load("cpu-x86_64"), tmp_path)
    compared = set(made.proof.bytes.values)
    steps = model.program.operations
    whole = {step.output for step in steps if isinstance(step, Dequantize)}
    held = {"int8", "float32"} & {model.program.values[name].dtype for name in compared}
    assert made.proof.verdict == "accept" and made.proof.bytes.differ == 0
    assert compared >= {name for name in model.program.outputs if name in whole}
    assert io in held
    assert made.artifact.files == {FILE: model.int8_model}


def test_a_changed_weight_is_found(tmp_path):
    """The artifact is what runs, not what was meant."""
    model = of_dense()
    loaded = onnx.load_from_string(model.int8_model)
    weights = next(item for item in loaded.graph.initializer if len(item.dims) == 2)
    values = onnx.numpy_helper.to_array(weights).copy()
    values[0, 0] = -values[0, 0] if values[0, 0] else 90
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    profile = load("cpu-x86_64")
    kind = compiler("cpu")
    other = type(model)(**{**vars(model), "int8_model": loaded.SerializeToString()})
    ran = kind.run(kind.compile(other, profile, tmp_path), other, profile)
    assert compare(model.golden, ran.values).differ > 0


def test_an_ensemble_is_scored_and_its_integers_compared(tmp_path):
    made = build(decided(), load("cpu-x86_64"), tmp_path)
    assert made.proof.verdict == "accept"
    assert made.proof.decisions.agreement == 1.0
    assert made.proof.decisions.agreement_float >= 0.98
    assert made.proof.bytes.values
    assert np.allclose(made.ran.scores, made.model.golden[SCORE][:, 0], atol=1e-6)


def test_times_are_told_and_bind_nothing(tmp_path):
    made = build(of_dense(), load("cpu-x86_64"), tmp_path)
    assert {"int8", "float"} <= set(made.ran.timings)
    assert all(made.ran.timings[name] > 0 for name in ("int8", "float"))
    assert ("warning" in made.ran.timings) == (made.ran.timings["int8"] > made.ran.timings["float"])
    assert "timings" not in made.proof.document()
    assert not set(made.ran.timings) & set(made.figures)


def test_another_processor_is_not_run(tmp_path):
    profile = load("cpu-arm64")
    ran = run(compiler("cpu").compile(of_dense(), profile, tmp_path), of_dense(), profile)
    assert (ran.runner, ran.values, ran.timings) == ("", {}, {})
    assert "this machine is x86_64" in ran.notes[0]
