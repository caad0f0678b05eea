"""Generated C against the reference, compiled for this host by the project's own compiler."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

from edge.mcu.generate import generate
from edge.reference import run
from tests.edge.mcu.programs import packed, rows, unpacked, without_proof
from tests.edge.mcu.samples import SAMPLES, gaps

ROWS = 64
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-mfma")


def compiled(files, folder):
    """The shared library of a project."""
    for name, text in files.items():
        (folder / name).write_text(text)
    library = folder / "model.so"
    sources = [str(folder / name) for name in files if name.endswith(".c")]
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", str(library), *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(library))


def computed(library, given):
    """`firnline_entry` of every row, into memory with a fence behind it."""
    size = ctypes.c_uint32.in_dll(library, "firnline_out_bytes").value
    made = np.empty((len(given), size), np.uint8)
    for place, row in enumerate(given):
        one, out = _aligned(row.size), _aligned(size + 16)
        one[:], out[:] = row, 0x5A
        library.firnline_entry(
            one.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p)
        )
        assert (out[size:] == 0x5A).all()
        made[place] = out[:size]
    return made


def _aligned(size):
    room = np.empty(size + 16, np.uint8)
    start = -room.ctypes.data % 16
    return room[start : start + size]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("proven", [True, False], ids=["integers", "floats"])
def test_every_byte_is_the_references(sample, proven, tmp_path):
    program = sample() if proven else without_proof(sample())
    inputs = rows(program, ROWS)
    for name, given in inputs.items():
        if given.dtype == np.float32 and sample.__name__ in ("floats", "trees"):
            given.reshape(-1)[5 : 5 + 7 * 10 : 7] = gaps()
    library = compiled(generate(program, "portable").files, tmp_path)

    made = unpacked(program, computed(library, packed(program, inputs)))

    with np.errstate(all="ignore"):
        wanted = run(program, inputs)
    for name, value in wanted.items():
        assert made[name].dtype == value.dtype
        assert np.array_equal(
            made[name].view(np.uint8), np.ascontiguousarray(value).view(np.uint8)
        ), name
