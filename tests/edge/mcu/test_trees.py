"""Trees as C tables: every layout against the reference, byte by byte."""

import numpy as np
import pytest

from edge.leaves import at_most, below, unit
from edge.mcu import emit_trees
from edge.mcu.generate import generate
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate
from edge.program import Trees
from edge.reference import run
from tests.edge.mcu.programs import Builder, packed, unpacked
from tests.edge.mcu.samples import gaps

COLUMNS = 7
BASE = np.float32([0.25, -1.0])


def forest(name, thresholds, leaf, base=BASE, depth=6, trees=9, columns=COLUMNS, spare=None):
    """A program of complete trees; thresholds and leaves by a function of the random source."""
    b = Builder(name, 21)
    x = b.input((COLUMNS,), "float32")
    size = 2**depth - 1
    node = np.tile(np.arange(2 * size + 1), trees)
    offset = np.repeat(np.arange(trees) * (2 * size + 1), 2 * size + 1)
    inner = node < size
    count = len(node)
    held = leaf(b.random, (count, len(base))).astype(np.float32)
    if spare is not None:
        held[np.arange(count), (offset // (2 * size + 1) + spare) % len(base)] = 0
    fields = {
        "roots": (np.arange(trees) * (2 * size + 1)).astype(np.int32),
        "feature": np.where(inner, b.random.integers(0, columns, count), -1).astype(np.int16),
        "threshold": thresholds(b.random, count).astype(np.float32),
        "left": np.where(inner, offset + 2 * node + 1, 0).astype(np.int32),
        "right": np.where(inner, offset + 2 * node + 2, 0).astype(np.int32),
        "missing_left": inner & (b.random.random(count) < 0.4),
        "leaf": np.where(inner[:, None], np.float32(0), held),
        "base": base,
    }
    return b.program(b.add(Trees, [x], base.shape, "float32", name="y", **fields))


def few(random, count):
    return random.choice([-0.0, 0.0, 0.5, -0.75, 1e-42, np.inf, 2.5], count)


def some(random, count):
    return random.integers(-400, 400, count) / 256


def many(random, count):
    made = random.normal(size=count)
    made[::17] = np.nan
    return made


def whole(random, shape):
    return random.integers(-90, 90, shape) / 32


def wide(random, shape):
    return random.integers(-200_000, 200_000, shape) / 2**20


def real(random, shape):
    return random.normal(size=shape)


CASES = {
    "bytes": forest("bytes", few, whole),
    "halves": forest("halves", some, wide, trees=60, columns=1),
    "words": forest("words", many, real),
    "boosted": forest("boosted", many, wide, spare=0),
    "boosted_real": forest("boosted_real", few, real, spare=1),
    "one": forest("one", few, whole, np.float32([0]), depth=2),
    "leaves": forest("leaves", few, whole, depth=0),
}


def given(count=64):
    random = np.random.default_rng(5)
    made = random.normal(size=(count, COLUMNS)).astype(np.float32)
    chosen = random.random(made.shape) < 0.3
    made[chosen] = random.choice([*gaps(), *np.float32([0.5, -0.75, 2.5])], int(chosen.sum()))
    return {"x": made}


@pytest.mark.parametrize("case", CASES)
def test_every_layout_gives_the_references_bytes(case, computed):
    program, inputs = CASES[case], given()

    made = unpacked(program, computed(generate(program, "portable"), packed(program, inputs)))

    assert made["y"].tobytes() == run(program, inputs)["y"].tobytes()


def test_trees_that_need_more_than_one_table_are_added_in_order(computed, monkeypatch):
    monkeypatch.setattr(emit_trees, "MOST", 150)
    program, inputs = CASES["words"], given()
    project = generate(program, "portable")

    made = unpacked(program, computed(project, packed(program, inputs)))

    assert "layer0_forest4" in project.files["words.c"]
    assert made["y"].tobytes() == run(program, inputs)["y"].tobytes()


def test_a_core_without_float_unit_adds_integers(tmp_path):
    program, inputs = CASES["bytes"], given()
    image = build(CORES["cortex-m0"], generate(program, "m0").files, tmp_path)

    done = emulate(image, packed(program, inputs))

    assert unpacked(program, done.outputs)["y"].tobytes() == run(program, inputs)["y"].tobytes()
    assert not [name for name in image.elf.symbols if name in ("__aeabi_fadd", "__aeabi_fcmple")]


@pytest.mark.parametrize(
    ("case", "kinds"),
    [("bytes", ("uint8_t", "int16_t")), ("halves", ("uint16_t", "int32_t")),
     ("words", ("int32_t", "float")), ("boosted", ("int32_t", "int32_t"))],
)  # fmt: skip
def test_tables_are_as_narrow_as_their_numbers(case, kinds):
    program = CASES[case]
    text = generate(program, "portable").files[f"{program.name}.c"]
    step = program.operations[0]
    splits = int((step.feature >= 0).sum())

    for part, kind in zip(("keys", "values"), kinds, strict=True):
        assert f"static const {kind} layer0_forest0_{part}[" in text
    if case == "bytes":
        flash = generate(program, "portable").layers[0].constant_bytes  # 6 a split, 4 a leaf
        assert flash < 6 * splits + 4 * (splits + len(step.roots)) + 600


def test_sums_are_exact_only_where_float32_holds_all_of_them():
    assert unit(CASES["bytes"].operations[0]) == 1 / 32
    assert unit(CASES["halves"].operations[0]) == 2.0**-20
    assert unit(CASES["words"].operations[0]) is None
    negative = forest("zero", few, whole, np.float32([-0.0, 0.0])).operations[0]
    assert unit(negative) is None


def test_thresholds_split_float32_as_the_wider_ones_do():
    random = np.random.default_rng(8)
    x = np.concatenate([random.normal(size=99), [0.0, -0.0, np.inf, -np.inf]]).astype(np.float32)
    wide_ = np.concatenate([x.astype(np.float64), random.normal(size=99), [1e300, -1e300]])

    assert np.array_equal(x[:, None] <= at_most(wide_), x[:, None] <= wide_)
    assert np.array_equal(x[:, None] <= below(wide_), x[:, None] < wide_)
    assert np.array_equal(x[:, None] <= at_most(x), x[:, None] <= x)
