"""Small C for this machine: what watches an emulator from inside, built when first needed."""

import atexit
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from edge.mcu.tools.compile import TARGET, zig
from firnline.errors import DeliveryError


@cache
def library(name: str) -> Path:
    """A shared library from `target/<name>.c`, kept as long as the process lives.

    Raises:
        DeliveryError: E42 when Zig is not installed, E46 when the library does not build.
    """
    folder = Path(tempfile.mkdtemp(prefix="firnline-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = folder / f"{name}.so"
    target = ("-target", f"{platform.machine()}-linux-gnu") if linux() else ()
    arguments = (
        *(str(zig()), "cc", *target, "-shared", "-fPIC", "-nostdlib", "-O2", "-std=c99"),
        *("-fno-sanitize=all", "-o", str(built), str(TARGET / f"{name}.c")),
    )
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DeliveryError(
            "E46",
            found=f"{name}.c does not build: {done.stderr.strip()[:400]}",
            where="zig for this machine",
            mend="run `firnline doctor`; Zig may have no room for its cache",
        )
    return built


def linux() -> bool:
    """Whether this system is Linux, where QEMU takes plugins that we build."""
    return sys.platform.startswith("linux")
