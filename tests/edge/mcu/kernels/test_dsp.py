"""Kernels for Cortex-M4, M7 and M33, run: every case's bytes are those of the reference."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge import reference
from edge.mcu.kernels import Operand
from edge.mcu.kernels.dsp import KERNELS
from edge.mcu.tools import CORES, Run, Toolchain, build, run
from edge.program import Conv, Dense, Program, Requant, Value, bounds
from edge.quantize.portable import integers, nudged

HEADERS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (Path(__file__).parents[4] / "edge/mcu/c").glob("*.h")
}
ROWS = 6

Rows = NDArray[np.int8]


@dataclass(frozen=True)
class Case:
    """One layer alone, the C file that must take it, and its values."""

    layer: Dense | Conv
    header: str
    x: Value
    y: Value


def _weights(rng: np.random.Generator, *shape: int, spread: float = 40.0) -> NDArray[np.int8]:
    drawn = np.clip(np.rint(rng.normal(0, spread, shape)), -127, 127)
    return drawn.astype(np.int8)


def _requant(layer: Dense | Conv, x_zero: int, zero: int, rng: np.random.Generator) -> Requant:
    """A scale for every channel that uses the whole range, and its integers."""
    low, high = bounds(layer, x_zero)
    flat = layer.weights.reshape(len(layer.weights), -1).astype(np.float64)
    wanted = rng.uniform(0.5, 1.0, len(flat)) / (1 + np.sqrt((flat**2).sum(1)))
    scale = nudged(1.0, wanted.astype(np.float32), 1.0, zero, low, high)
    made = integers(scale, zero, low, high)
    return Requant(scale, made.multiplier, made.shift, made.exact, zero)


def _case(
    layer: Dense | Conv,
    shape: tuple[int, ...],
    made: tuple[int, ...],
    header: str,
    x_zero: int = 3,
    zero: int = -5,
    **changed: Any,
) -> Case:
    """A layer with a requantisation of its own, some of whose fields are changed."""
    how = _requant(layer, x_zero, zero, np.random.default_rng(len(layer.weights)))
    whole = replace(layer, requant=replace(how, **changed))
    x, y = Value("x", shape, "int8", 0.1, x_zero), Value("y", made, "int8", 0.1, zero)
    return Case(whole, header, x, y)


def _dense(weights: NDArray[np.int8], rows: int = 1, header: str = "dsp_dense", **how: Any) -> Case:
    channels, columns = weights.shape
    bias = np.random.default_rng(channels).integers(-9000, 9000, channels).astype(np.int32)
    layer = Dense("d", ("x",), "y", weights, bias, None)
    lead = () if rows == 1 else (rows,)
    return _case(layer, (*lead, columns), (*lead, channels), header, **how)


def _conv(
    weights: NDArray[np.int8],
    image: tuple[int, int, int],
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    groups: int = 1,
    header: str = "dsp_conv",
    **how: Any,
) -> Case:
    bias = np.random.default_rng(1).integers(-9000, 9000, len(weights)).astype(np.int32)
    none = Requant(*np.zeros((4, 1)), zero=0)
    layer = Conv("c", ("x",), "y", weights, bias, none, stride, dilation, pad, groups)
    made = [
        (image[axis] + pad[axis] + pad[axis + 2] - dilation[axis] * (size - 1) - 1) // stride[axis]
        + 1
        for axis, size in enumerate(weights.shape[1:3])
    ]
    return _case(layer, image, (made[0], made[1], len(weights)), header, **how)


def _fast(rng: np.random.Generator) -> list[Case]:
    shapes = [(1, 1), (4, 8), (3, 7), (5, 130), (8, 129), (9, 16), (2, 384), (6, 250)]
    cases = [_dense(_weights(rng, *shape)) for shape in shapes]
    full = np.full((4, 200), 127, np.int8)
    cases += [
        _dense(full),
        _dense(-full, x_zero=-128, zero=127),
        _dense(_weights(rng, 8, 40), x_zero=127, zero=-128),
        _dense(_weights(rng, 7, 24), low=-20, high=30),
        _dense(_weights(rng, 8, 24), low=5, high=127, zero=5),
        _dense(_weights(rng, 6, 10), rows=5, header="dsp_conv"),
    ]
    series = (1, 21, 6)
    cases += [
        _conv(_weights(rng, 6, 1, 3, 6), series),
        _conv(_weights(rng, 5, 1, 5, 6), series, pad=(0, 2, 0, 2), zero=-128),
        _conv(_weights(rng, 4, 1, 3, 6), series, stride=(1, 2), pad=(0, 1, 0, 0), low=-128, high=9),
        _conv(_weights(rng, 4, 1, 3, 6), series, dilation=(1, 3), pad=(0, 3, 0, 3)),
        _conv(_weights(rng, 3, 3, 3, 3), (7, 9, 3), pad=(1, 1, 1, 1)),
        _conv(
            _weights(rng, 8, 3, 2, 5), (8, 7, 5), stride=(2, 1), dilation=(2, 2), pad=(2, 0, 1, 1)
        ),
        _conv(_weights(rng, 10, 1, 1, 16), (4, 4, 16), x_zero=-128),
        _conv(_weights(rng, 6, 3, 5, 2), (6, 5, 2)),
        _conv(_weights(rng, 6, 1, 3, 2), (1, 9, 6), groups=3, pad=(0, 1, 0, 1)),
        _conv(np.full((2, 3, 3, 4), -127, np.int8), (4, 4, 4), pad=(3, 3, 3, 3), x_zero=-128),
        _conv(_weights(rng, 5, 2, 3, 4), (2, 3, 4), header="dsp_dense"),
        _conv(_weights(rng, 2, 1, 70, 14), (1, 72, 14)),
    ]
    return cases


def _depthwise(rng: np.random.Generator) -> list[Case]:
    return [
        _conv(
            _weights(rng, 8, 3, 3, 1),
            (5, 6, 8),
            pad=(1, 1, 1, 1),
            groups=8,
            header="dsp_depthwise",
        ),
        _conv(
            _weights(rng, 7, 1, 5, 1),
            (1, 20, 7),
            stride=(1, 2),
            pad=(0, 2, 0, 2),
            groups=7,
            header="dsp_depthwise",
        ),
        _conv(
            _weights(rng, 5, 5, 4, 1),
            (9, 9, 5),
            dilation=(2, 2),
            groups=5,
            high=20,
            header="dsp_depthwise",
        ),
        _conv(
            np.full((4, 2, 2, 1), -127, np.int8),
            (2, 2, 4),
            pad=(3, 0, 0, 3),
            groups=4,
            header="dsp_depthwise",
        ),
    ]


def _general(rng: np.random.Generator) -> list[Case]:
    extreme = np.full((5, 2100), 127, np.int8)
    extreme[1::2] = -127
    shifted = _dense(_weights(rng, 6, 33))
    spread = np.array([1, 100, 1, 3000, 7, 0.001])
    floats = replace(shifted.layer, requant=None, scale=np.geomspace(1e-3, 1, 6).astype(np.float32))
    return [
        _dense(extreme, x_zero=-128, header="dsp_general"),
        _dense(_weights(rng, 7, 2100, spread=200), x_zero=0, header="dsp_general"),
        _conv(extreme[:, None, None, :], (1, 3, 2100), x_zero=-128, header="dsp_general"),
        _scaled(shifted, spread),
        _scaled(_conv(_weights(rng, 6, 1, 3, 3), (1, 8, 9), groups=3, pad=(0, 2, 0, 0)), spread),
        _dense(
            _weights(rng, 5, 17),
            exact=np.array([False]),
            low=-100,
            high=90,
            header="dsp_general",
        ),
        _conv(
            _weights(rng, 3, 2, 2, 3),
            (3, 4, 3),
            dilation=(1, 2),
            exact=np.array([False]),
            header="dsp_general",
        ),
        Case(floats, "dsp_general", shifted.x, Value("y", (6,), "float32")),
    ]


def _scaled(case: Case, factors: NDArray[np.float64]) -> Case:
    """The same with scales so far apart that no one shift serves them all."""
    how = case.layer.requant
    assert how is not None
    scale = (how.scale / factors).astype(np.float32)
    low, high = bounds(case.layer, case.x.zero)
    made = integers(scale, how.zero, low, high)
    spread = replace(how, scale=scale, multiplier=made.multiplier, shift=made.shift)
    exact = replace(spread, exact=made.exact)
    return replace(case, layer=replace(case.layer, requant=exact), header="dsp_general")


def _padded(size: int) -> int:
    return -(-size // 16) * 16


def _source(cases: Sequence[Case]) -> tuple[str, int]:
    """One entry that computes every case, and the bytes it reads."""
    data, calls, headers = [], [], []
    read = written = scratch = 0
    for place, case in enumerate(cases):
        kind = "int8_t" if case.y.dtype == "int8" else "float"
        x = Operand(f"(in + {read})", case.x)
        y = Operand(f"({kind} *)(void *)(out + {written})", case.y)
        if isinstance(case.layer, Dense):
            made = KERNELS.dense(f"l{place}", case.layer, x, y)
        else:
            made = KERNELS.conv(f"l{place}", case.layer, x, y)
        assert made is not None and made.headers == (f"firnline_{case.header}.h",), (
            place,
            made and made.headers,
        )
        data.append(made.data)
        calls.append(f"{{ {made.call} }}")
        headers += made.headers
        read, written = read + _padded(case.x.bytes), written + _padded(case.y.bytes)
        scratch = max(scratch, made.scratch_bytes)
    includes = "".join(f'#include "{name}"\n' for name in dict.fromkeys(headers))
    text = f"""{includes}{"".join(data)}
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
const uint32_t firnline_in_bytes = {read}u, firnline_out_bytes = {written}u;
static int8_t working[{scratch}] FIRNLINE_ALIGNED;
void firnline_entry(const void *rows, void *results);
void firnline_entry(const void *rows, void *results)
{{
    const int8_t *const in = rows;
    int8_t *const out = results;
    void *const scratch = working;
{chr(10).join(calls)}
}}
"""
    return text, read


def _run(
    cases: Sequence[Case], core: str, toolchain: Toolchain, folder: Path, optimise: str = "-O2"
) -> tuple[Run, Rows]:
    text, read = _source(cases)
    files = {"cases.c": text, **HEADERS}
    image = build(CORES[core], files, folder, toolchain, optimise=optimise)
    rows = np.random.default_rng(7).integers(-128, 128, (ROWS, read)).astype(np.int8)
    rows[0], rows[1] = -128, 127
    return run(image, rows.view(np.uint8)), rows


def _differences(cases: Sequence[Case], found: Run, rows: Rows) -> list[int]:
    """Bytes of every case that are not the reference's."""
    differ, start, end = [], 0, 0
    for case in cases:
        program = Program("p", ("x",), ("y",), {"x": case.x, "y": case.y}, (case.layer,))
        x = rows[:, start : start + case.x.bytes].reshape(ROWS, *case.x.shape)
        wanted = np.ascontiguousarray(reference.run(program, {"x": x})["y"])
        got = found.outputs[:, end : end + case.y.bytes]
        differ.append(int((wanted.reshape(ROWS, -1).view(np.uint8) != got).sum()))
        start, end = start + _padded(case.x.bytes), end + _padded(case.y.bytes)
    return differ


