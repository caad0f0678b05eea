"""Real compilers and real emulators: one small model on every core."""

import os
import shutil

import numpy as np
import pytest
from unicorn.unicorn_const import UC_HOOK_CODE

from edge.mcu.tools import CORES, build, compile, core, qemu, run
from edge.mcu.tools.emulate import Board
from edge.mcu.tools.qemu import run_qemu
from firnline.errors import DeliveryError, HandshakeError

COUNT = 33
WEIGHTS = np.arange(COUNT) * 37 % 255 - 127
MODEL = """
#include <stdint.h>
#include "parts/marks.h"
void firnline_entry(const void *in, void *out);
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
const uint32_t firnline_in_bytes = 33U;
const uint32_t firnline_out_bytes = 12U;
static const int8_t weights[33] = {WEIGHTS};
static int32_t calls;
static int32_t begun = 7;

__attribute__((noinline)) static float halved(int32_t sum) {
    volatile int32_t kept[8] = {sum};
    return (float)kept[0] * 0.5f;
}

void firnline_entry(const void *in, void *out) {
    const int8_t *x = in;
    int32_t *y = out;
    int32_t sum = 0;
    LAYER("dot");
    for (int32_t k = 0; k < 33; k++) {
        sum += (int32_t)x[k] * weights[k];
    }
    y[0] = (sum > 0) ? sum : (sum / 7);
    LAYER("half");
    y[1] = (int32_t)halved(sum);
    calls++;
    begun += 2;
    y[2] = calls + begun;
}
""".replace("WEIGHTS", ", ".join(str(weight) for weight in WEIGHTS))
MARKS = """
#ifdef FIRNLINE_MARKS
#define LAYER(name) __asm__ volatile(".global firnline_layer_" name "\\nfirnline_layer_" name ":" \\
                                     ::: "memory")
#else
#define LAYER(name) ((void)0)
#endif
"""
FILES = {"model.c": MODEL, "parts/marks.h": MARKS}
ROWS = np.random.default_rng(3).integers(0, 256, (9, COUNT), dtype=np.uint8)
ON_CI = bool(os.environ.get("CI"))
needs_arm_qemu = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None and not ON_CI,
    reason="QEMU for Arm is not installed; setup.sh installs it",
)


def expected():
    sums = ROWS.view(np.int8).astype(np.int64) @ WEIGHTS
    first = np.where(sums > 0, sums, np.trunc(sums / 7))
    halves = np.trunc(sums.astype(np.float32) * np.float32(0.5))
    calls = 3 * (np.arange(len(ROWS)) + 1) + 7
    return np.stack([first, halves, calls], axis=1).astype("<i4")


def runner_of(name):
    if CORES[name].unicorn:
        return "unicorn"
    if shutil.which(CORES[name].qemu) is None and not ON_CI:
        pytest.skip(f"{CORES[name].qemu} is not installed; setup.sh installs it")
    return "qemu"


def body(lines, define="", sizes=(COUNT, 12)):
    return {
        "model.c": f"""
#include <stdint.h>
{define}
void firnline_entry(const void *in, void *out);
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
const uint32_t firnline_in_bytes = {sizes[0]}U;
const uint32_t firnline_out_bytes = {sizes[1]}U;
void firnline_entry(const void *in, void *out) {{
    const uint8_t *x = in;
    uint8_t *y = out;
    {lines}
}}
"""
    }


@pytest.mark.parametrize("name", CORES)
def test_every_core_computes_and_counts(name, tmp_path):
    runner = runner_of(name)
    image = build(CORES[name], FILES, tmp_path, defines=("FIRNLINE_MARKS",))

    found = run(image, ROWS)

    assert (found.outputs.view("<i4") == expected()).all()
    assert found.runner.startswith(runner)
    assert image.toolchain.startswith("zig ")
    assert len(found.instructions) == len(ROWS)
    assert image.data_bytes == 4
    assert image.bss_bytes == 4
    assert COUNT <= image.rodata_bytes < 2 * COUNT + 16  # a compiler's library may add tables
    assert 32 <= found.stack_bytes <= 512
    # Before the first mark the function only saves registers.
    assert list(found.layers) == ["dot", "half"]
    assert 0 <= found.instructions[0] - sum(found.layers.values()) < 16


@needs_arm_qemu
@pytest.mark.parametrize("name", ["cortex-m0", "cortex-m33", "rv32imc"])
def test_both_emulators_count_the_same(name, tmp_path):
    if shutil.which(CORES[name].qemu) is None:
        pytest.skip(f"{CORES[name].qemu} is not installed")
    image = build(CORES[name], FILES, tmp_path, defines=("FIRNLINE_MARKS",))

    one, other = (run(image, ROWS, runner) for runner in ("unicorn", "qemu"))

    assert (one.outputs == other.outputs).all()
    assert one.instructions == other.instructions
    assert one.stack_bytes == other.stack_bytes
    assert one.layers == other.layers


@needs_arm_qemu
@pytest.mark.parametrize("name", ["cortex-m3", "cortex-m55"])
def test_the_clock_counts_as_the_plugin(name, tmp_path):
    image = build(CORES[name], FILES, tmp_path)

    plugin, clock = (run_qemu(image, ROWS, plugin=by) for by in (True, False))

    apart = np.subtract(plugin.instructions, clock.instructions)
    assert abs(apart).max() <= 1
    assert (plugin.outputs == clock.outputs).all()


