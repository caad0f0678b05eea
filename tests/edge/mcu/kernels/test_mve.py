"""Helium kernels, compiled and run on an emulated Cortex-M55, against the integer reference."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge.mcu.kernels import ALIGNMENT, Operand, mve_layout
from edge.mcu.kernels.mve import KERNELS
from edge.mcu.tools import CORES, build, run
from edge.program import Conv, Dense, Program, Requant, Value, bounds
from edge.quantize.portable import integers
from edge.reference import run as reference

HEADERS = Path(__file__).parents[4] / "edge/mcu/c"
ROWS = 6

pytestmark = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None, reason="only QEMU models the Cortex-M55"
)


def requant(random, layer, zero, finish, low, high):
    """Scales that send most sums within int8, with integers that are proven, or declared not."""
    least, most = bounds(layer, zero)
    size = layer.weights.astype(np.float64).reshape(len(layer.weights), -1)
    scale = random.uniform(0.3, 1.2, len(size)) * 60 / (1 + np.sqrt((size**2).sum(1)) * 74)
    if finish == "shifts":
        scale *= 2.0 ** -np.arange(len(size))
    scale = np.float32(np.clip(scale, 1e-7, 0.2))
    made_zero = int(random.integers(-128, 128))
    # One channel at a time each has a shift of its own.
    parts = [[place] for place in range(len(size))] if finish == "shifts" else [range(len(size))]
    for _ in range(2000):
        made = [
            integers(scale[part], made_zero, least[part], most[part], low=low, high=high)
            for part in parts
        ]
        exact = np.concatenate([one.exact for one in made])
        if exact.all():
            break
        scale = np.where(exact, scale, np.nextafter(scale, np.float32(1)))
    assert exact.all()
    multiplier = np.concatenate([one.multiplier for one in made])
    shift = np.concatenate([one.shift for one in made])
    assert len(set(shift)) == 1 or finish == "shifts"
    return Requant(scale, multiplier, shift, exact & (finish != "float"), made_zero, low, high)


def with_requant(random, kind, fields, zero, finish, low, high):
    plain = kind("layer", ("x",), "y", requant=None, **fields)
    if finish == "float32":
        scale = random.uniform(1e-4, 1e-3, len(plain.weights)).astype(np.float32)
        return kind("layer", ("x",), "y", requant=None, scale=scale, **fields)
    made = requant(random, plain, zero, finish, low, high)
    return kind("layer", ("x",), "y", requant=made, **fields)


def weights_of(random, shape, extreme):
    if extreme:
        return np.full(shape, extreme, np.int8)
    return np.clip(random.normal(0, 50, shape), -127, 127).astype(np.int8)


def dense(random, outputs, columns, *, rows=0, finish="shift", low=-128, high=127, extreme=0):
    fields = {
        "weights": weights_of(random, (outputs, columns), extreme),
        "bias": random.integers(-9000, 9000, outputs).astype(np.int32),
    }
    zero = int(random.integers(-128, 128))
    layer = with_requant(random, Dense, fields, zero, finish, low, high)
    lead = (rows,) if rows else ()
    return program(layer, (*lead, columns), (*lead, outputs), zero)


def conv(random, image, kernel, outputs, *, finish="shift", low=-128, high=127, **geometry):
    groups = geometry.get("groups", 1)
    shape = (outputs, *kernel, image[2] // groups)
    fields = {
        "weights": weights_of(random, shape, geometry.pop("extreme", 0)),
        "bias": random.integers(-9000, 9000, outputs).astype(np.int32),
        **geometry,
    }
    zero = int(random.integers(-128, 128))
    layer = with_requant(random, Conv, fields, zero, finish, low, high)
    pad, extent = layer.pad, []
    for axis in range(2):
        reach = (kernel[axis] - 1) * layer.dilation[axis] + 1
        padded = image[axis] + pad[axis] + pad[axis + 2]
        extent.append((padded - reach) // layer.stride[axis] + 1)
    return program(layer, image, (*extent, outputs), zero)


def program(layer, shape, made, zero):
    out = layer.requant
    values = {
        "x": Value("x", shape, "int8", 1.0, zero),
        "y": Value("y", made, "int8", 1.0, out.zero) if out else Value("y", made, "float32"),
    }
    return Program("one", ("x",), ("y",), values, (layer,))


def cases():
    """One program for every way through the code."""
    random = np.random.default_rng(4)
    for outputs, columns in (
        *((1, 1), (2, 15), (3, 16), (5, 17), (7, 80), (8, 81), (9, 96), (16, 128), (17, 208)),
        *((8, 209), (10, 336), (24, 337), (6, 640), (9, 4200)),
    ):
        yield dense(random, outputs, columns)
    for finish in ("shifts", "float", "float32"):
        for outputs, columns in ((1, 3), (8, 40), (13, 350)):
            yield dense(random, outputs, columns, finish=finish)
    yield dense(random, 11, 33, low=-20, high=90)
    for extreme in (127, -127):
        yield dense(random, 9, 640, extreme=extreme)
        yield conv(random, (1, 9, 30), (1, 5), 9, extreme=extreme)
    for rows, outputs, columns in ((2, 8, 16), (5, 7, 33)):
        yield dense(random, outputs, columns, rows=rows)
    yield from series(random)
    yield from images(random)
    yield from depthwise(random)


def series(random):
    yield conv(random, (1, 20, 14), (1, 5), 8, pad=(0, 2, 0, 2))
    yield conv(random, (1, 21, 14), (1, 5), 6, pad=(0, 1, 0, 3), stride=(1, 2), finish="shifts")
    yield conv(random, (1, 13, 3), (1, 1), 1, finish="float")
    yield conv(random, (1, 30, 24), (1, 7), 5, pad=(0, 6, 0, 0), low=-5, high=70)
    yield conv(random, (1, 17, 8), (1, 3), 4, dilation=(1, 4), pad=(0, 4, 0, 4))
    yield conv(random, (1, 9, 64), (1, 6), 12)
    yield conv(random, (1, 3, 5), (1, 3), 10)
    yield conv(random, (1, 2, 5), (1, 3), 10, pad=(0, 2, 0, 2))
    yield conv(random, (19, 1, 6), (3, 1), 4, pad=(1, 0, 1, 0), stride=(2, 1))


def images(random):
    yield conv(random, (7, 6, 3), (3, 3), 8, pad=(1, 1, 1, 1))
    yield conv(random, (8, 9, 5), (3, 2), 7, pad=(0, 1, 2, 0), stride=(2, 3))
    yield conv(random, (9, 8, 4), (3, 3), 5, dilation=(2, 3), pad=(2, 3, 2, 3))
    yield conv(random, (5, 4, 16), (1, 1), 9)
    yield conv(random, (5, 5, 7), (1, 1), 4, stride=(2, 2))
    yield conv(random, (5, 6, 9), (1, 3), 4, stride=(2, 1))
    yield conv(random, (6, 4, 3), (2, 4), 4)
    yield conv(random, (4, 4, 3), (4, 4), 5)


def depthwise(random):
    for finish in ("shift", "shifts", "float"):
        yield conv(random, (6, 7, 19), (3, 3), 19, groups=19, pad=(1, 1, 1, 1), finish=finish)
    yield conv(random, (9, 8, 32), (3, 2), 32, groups=32, stride=(2, 1), low=-90, high=99)
    yield conv(random, (8, 9, 5), (2, 3), 5, groups=5, dilation=(2, 3), pad=(2, 0, 1, 4))
    yield conv(random, (1, 30, 16), (1, 7), 16, groups=16, pad=(0, 3, 0, 3), extreme=127)
    yield conv(random, (4, 5, 40), (1, 1), 40, groups=40)
    yield conv(random, (3, 4, 17), (3, 4), 17, groups=17)


def padded(count):
    return -(-count // ALIGNMENT) * ALIGNMENT


def source(programs):
    """C that runs every program on its part of the input, and the parts of its outputs."""
    data, calls, scratch, parts, at, into = "", "", ALIGNMENT, [], 0, 0
    headers = {}
    for index, one in enumerate(programs):
        layer, x, y = one.operations[0], one.values["x"], one.values["y"]
        of_x = Operand(f"((const int8_t *)in + {at})", x)
        kind = "float" if y.dtype == "float32" else "int8_t"
        of_y = Operand(f"({kind} *)(void *)((int8_t *)out + {into})", y)
        kernel = KERNELS.dense if isinstance(layer, Dense) else KERNELS.conv
        made = kernel(f"layer_{index}", layer, of_x, of_y)
        assert made is not None
        data, calls = data + made.data, calls + f"    {{\n{made.call}    }}\n"
        scratch = max(scratch, made.scratch_bytes)
        headers |= dict.fromkeys(made.headers)
        parts.append((at, into))
        # A guard behind every output: it must stay as it is.
        at, into = at + padded(x.bytes), into + padded(y.bytes) + ALIGNMENT
    text = "".join(f'#include "{name}"\n' for name in headers)
    text += f"""
