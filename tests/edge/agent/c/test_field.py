"""Arithmetic of the field, at its edges: numbers next to p, 2p and 2^256, and all pairs of them."""

import ctypes
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.edge.agent.c.conftest import CHECKS, SOURCES
from tests.edge.agent.c.curve import P

SHOWN = """
#include "firnline_field.h"
void shown_add(number r, const number a, const number b) { add(r, a, b); }
void shown_subtract(number r, const number a, const number b) { subtract(r, a, b); }
void shown_multiply(number r, const number a, const number b) { multiply(r, a, b); }
void shown_square(number r, const number a, const number b) { (void)b; square(r, a); }
void shown_invert(number r, const number a, const number b) { (void)b; invert(r, a); }
void shown_root(number r, const number a, const number b) { (void)b; power_root(r, a); }
void shown_reduce(number r, const number a, const number b) { (void)b; copy(r, a); reduce(r); }
int shown_equal(const number a, const number b) { return equal(a, b); }
"""
MEANT = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "square": lambda a, b: a * a,
    "invert": lambda a, b: pow(a, P - 2, P),
    "root": lambda a, b: pow(a, (P - 5) // 8, P),
}
EDGES = [
    *range(3), 18, 19, 37, 38, 39, 2**32 - 1, 2**128 - 1, 2**255 - 20, P - 1, P, P + 1, P + 18,
    2**255, 2 * P - 1, 2 * P, 2 * P + 1, 2**256 - 38, 2**256 - 19, 2**256 - 2, 2**256 - 1,
    int("f" * 8 + "0" * 8, 16) * (2**192 + 2**64 + 1) % 2**256,
]  # fmt: skip
numbers = st.one_of(st.sampled_from(EDGES), st.integers(0, 2**256 - 1))


@pytest.fixture(scope="module", params=["", "-D__ARM_ARCH_6M__"], ids=["long", "short products"])
def field(request, tmp_path_factory):
    """The functions, with and without a multiplication to 64 bits."""
    folder = tmp_path_factory.mktemp("field")
    (folder / "shown.c").write_text(SHOWN)
    flags = [f"-I{SOURCES}", "-std=c99", "-O2", *CHECKS, "-shared", "-fPIC", "-Wno-unused"]
    command = [sys.executable, "-m", "ziglang", "cc", *flags, *filter(None, [request.param])]
    built = [str(folder / "shown.c"), "-o", str(folder / "shown.so")]
    done = subprocess.run([*command, *built], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return ctypes.CDLL(str(folder / "shown.so"))


def called(field, name, *given):
    """A function of two numbers."""
    made = ctypes.create_string_buffer(32)
    getattr(field, f"shown_{name}")(made, *(value.to_bytes(32, "little") for value in given))
    return int.from_bytes(made.raw, "little")


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "square"])
def test_every_pair_of_edges(field, name):
    for a in EDGES:
        for b in EDGES:
            assert (called(field, name, a, b) - MEANT[name](a, b)) % P == 0, (hex(a), hex(b))


@settings(max_examples=60, deadline=None)
@given(numbers, numbers)
def test_any_numbers(field, a, b):
    for name, meant in MEANT.items():
        assert (called(field, name, a, b) - meant(a, b)) % P == 0, name
    assert called(field, "reduce", a, b) == a % P
    same = field.shown_equal(a.to_bytes(32, "little"), b.to_bytes(32, "little"))
    assert bool(same) == (a % P == b % P)


def test_equal_elements_have_one_least_number(field):
    for a in EDGES:
        assert called(field, "reduce", a, 0) == a % P
        for b in EDGES:
            found = field.shown_equal(a.to_bytes(32, "little"), b.to_bytes(32, "little"))
            assert bool(found) == (a % P == b % P)