@pytest.mark.parametrize("name", ["cortex-m4", "rv32imc"])
def test_blocks_count_as_single_instructions(name, tmp_path):
    board = Board(build(CORES[name], FILES, tmp_path))
    flash = CORES[name].flash
    steps = []
    board.machine.hook_add(
        UC_HOOK_CODE,
        lambda *told: steps.append(told[1]),
        begin=flash.origin,
        end=flash.origin + flash.length,
    )

    board.call(ROWS[0].tobytes(), 0)

    assert len(steps) == board.watch.instructions > COUNT


@pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None and not ON_CI,
    reason="arm gcc is not installed; setup.sh installs it",
)
@needs_arm_qemu
def test_gcc_builds_too(tmp_path):
    for name in ("cortex-m0", "cortex-m55"):
        image = build(CORES[name], FILES, tmp_path / name, "gcc")

        assert (run(image, ROWS).outputs.view("<i4") == expected()).all()
        assert image.toolchain.startswith("arm-none-eabi-gcc ")


def test_sizes_are_known_when_optimised_for_size(tmp_path):
    files = {"-model.c": MODEL, "parts/marks.h": MARKS}  # a name that is no option
    for name in ("cortex-m3", "rv32imc"):
        image = build(CORES[name], files, tmp_path / name, optimise="-Os")

        assert (image.in_bytes, image.out_bytes) == (COUNT, 12)


def test_one_source_gives_one_image(tmp_path):
    one, other = (build(CORES["cortex-m4"], FILES, tmp_path / name) for name in "ab")

    assert one.sha256 == other.sha256


MISALIGNED = {
    "cortex-m0": "y[0] = (uint8_t)*(const volatile uint16_t *)(const void *)(x + 1);",
    "cortex-m4": 'uint32_t a, b; __asm__ volatile("ldrd %0, %1, [%2]" : "=r"(a), "=r"(b)'
    ' : "r"(x + 2)); y[0] = (uint8_t)(a + b);',
    "cortex-m55": '__asm__ volatile("vldrw.32 q0, [%0]" :: "r"(x + 1) : "q0"); y[0] = 0;',
}


@pytest.mark.parametrize("name", MISALIGNED)
def test_misaligned_access_is_refused_though_emulators_allow_it(name, tmp_path):
    runner_of(name)
    image = build(CORES[name], body(MISALIGNED[name]), tmp_path)

    with pytest.raises(DeliveryError, match=r"E45.*a misaligned access"):
        run(image, ROWS)


WRONG = {
    "beyond its output": "for (int k = 0; k < 13; k++) { y[k] = x[k]; }",
    "not the model's": "y[0] = ((const volatile uint8_t *)x)[50];",
    "its input": "y[0] = 1; ((volatile uint8_t *)(uintptr_t)x)[3] = y[0];",
    "invalid": 'y[0] = x[0]; __asm__ volatile("udf #0");',
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_code_is_refused(what, tmp_path):
    image = build(CORES["cortex-m3"], body(WRONG[what]), tmp_path)

    with pytest.raises(DeliveryError, match="E45"):
        run(image, ROWS)


@needs_arm_qemu
def test_wrong_code_is_refused_in_qemu(tmp_path):
    deep = (
        "volatile uint8_t d[20000]; for (int k = 0; k < 20000; k++) { d[k] = x[0]; } y[0] = d[9];"
    )
    found = {"invalid": "it faulted at", "beyond its output": "beyond its output in row 0"}
    for place, (lines, told) in enumerate(
        [*((WRONG[what], told) for what, told in found.items()), (deep, "left no stack|overflowed")]
    ):
        image = build(CORES["cortex-m3"], body(lines), tmp_path / str(place))

        with pytest.raises(DeliveryError, match=told):
            run(image, ROWS, "qemu")


def test_what_cannot_be_built_or_run_is_told(tmp_path):
    m4 = CORES["cortex-m4"]
    with pytest.raises(HandshakeError, match=r"E40.*cortex-m99"):
        core("cortex-m99")
    with pytest.raises(DeliveryError, match=r"E43.*unused variable"):
        build(m4, body("int spare; y[0] = x[0];"), tmp_path)
    with pytest.raises(DeliveryError, match=r"E43.*undefined symbol: firnline_"):
        build(m4, {"model.c": "const unsigned firnline_in_bytes = 1U;"}, tmp_path)
    with pytest.raises(DeliveryError, match=r"E41.*\.\./model\.c"):
        build(m4, {"../model.c": ""}, tmp_path)
    image = build(m4, body("y[0] = x[0];"), tmp_path)
    with pytest.raises(DeliveryError, match=r"E41.*uint8 \[rows, 33\]"):
        run(image, ROWS[:, 1:])
    with pytest.raises(DeliveryError, match=r"E41.*\[0, 33\]"):
        run(image, ROWS[:0])
    with pytest.raises(DeliveryError, match=r"E44.*cortex-m55"):
        run(build(CORES["cortex-m55"], body("y[0] = x[0];"), tmp_path), ROWS, "unicorn")
    image.path.write_bytes(image.path.read_bytes()[:9000])
    with pytest.raises(DeliveryError, match=r"E41.*cut off"):
        run(image, ROWS)


def test_missing_tools_are_told_with_the_mend(tmp_path, monkeypatch):
    compile.compiler.cache_clear()
    qemu.emulator.cache_clear()
    image = build(CORES["cortex-m55"], body("y[0] = x[0];"), tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeliveryError, match=r"E42.*apt-get install gcc-arm-none-eabi"):
        build(CORES["cortex-m55"], {}, tmp_path, "gcc")
    with pytest.raises(DeliveryError, match=r"E42.*apt-get install qemu-system-arm"):
        run(image, ROWS)