void firnline_entry(const void *in, void *out);
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
const uint32_t firnline_in_bytes = {at}u, firnline_out_bytes = {into}u;
static int8_t memory[{scratch}] FIRNLINE_ALIGNED;
{data}
void firnline_entry(const void *in, void *out)
{{
    void *scratch = memory;
    (void)scratch;
    for (uint32_t place = 0u; place < firnline_out_bytes; place++) {{
        ((int8_t *)out)[place] = 0x55;
    }}
{calls}}}
"""
    return text, parts, at


def inputs(programs, parts, size):
    """Rows of bytes: the extremes, a mixture of them, and noise."""
    random = np.random.default_rng(5)
    rows = random.integers(-128, 128, (ROWS, size)).astype(np.int8)
    rows[0], rows[1] = -128, 127
    rows[2] = np.where(rows[2] < 0, -128, 127)
    given = []
    for one, (at, _) in zip(programs, parts, strict=True):
        x = one.values["x"]
        given.append(rows[:, at : at + x.size].reshape(ROWS, *x.shape))
    return rows.view(np.uint8), given


def files(text):
    """The source, and the headers it leads to."""
    found, waiting = {"cases.c": text}, [text]
    while waiting:
        for name in re.findall(r'#include "(\w+\.h)"', waiting.pop()):
            if name not in found:
                found[name] = (HEADERS / name).read_text()
                waiting.append(found[name])
    return found


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_every_kernel_gives_the_bytes_of_the_reference(toolchain, tmp_path):
    if toolchain == "gcc" and shutil.which(CORES["cortex-m55"].gcc) is None:
        pytest.skip("the GNU compiler for Arm is not installed")
    programs = list(cases())
    text, parts, size = source(programs)
    rows, given = inputs(programs, parts, size)
    image = build(CORES["cortex-m55"], files(text), tmp_path, toolchain)
    outputs = run(image, rows).outputs
    for one, x, (_, into) in zip(programs, given, parts, strict=True):
        y = one.values["y"]
        expected = reference(one, {"x": x})["y"]
        found = outputs[:, into : into + padded(y.bytes) + ALIGNMENT]
        bytes_expected = np.ascontiguousarray(expected).reshape(ROWS, -1).view(np.uint8)
        case = f"{one.operations[0]}"[:300]
        np.testing.assert_array_equal(found[:, : y.bytes], bytes_expected, err_msg=case)
        assert (found[:, y.bytes :] == 0x55).all(), f"written past the end: {case}"


def test_instructions_a_multiplication(tmp_path):
    random = np.random.default_rng(6)
    for layer, most in (
        (dense(random, 128, 128), 0.15),
        (conv(random, (1, 64, 32), (1, 5), 64, stride=(1, 2), pad=(0, 2, 0, 2)), 0.14),
        (conv(random, (16, 16, 32), (3, 3), 32, groups=32, pad=(1, 1, 1, 1)), 1.2),
    ):
        text, _, size = source([layer])
        text = text[: text.index("    for (uint32_t place")] + text[text.index("    {\n") :]
        image = build(CORES["cortex-m55"], files(text), tmp_path)
        done = run(image, np.zeros((1, size), np.uint8))
        assert done.instructions[0] <= most * layer.macs


def test_what_is_left_to_portable_c():
    random = np.random.default_rng(7)
    for one in (
        conv(random, (5, 5, 8), (3, 3), 8, groups=4),
        conv(random, (5, 5, 8), (3, 3), 16, groups=8),
        conv(random, (7, 7, 2), (6, 6), 2, groups=2),
    ):
        x, y = Operand("in", one.values["x"]), Operand("out", one.values["y"])
        assert KERNELS.conv("layer", one.operations[0], x, y) is None


def test_nothing_is_read_past_the_end_of_a_buffer():
    random, seen = np.random.default_rng(8), 0
    for _ in range(300):
        height, width, channels = (int(size) for size in random.integers(1, 9, 3))
        kernel = tuple(int(random.integers(1, size + 1)) for size in (height, width))
        stride = tuple(int(step) for step in random.integers(1, 4, 2))
        pad = tuple(int(border) for border in random.integers(0, 3, 4))
        one = conv(random, (height, width, channels), kernel, 1, stride=stride, pad=pad)
        made = one.values["y"].shape
        read = int(random.integers(1, 200))
        image = (height, width, channels)
        begin, end = mve_layout.columns(one.operations[0], image, made, read)
        seen += end - begin
        for out_y in range(made[0]):
            y = out_y * stride[0] - pad[0]
            if y < 0 or y + kernel[0] > height:
                continue
            for out_x in range(begin, end):
                x = out_x * stride[1] - pad[1]
                assert 0 <= x <= width - kernel[1]
                assert (y * width + x) * channels + read <= padded(height * width * channels)
    assert seen > 100
