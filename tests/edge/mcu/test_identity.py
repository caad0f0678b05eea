"""The constants that Python digests are those that lie in a core's flash."""

import numpy as np
import pytest

from edge.mcu.emit_identity import identity, tables
from edge.mcu.emit_text import array
from edge.mcu.generate import FAMILIES, generate
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate
from tests.edge.mcu.samples import SAMPLES, bridges, series, trees

ENTRY = """
#include "{name}.h"

extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);

const uint32_t firnline_in_bytes = 4u;
const uint32_t firnline_out_bytes = {length}u;

static uint8_t *to;

static void update(void *context, const void *bytes, size_t length)
{{
    (void)context;
    for (size_t i = 0u; i < length; i++) {{
        *to++ = ((const uint8_t *)bytes)[i];
    }}
}}

void firnline_entry(const void *in, void *out)
{{
    (void)in;
    to = (uint8_t *)out;
    {name}_identity(update, (void *)0);
}}
"""


@pytest.mark.parametrize(
    ("sample", "family", "core"),
    [(bridges, "dsp", "cortex-m4"), (trees, "m0", "cortex-m0"), (series, "rv32", "rv32imc")],
    ids=lambda one: str(getattr(one, "__name__", one)),
)
def test_what_lies_in_flash_is_what_is_digested(sample, family, core, tmp_path):
    project = generate(sample(), family)
    length = project.identity.length
    entry = ENTRY.format(name=project.name, length=length)
    macro = f"{project.name.upper()}_IDENTITY"

    image = build(CORES[core], {**project.files, "entry.c": entry}, tmp_path, defines=[macro])
    found = emulate(image, np.zeros((1, 4), np.uint8)).outputs.tobytes()

    told = tables(project.files[f"{project.name}.c"])
    framed = b"".join(len(one.content).to_bytes(4, "little") + one.content for one in told)
    assert len(told) > 1
    assert found == framed
    assert project.identity == identity(told)


def test_unused_it_costs_nothing(tmp_path):
    files = generate(bridges(), "dsp").files
    source = files["bridges.c"]
    without = {**files, "bridges.c": source[: source.index("#if defined(BRIDGES_IDENTITY)")]}

    images = [
        build(CORES["cortex-m4"], one, tmp_path / name)
        for name, one in (("with", files), ("without", without))
    ]

    assert images[0].elf.loaded == images[1].elf.loaded


@pytest.mark.parametrize("family", FAMILIES)
def test_every_constant_array_is_among_them(family):
    for sample in SAMPLES:
        source = generate(sample(), family).files[f"{sample().name}.c"]
        declared = source.count("] FIRNLINE_ALIGNED = {")

        assert len(tables(source)) == declared


@pytest.mark.parametrize(
    "values",
    [
        np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3.4028235e38, 1 / 3], np.float32),
        np.array([-(2**31), 2**31 - 1, 0], np.int32),
        np.array([2**32 - 1, 0], np.uint32),
        np.arange(-128, 128, dtype=np.int8),
        np.random.default_rng(1).integers(0, 2**32, 400, np.uint32).view(np.float32),
    ],
    ids=["special", "int32", "uint32", "int8", "any bits"],
)
def test_a_table_is_read_as_the_compiler_reads_it(values):
    values = np.where(values != values, np.array(np.nan, np.float32), values).astype(values.dtype)

    (found,) = tables(array("layer0_table", values))

    assert found.content == values.tobytes()


def test_no_byte_moves_from_one_table_to_the_next():
    whole = tables(array("a", np.arange(4, dtype=np.int8)))
    split = tables(array("a", np.arange(3, dtype=np.int8)) + array("b", np.array([3], np.int8)))

    assert b"".join(one.content for one in whole) == b"".join(one.content for one in split)
    assert identity(whole).sha256 != identity(split).sha256


def test_a_table_that_lost_an_element_is_refused():
    text = array("a", np.arange(4, dtype=np.int8)).replace(", 3", "")

    with pytest.raises(ValueError, match="a has 3 elements, not 4"):
        tables(text)