# For size, functions need not begin on whole words, from which ADR counts.
@pytest.mark.parametrize(
    "core, toolchain, optimise",
    [("cortex-m4", "zig", "-O2"), ("cortex-m4", "zig", "-Os"), ("cortex-m33", "gcc", "-O2")],
)
def test_every_byte_is_the_reference_s(
    core: str, toolchain: Toolchain, optimise: str, tmp_path: Path
) -> None:
    if toolchain == "gcc" and shutil.which(CORES[core].gcc) is None:
        pytest.skip("no GNU compiler for Arm")
    rng = np.random.default_rng(4)
    cases = _fast(rng) + _depthwise(rng) + _general(rng)
    found, rows = _run(cases, core, toolchain, tmp_path, optimise)
    assert _differences(cases, found, rows) == [0] * len(cases)


@pytest.mark.parametrize(
    "shape, image, most",
    [((128, 128), None, 0.93), ((32, 1, 5, 24), (1, 16, 24), 0.85)],
    ids=["dense", "conv"],
)
def test_the_instructions_a_product_stay_few(
    shape: tuple[int, ...], image: tuple[int, int, int] | None, most: float, tmp_path: Path
) -> None:
    weights = _weights(np.random.default_rng(0), *shape)
    case = _dense(weights) if image is None else _conv(weights, image)
    products = weights.size * case.y.size // len(weights)
    found, _ = _run([case], "cortex-m7", "zig", tmp_path)
    assert max(found.instructions) <= most * products


def test_what_the_packing_cannot_hold_is_left_to_portable_c() -> None:
    rng = np.random.default_rng(0)
    least = _dense(np.full((2, 3), -127, np.int8))
    layer = replace(least.layer, weights=np.full((2, 3), -128, np.int8))
    assert KERNELS.dense("l", layer, Operand("x", least.x), Operand("y", least.y)) is None
    twice = _conv(_weights(rng, 8, 1, 3, 1), (1, 5, 4), groups=4)
    assert KERNELS.conv("l", twice.layer, Operand("x", twice.x), Operand("y", twice.y)) is None
