"""Generated C against the reference, byte by byte."""

from dataclasses import replace

import numpy as np
import pytest

from edge.mcu.generate import FAMILIES, generate
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate
from edge.program import Dense, Operation, Program, Softmax, Transpose, Trees, Value
from edge.reference import run
from firnline.errors import DeliveryError, HandshakeError
from tests.edge.mcu.programs import Builder, packed, rows, unpacked, without_proof
from tests.edge.mcu.samples import (
    SAMPLES,
    bridges,
    conv,
    dense,
    elements,
    floats,
    gaps,
    pools,
    series,
    trees,
)

ROWS = 32
SOFT = (dense, pools, elements, floats, bridges, trees)


def wanted(program, inputs):
    with np.errstate(all="ignore"):
        return run(program, inputs)


def given(program):
    """Random rows; where the program takes floats as they come, with gaps and infinities."""
    inputs = rows(program, ROWS if program.macs < 10_000 else 4)
    if program.name in ("floats", "trees"):
        next(iter(inputs.values())).reshape(-1)[5 : 5 + 7 * 10 : 7] = gaps()
    return inputs


def differing(program, made, inputs):
    """Elements that are not the reference's, by output; all NaN are alike."""
    results = unpacked(program, made)
    return {
        name: int((~np.isclose(results[name], value, 0, 0, equal_nan=True)).sum())
        for name, value in wanted(program, inputs).items()
    }


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: one.__name__)
def test_every_element_is_the_references(sample, computed):
    program = sample()
    inputs = given(program)

    made = computed(generate(program, "portable"), packed(program, inputs))

    results = unpacked(program, made)
    for name, value in wanted(program, inputs).items():
        bits = np.ascontiguousarray(value).view(np.uint8)
        assert np.array_equal(results[name].view(np.uint8), bits), name


@pytest.mark.parametrize("sample", [dense, conv, pools], ids=lambda one: one.__name__)
def test_what_is_not_proven_is_computed_in_float(sample, computed):
    program = without_proof(sample())
    inputs = given(program)
    project = generate(program, "portable")

    made = computed(project, packed(program, inputs))

    assert "#define FIRNLINE_FLOAT_REQUANT 1" in project.files[f"{program.name}.c"]
    assert not any(differing(program, made, inputs).values())


@pytest.mark.parametrize("sample", SOFT, ids=lambda one: one.__name__)
def test_a_core_without_float_unit_gives_the_same(sample, tmp_path):
    program = sample()
    inputs = given(program)
    image = build(CORES["cortex-m0"], generate(program, "portable").files, tmp_path)

    made = emulate(image, packed(program, inputs)).outputs

    assert not any(differing(program, made, inputs).values())
    assert image.bss_bytes >= generate(program, "portable").arena_bytes


def test_layers_are_marked_and_told(tmp_path):
    program = series()
    project = generate(program, "portable")
    image = build(CORES["cortex-m4"], project.files, tmp_path, defines=("FIRNLINE_MARKS",))

    done = emulate(image, packed(program, rows(program, 2)))

    assert [layer.kind for layer in project.layers] == ["Conv", "Conv", "MaxPool", "Dense"]
    assert sum(layer.macs for layer in project.layers) == program.macs
    assert set(done.layers) == {layer.mark for layer in project.layers}
    assert project.layers[-1].arena_offset == -1
    assert all(layer.live_bytes <= project.arena_bytes for layer in project.layers)


def test_only_what_is_used_is_there():
    files = generate(dense(), "portable").files

    assert set(files) == {
        "dense.c",
        "dense.h",
        "entry.c",
        "firnline_base.h",
        "firnline_requant.h",
        "firnline_portable_dense.h",
    }


def test_the_same_program_gives_the_same_text():
    assert generate(conv(), "portable").files == generate(conv(), "portable").files


