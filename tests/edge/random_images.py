"""Generated C of several programs in one image: on a core in an emulator, or on this host."""

import itertools
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from edge.compile.mcu import values_of
from edge.mcu.generate import generate
from edge.mcu.tools import CORES, build
from edge.mcu.tools import run as emulate

HOST = "host"
"""Portable C on this machine, built so that undefined behaviour ends the program."""


def differing(one, raw):
    """Bytes that are not the reference's; one NaN is as good as another."""
    count = 0
    for name, value in values_of(one.program, raw).items():
        wanted = np.ascontiguousarray(one.outputs[name], value.dtype).reshape(value.shape)
        bits = np.ascontiguousarray(value).view(np.uint8) != wanted.view(np.uint8)
        bits = bits.reshape(value.size, -1)
        if value.dtype == np.float32:
            bits[(np.isnan(value) & np.isnan(wanted)).ravel()] = False
        count += int(bits.sum())
    return count


def computed(programs, rows, target):
    """Results of the generated C of several programs: in one image, each on its own rows.

    Args:
        programs: With names that differ.
        rows: uint8 [rows, bytes] for each; as many rows for all.
        target: Name of a core, or `HOST`.

    Returns:
        uint8 [rows, bytes] for each, the toolchain and the runner.
    """
    family = "portable" if target == HOST else CORES[target].family
    projects = [generate(program, family) for program in programs]
    files = {name: text for project in projects for name, text in project.files.items()}
    widths = [sum(one.values[name].bytes for name in one.outputs) for one in programs]
    begins, ends = ([0, *itertools.accumulate(-(-width // 16) * 16 for width in side)]
                    for side in ([one.shape[1] for one in rows], widths))  # fmt: skip
    files["entry.c"] = _entry(projects, begins, ends)
    given = np.zeros((len(rows[0]), begins[-1]), np.uint8)
    for place, one in zip(begins, rows, strict=False):
        given[:, place : place + one.shape[1]] = one
    with TemporaryDirectory() as folder:
        if target == HOST:
            raw, toolchain, runner = _on_host(files, given, ends[-1], Path(folder))
        else:
            image = build(CORES[target], files, Path(folder))
            done = emulate(image, given)
            raw, toolchain, runner = done.outputs, image.toolchain, done.runner
    cut = [raw[:, place : place + width] for place, width in zip(ends, widths, strict=False)]
    return cut, toolchain, runner


def _entry(projects, begins, ends):
    """All programs' entries, one after the other, under names of their own."""
    texts = []
    for project in projects:
        text = project.files["entry.c"]
        for name in ("entry", "in_bytes", "out_bytes"):
            text = text.replace(f"firnline_{name}", f"{project.name}_{name}")
        texts.append(text)
    calls = "\n".join(
        f"    {project.name}_entry((const uint8_t *)in + {begin}, (uint8_t *)out + {end});"
        for project, begin, end in zip(projects, begins, ends, strict=False)
    )
    return (
        "\n".join(texts)
        + f"""
extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);
const uint32_t firnline_in_bytes = {begins[-1]}u;
const uint32_t firnline_out_bytes = {ends[-1]}u;
void firnline_entry(const void *in, void *out)
{{
{calls}
}}
"""
    )


_MAIN = """
#include <stdint.h>
#include <stdio.h>
extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);
static uint8_t in[1 << 22] __attribute__((aligned(16)));
static uint8_t out[1 << 22] __attribute__((aligned(16)));
int main(void)
{
    while (fread(in, firnline_in_bytes, 1, stdin) == 1) {
        firnline_entry(in, out);
        fwrite(out, firnline_out_bytes, 1, stdout);
    }
    return 0;
}
"""


def _on_host(files, given, width, folder):
    for name, text in {**files, "main.c": _MAIN}.items():
        (folder / name).write_text(text)
    sources = [name for name in (*files, "main.c") if name.endswith(".c")]
    command = [sys.executable, "-m", "ziglang", "cc", "-std=c99", "-O1", "-mfma", "-Wall",
               "-Wextra", "-Werror", "-fsanitize=undefined", *sources, "-o", "host"]  # fmt: skip
    subprocess.run(command, cwd=folder, check=True)
    done = subprocess.run(
        [str(folder / "host")], input=given.tobytes(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    version = [sys.executable, "-m", "ziglang", "version"]
    zig = subprocess.run(version, capture_output=True, text=True, check=True).stdout.strip()
    made = np.frombuffer(done.stdout, np.uint8).reshape(len(given), width)
    return made, f"zig {zig}", HOST
