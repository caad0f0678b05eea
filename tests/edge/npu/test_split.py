import numpy as np
import pytest

from edge.npu.split import split
from edge.program import FloatBinary, FloatUnary, Softmax
from edge.reference import run
from firnline.errors import HandshakeError
from tests.edge.npu.programs import Build, rows


def ensemble():
    """Normalise, int8 layers, a float residual, int8 layers, a float curve; as an ensemble is."""
    build = Build("ensemble", 5)
    raw = build.input((12,), dtype="float32")
    scaled = build.step(
        FloatBinary, [raw], (12,), kind="mul", constant=np.full(12, 0.5, np.float32)
    )
    first = build.quantize(scaled, 0.02, 3)
    hidden = build.dense(first, 6, zero=-128)
    back = build.dequantize(build.dense(hidden, 12))
    left = build.step(FloatBinary, [scaled, back], (12,), kind="sub")
    second = build.dense(build.quantize(left, 0.03, 1), 4)
    score = build.step(FloatUnary, [build.dequantize(second)], (4,), kind="sigmoid")
    return build.program(score, second)


def test_parts_alternate_and_chain_to_the_same_outputs():
    program = ensemble()
    found = split(program)
    assert [part.place for part in found.parts] == ["cpu", "npu", "cpu", "npu", "cpu"]
    assert not found.kept
    given = rows(program, 9)
    values = dict(given)
    for part in found.parts:
        assert not set(part.program.outputs) & set(values)
        values |= run(part.program, {name: values[name] for name in part.program.inputs})
    for name, wanted in run(program, given).items():
        assert (values[name] == wanted).all()
    assert sum(len(part.program.operations) for part in found.parts) == len(program.operations)


def test_what_has_no_exact_form_stays_on_the_processor_by_name():
    build = Build("inexact", 6)
    x = build.input((8,))
    y = build.dense(x, 8)
    table = np.ones(256, np.float32)
    z = build.step(Softmax, [y], (8,), "int8", table=table, levels=256)
    found = split(build.program(build.table(z)))
    assert [part.place for part in found.parts] == ["npu", "cpu"]
    assert set(found.kept) == {f"Softmax {z}", "table v3"}
    assert "no exact integer form" in found.kept[f"Softmax {z}"]
    assert "no layer beside it" in found.kept["table v3"]


def test_a_program_without_layers_for_it_is_refused():
    build = Build("nothing", 7)
    x = build.input((4,))
    with pytest.raises(HandshakeError, match=r"E51.*no layer beside it"):
        split(build.program(build.table(x)))