def test_names_from_a_graph_cannot_break_the_c(computed):
    b = Builder("names")
    x = b.input((4,), name='a"b\\ */ int x;')
    y = b.dense(x, 3, name="int")
    program = b.program(y, b.dense(y, 2, name="INT"))
    hostile = replace(program.operations[0], name="*/ }\n#error ??/")
    # Characters that only together with what stands for them end a comment.
    sly = replace(program.operations[1], name="*\\ }\n#error ???/")
    program = replace(program, operations=(hostile, sly))
    inputs = rows(program, 4)
    versions = {"models": 'a"b\n??=\\', "classes": "int,Int", "threshold": "0.25"}

    made = computed(generate(program, "portable", versions), packed(program, inputs))

    assert not any(differing(program, made, inputs).values())


def test_versions_are_constants():
    versions = {"features.compressor": "v2 äb", "classes": "normal, leak", "threshold": "0.1"}

    text = generate(dense(), "portable", versions).files["dense.h"]

    assert '#define DENSE_VERSION_FEATURES_COMPRESSOR "v2 \\303\\244b"' in text
    assert '#define DENSE_CLASSES {"normal", "leak"}' in text
    assert "#define DENSE_CLASS_LEAK 1" in text
    assert "#define DENSE_THRESHOLD 0.100000001f" in text


@pytest.mark.parametrize(
    "versions",
    [{"classes": "one"}, {"threshold": "high"}, {"threshold": "nan"}, {"threshold": "1e39"}],
)
def test_a_version_that_is_none(versions):
    with pytest.raises(HandshakeError) as caught:
        generate(dense(), "portable", versions)
    assert caught.value.code == "E36"


@pytest.mark.parametrize("name", ["small", "mve", "base", "m3_dot8"])
def test_no_name_of_a_model_is_one_of_the_kernels(name):
    program = replace(dense(), name=name)
    files = generate(program, "m3").files

    assert f"#define {name.upper()}_ARENA_BYTES" in files[f"{name}.h"]
    kernels = "".join(text for file, text in files.items() if file.startswith("firnline_"))
    assert f"#ifndef {name.upper()}_H\n" not in kernels


@pytest.mark.parametrize("name", ["stdint", "Math", "entry", "test", "firnline", "firnline_mve"])
def test_a_name_that_is_taken(name):
    with pytest.raises(HandshakeError, match=f"model_{name}") as caught:
        generate(replace(dense(), name=name), "portable")
    assert caught.value.code == "E34"


def test_refusals():
    class Unknown(Operation):
        """Of a program to come."""

    def one(kind, made, given, **fields):
        values = {"x": given, "y": made}
        return Program("p", ("x",), ("y",), values, (kind("n", ("x",), "y", **fields),))

    small = Value("x", (2,), "int8", 0.1), Value("y", (2,), "int8", 0.1)
    weights, bias = np.full((2, 2), 100, np.int8), np.full(2, 2**31 - 1, np.int32)
    turned = tuple(range(1, 8, 2)) + tuple(range(0, 8, 2))
    wide = Value("x", (2,) * 8, "int8"), Value("y", (2,) * 8, "int8")
    forest = trees().operations[1]
    fields = {name: getattr(forest, name) for name in forest.__dataclass_fields__}
    fields = {k: v for k, v in fields.items() if k not in ("name", "inputs", "output")}
    fields["feature"] = np.where(forest.feature >= 0, 20_000, -1).astype(np.int16)
    refused = {
        "E30": one(Unknown, *small),
        "E31": one(Transpose, *wide, order=turned),
        "E33": one(Dense, *small, weights=weights, bias=bias, requant=None, scale=np.ones(2)),
        "E34": replace(one(Softmax, *small, table=np.ones(256), levels=256), name="int"),
        "E37": one(Trees, *small, **fields),
    }
    for code, program in refused.items():
        with pytest.raises(HandshakeError) as caught:
            generate(program, "portable")
        assert caught.value.code == code
    with pytest.raises(DeliveryError) as delivered:
        generate(dense(), "cortex-m4")
    assert delivered.value.code == "E32"
    assert all(family in delivered.value.mend for family in FAMILIES)
