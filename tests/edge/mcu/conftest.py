"""Generated C as a library of this host, by the project's own compiler."""

import ctypes
import subprocess
import sys

import numpy as np
import pytest

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-mfma")
"""With fused multiply-adds at hand, which the C must keep the compiler from taking."""


def compiler(*arguments):
    """Run the compiler; what it says, when it refuses."""
    command = [sys.executable, "-m", "ziglang", "cc", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def computed(tmp_path):
    """A function from a project and rows of bytes to the bytes that `firnline_entry` makes."""

    def compute(project, given):
        for name, text in project.files.items():
            (tmp_path / name).write_text(text)
        library = tmp_path / "model.so"
        sources = [tmp_path / name for name in project.files if name.endswith(".c")]
        compiler(*FLAGS, "-shared", "-fPIC", "-o", library, *sources)
        loaded = ctypes.CDLL(str(library))
        size = ctypes.c_uint32.in_dll(loaded, "firnline_out_bytes").value
        made = np.empty((len(given), size), np.uint8)
        for place, row in enumerate(given):
            one, out = aligned(row.size), aligned(size + 16)
            one[:], out[:] = row, 0x5A
            loaded.firnline_entry(*(ctypes.c_void_p(memory.ctypes.data) for memory in (one, out)))
            assert (out[size:] == 0x5A).all()
            made[place] = out[:size]
        return made

    return compute


def aligned(size):
    """Bytes on a boundary of 16."""
    room = np.empty(size + 16, np.uint8)
    start = -room.ctypes.data % 16
    return room[start : start + size]
