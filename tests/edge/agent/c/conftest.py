"""The bootloader's C as a library of this host, with warnings and the compiler's own checks."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

import edge.agent

SOURCES = Path(edge.agent.__file__).parent / "c"
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror")
CHECKS = ("-fsanitize=undefined", "-fsanitize-trap=undefined")


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The verifier, loaded."""
    built = tmp_path_factory.mktemp("verifier") / "verifier.so"
    sources = [str(path) for path in sorted(SOURCES.glob("firnline_*.c"))]
    flags = ("-std=c99", "-O2", *WARNINGS, *CHECKS, "-shared", "-fPIC", "-o", str(built))
    command = [sys.executable, "-m", "ziglang", "cc", *flags, *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(built))


@pytest.fixture(scope="session")
def verify(library):
    """Signature, message and key to whether C accepts them."""

    def call(signature, message, key):
        length = ctypes.c_size_t(len(message))
        return bool(library.firnline_ed25519_verify(signature, message, length, key))

    return call
