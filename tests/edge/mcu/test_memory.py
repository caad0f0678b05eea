"""The arena: nothing overlaps while it lives, and none is larger than it must be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.mcu import memory
from edge.mcu.kernels import ALIGNMENT
from edge.program import (
    Dense,
    FloatBinary,
    FloatReduce,
    FloatUnary,
    Operation,
    Program,
    Reshape,
    Table,
    Value,
)
from tests.edge.mcu.samples import SAMPLES, bridges


def made(*steps, inputs=("x",), outputs, sizes):
    values = {name: Value(name, (size,), "int8") for name, size in sizes.items()}
    return Program("p", inputs, outputs, values, steps)


def table(x, y):
    return Table("", (x,), y, np.zeros(256, np.int8), "")


def other(y, *x):
    return Operation("", x, y)


def spans(program, scratch):
    """Every value and scratch in the arena: first and last operation, first byte, bytes."""
    found = memory.plan(program, scratch)
    lives = {}
    for index, step in enumerate(program.operations):
        for name in (*step.inputs, step.output):
            first, _ = lives.get(name, (index, index))
            lives[name] = first, index
    for name in program.outputs:
        lives[name] = lives[name][0], len(program.operations)
    blocks = [
        (*lives[name], home.place, program.values[name].bytes)
        for name, home in found.homes.items()
        if home.kind == "arena" and name in lives
    ]
    own = [(i, i, found.scratch[i], size) for i, size in enumerate(scratch) if size]
    return found, blocks, own


@st.composite
def programs(draw):
    """Operations on earlier values of any size; some element by element, some reshapes."""
    names, sizes, steps = ["x"], {"x": draw(st.integers(1, 99))}, []
    for index in range(draw(st.integers(1, 12))):
        name, read = f"v{index}", draw(st.sampled_from(names))
        kind = draw(st.sampled_from(["table", "reshape", "other"]))
        second = draw(st.sampled_from(names))
        sizes[name] = draw(st.integers(1, 99)) if kind == "other" else sizes[read]
        step = {
            "table": table(read, name),
            "reshape": Reshape("", (read,), name),
            "other": other(name, read, second),
        }[kind]
        steps.append(step)
        names.append(name)
    outputs = tuple(draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=3, unique=True)))
    scratch = draw(st.lists(st.integers(0, 40), min_size=len(steps), max_size=len(steps)))
    return made(*steps, outputs=outputs, sizes=sizes), scratch


@settings(max_examples=80, deadline=None)
@given(programs())
def test_what_lives_at_once_does_not_overlap(drawn):
    program, scratch = drawn
    found, blocks, own = spans(program, scratch)
    first_writer = {step.output: index for index, step in enumerate(program.operations)}
    for index, step in enumerate(program.operations):
        home = found.homes[step.output]
        for name in program.values:
            if name == step.output or found.homes[name].kind != "arena" or home.kind != "arena":
                continue
            written = first_writer.get(name, -1) < index
            later = index if type(step) is Operation else index + 1
            read_after = any(name in one.inputs for one in program.operations[later:])
            if not (written and read_after) or _alias(program, name, step.output):
                continue
            low, high = found.homes[name].place, home.place
            assert (
                low + program.values[name].bytes <= high
                or high + program.values[step.output].bytes <= low
            )
    for first, _, place, size in own:
        for start, end, low, length in blocks:
            if start <= first <= end:
                assert place + size <= low or low + length <= place
    assert all(place % ALIGNMENT == 0 for _, _, place, _ in (*blocks, *own))
    assert max((place + size for _, _, place, size in (*blocks, *own)), default=0) <= (
        found.arena_bytes
    )
    outputs = [home for home in found.homes.values() if home.kind == "output"]
    assert {home.place for home in outputs} | {place for place, _ in found.copies} == set(
        range(len(program.outputs))
    )


def _alias(program, one, two):
    def root(name):
        for step in program.operations:
            if step.output == name and isinstance(step, Reshape):
                return root(step.inputs[0])
        return name

    return root(one) == root(two)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: one.__name__)
def test_the_arena_is_the_lower_bound(sample):
    program = sample()
    found = memory.plan(program, [0] * len(program.operations))

    assert found.arena_bytes == max(found.live)


def test_elements_are_written_over_what_they_are_made_of():
    program = made(
        other("a", "x"),
        table("a", "b"),
        table("b", "c"),
        other("y", "c"),
        outputs=("y",),
        sizes={"x": 9, "a": 32, "b": 32, "c": 32, "y": 4},
    )
    found = memory.plan(program, [0] * 4)

    assert found.homes["a"] == found.homes["b"] == found.homes["c"]
    assert found.arena_bytes == 32


def test_a_value_still_to_be_read_is_not_written_over():
    program = made(
        other("a", "x"),
        Reshape("", ("a",), "again"),
        table("again", "b"),
        other("y", "a", "b"),
        outputs=("y",),
        sizes={"x": 9, "a": 32, "again": 32, "b": 32, "y": 4},
    )
    found = memory.plan(program, [0] * 4)

    assert found.homes["a"] == found.homes["again"] != found.homes["b"]


def test_nothing_is_kept_in_the_arena_that_has_a_place_of_its_own():
    program = bridges()
    found = memory.plan(program, [0] * len(program.operations))

    assert found.homes["raw reading"].kind == "input"
    assert {found.homes[name].kind for name in program.outputs} == {"input", "output"}
    assert [name for _, name in found.copies] == [program.outputs[i] for i in (2, 3, 4)]


def test_a_dense_layer_is_never_written_over_its_input():
    layer = Dense("", ("a",), "b", np.zeros((8, 8), np.int8), np.zeros(8, np.int32), None)
    program = made(
        other("a", "x"),
        layer,
        other("y", "b"),
        outputs=("y",),
        sizes={"x": 8, "a": 8, "b": 8, "y": 8},
    )
    found = memory.plan(program, [0] * 3)

    assert found.homes["a"].place != found.homes["b"].place


def test_a_broadcast_operand_is_not_written_over():
    values = {
        "x": Value("x", (4, 3), "float32"),
        "a": Value("a", (1, 3), "float32"),
        "y": Value("y", (4, 3), "float32"),
        "z": Value("z", (4, 3), "float32"),
    }
    steps = (
        Operation("", ("x",), "a"),
        FloatBinary("", ("x", "a"), "y", "add"),
        FloatUnary("", ("y",), "z", "neg"),
    )
    found = memory.plan(Program("p", ("x",), ("z",), values, steps), [0] * 3)

    assert found.homes["a"].kind == "arena"
    assert found.homes["y"] == found.homes["z"] == memory.Home("output", 0)


def test_an_output_holds_nothing_longer_than_itself():
    sizes = {"x": (4,), "a": (4,), "y": (1,)}
    values = {name: Value(name, shape, "float32") for name, shape in sizes.items()}
    steps = (Operation("", ("x",), "a"), FloatReduce("", ("a",), "y", "sum"))
    found = memory.plan(Program("p", ("x",), ("y",), values, steps), [0, 0])

    assert found.homes["a"].kind == "arena"
