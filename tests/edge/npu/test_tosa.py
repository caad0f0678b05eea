"""The TOSA reference model and LiteRT against the integer reference, on real files."""

from dataclasses import replace

import numpy as np
import pytest

from edge import reference
from edge.npu import tflite, tosa
from edge.npu.models import plan, run, run_all, serialise, write
from edge.npu.process import work
from edge.npu.proof import bodies, execute
from edge.npu.split import split
from edge.program import Add, Factors, Program
from firnline.errors import DeliveryError, HandshakeError
from tests.edge.npu.programs import (
    Build,
    dense_of_every_kind,
    images,
    rows,
    series,
)
from tests.edge.npu.test_split import ensemble


@pytest.mark.parametrize("make", [dense_of_every_kind, images, series])
def test_the_reference_model_gives_the_same_bytes(tools, make):
    program = make()
    given = rows(program, 24)
    wanted = reference.run(program, given)
    model = write(program, "tosa")
    (found,) = run(model, program, given)
    for name in program.outputs:
        assert np.array_equal(found.outputs[name], wanted[name]), name
        assert len(np.unique(wanted[name])) > 20
    assert set(model.operations.values()) == {step.name for step in program.operations}


def test_a_sum_with_a_rest_is_exact_too(tools):
    build = Build("rest", 3)
    a, b = build.input((7,), 0.05, 2), build.input((7,), 0.05, -4)
    program = build.program(build.add(a, b, scale=0.1, zero=4))
    step = program.operations[0]
    assert isinstance(step, Add)
    # Halves tie: no canonical form; this offset rounds them down, which is ours to say here.
    factors = Factors(1 << 19, 1 << 19, ((4 << 20) + (1 << 19) - 1 - (-2 << 19)), 20)
    program = replace(program, operations=(replace(step, factors=factors),))
    given = rows(program, 40)
    one, other = (given[name].astype(np.int64) for name in program.inputs)
    total = one * factors.left + other * factors.right + factors.offset
    (found,) = run(write(program, "tosa"), program, given)
    wanted = np.clip(total >> factors.shift, -128, 127)
    assert np.array_equal(found.outputs[program.outputs[0]], wanted)


def test_the_autoencoder_is_exact_in_tosa_and_xnnpack(known):
    program, exact, plain = known
    (name,) = program.outputs
    given = rows(program, 24)
    wanted = reference.run(program, given)[name]
    assert len(np.unique(wanted)) > 20
    found = {made.runner: made for made in run_all((exact, plain), program, given)}
    assert set(found) == {"tosa-reference", "litert-xnnpack", "litert-reference"}
    assert np.array_equal(found["tosa-reference"].outputs[name], wanted)
    assert np.array_equal(found["litert-xnnpack"].outputs[name], wanted)
    # The reference kernels round twice.
    assert np.mean(found["litert-reference"].outputs[name] != wanted) < 0.02


def test_the_same_program_gives_the_same_bytes(known):
    program, exact, plain = known
    forms = {"tosa": plan(program, "tosa"), "tflite": plan(program, "tflite")}
    again = serialise(forms)
    assert again["tosa"].content == exact.content
    assert again["tflite"].content == plain.content


def test_tflite_pads_clamps_and_joins_as_the_reference(tools):
    build = Build("shapes", 8)
    x = build.input((11, 9, 6))
    wide = build.conv(x, 8, (3, 3), pad=(1, 1, 1, 1), low=5, high=100)
    strided = build.conv(wide, 8, (3, 2), stride=(2, 2), pad=(2, 0, 1, 1), zero=-128)
    own = build.conv(wide, 16, (3, 3), stride=(2, 2), groups=8, pad=(0, 0, 2, 1), low=5)
    pooled = build.max_pool(wide, (3, 2), stride=(2, 2), pad=(1, 0, 0, 1))
    both = build.concat([strided, strided], 2, tables=False)
    program = build.program(own, pooled, build.transpose(both, (1, 0, 2)))
    given = rows(program, 6)
    wanted = reference.run(program, given)
    fast, _ = run(write(program, "tflite"), program, given)
    for name in program.outputs:
        assert np.array_equal(fast.outputs[name], wanted[name]), name


def test_an_ensemble_runs_in_turns_and_is_proved(tools):
    program = ensemble()
    given = rows(program, 30)
    parts = split(program)
    found = execute(parts, bodies(parts), given)
    wanted = reference.run(program, given)
    for name in program.outputs:
        assert found.values[name].tobytes() == wanted[name].tobytes()
    assert [proof.part for proof in found.proofs] == ["ensemble_1", "ensemble_3"]
    for proof in found.proofs:
        assert proof.exact
        assert proof.vectors == 30
        assert set(proof.versions) == set(proof.differ)
        assert not proof.refused


def test_operations_are_refused_by_name():
    program = ensemble()
    with pytest.raises(HandshakeError, match=r"E50.*FloatBinary v1.*no exact integer form"):
        tosa.plan(program)
    with pytest.raises(HandshakeError, match=r"E52.*FloatBinary v1"):
        tflite.plan(program)
    build = Build("curve", 2)
    x = build.table(build.input((4,)), "Odd")
    with pytest.raises(HandshakeError, match=r"E52.*table v1.*Odd"):
        tflite.plan(build.program(x))


def test_layers_without_integers_are_refused():
    program = dense_of_every_kind()
    step = program.operations[0]
    bad = replace(step.requant, exact=np.zeros_like(step.requant.exact))
    steps = (replace(step, requant=bad), *program.operations[1:])
    broken = Program(program.name, program.inputs, program.outputs, program.values, steps)
    with pytest.raises(HandshakeError, match=r"E50.*scales of this Dense"):
        tosa.plan(broken)


def test_a_tool_that_fails_says_so(tools, tmp_path):
    with pytest.raises(DeliveryError, match=r"E63.*versions: PackageNotFoundError.*no-such"):
        work(tmp_path, [{"do": "versions", "packages": ["no-such-package"]}])
