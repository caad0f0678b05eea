"""exp, sigmoid and tanh in float32, step by step: every target takes the same steps.

Each line of arithmetic here is one IEEE 754 binary32 operation, rounded to nearest even, nothing
fused, subnormals kept; generated C holds the same lines with the same constants, so its results
are these to the bit. exp is within 0.8 units in the last place of the true value, tanh within 1.4,
sigmoid within 1.9.

exp reduces its argument by a multiple of ln 2 held in two parts, so that the first subtraction is
exact (Cody and Waite 1980, Software Manual for the Elementary Functions, chapter 6), and then
takes a polynomial of least greatest relative error. tanh takes an odd polynomial where it is
nearly a straight line, and exp elsewhere.
"""

import numpy as np
from numpy.typing import NDArray

from edge.program import Floats


def _single(text: str) -> np.float32:
    return np.float32(float.fromhex(text))


LOG2E = _single("0x1.715476p+0")
"""1 / ln 2."""
LN2_HIGH = _single("0x1.62e4p-1")
"""ln 2 to 15 bits: times any whole number to 2**9 it is exact."""
LN2_LOW = _single("0x1.7f7d1cp-20")
"""ln 2 less `LN2_HIGH`."""
ROUND = _single("0x1.8p+23")
"""Added and taken off again, it rounds what lies within 2**22 to whole numbers, half to even."""
EXP_POLYNOMIAL = tuple(
    _single(text)
    for text in (
        "0x1.fffffcp-2",
        "0x1.555490p-3",
        "0x1.5558f4p-5",
        "0x1.123a6cp-7",
        "0x1.6a2352p-10",
    )
)
"""(exp(r) - 1 - r) / r**2 for r within ln 2 / 2 of 0, from the constant upwards."""
EXP_GREATEST = _single("0x1.62e42ep+6")
"""Above it exp is infinite."""
EXP_LEAST = _single("-0x1.9fe368p+6")
"""Below it exp is 0."""
TANH_POLYNOMIAL = tuple(
    _single(text)
    for text in (
        "-0x1.555534p-2",
        "0x1.110768p-3",
        "-0x1.b84448p-5",
        "0x1.5256d4p-6",
        "-0x1.76ac0ap-8",
    )
)
"""(tanh(x) / x - 1) / x**2 for x**2 to `TANH_CURVES` squared, from the constant upwards."""
TANH_CURVES = _single("0x1.4p-1")
"""From here on tanh is taken from exp."""
TANH_FLAT = _single("0x1.205966p+3")
"""From here on tanh is 1."""

_ONE, _TWO = np.float32(1), np.float32(2)


def exp(x: Floats) -> Floats:
    """The exponential of x, float32 of any shape.

    Overflow is infinite from `EXP_GREATEST` on, underflow gradual and 0 below `EXP_LEAST`; a NaN
    comes back as it is.

    The steps, for x within both bounds: n = (x * LOG2E + ROUND) - ROUND; high = x - n * LN2_HIGH,
    low = n * LN2_LOW, r = high - low; top = high + 1, rest = high - (top - 1), what that sum has
    lost; p by Horner's rule in r from the last coefficient; y = top + (rest + (p * (r * r) - low));
    then (y * 2**half) * 2**(n - half) with half = floor(n / 2), so that only the last product can
    leave the normal numbers.
    """
    given = np.asarray(x, np.float32)
    inside = np.where((given >= EXP_LEAST) & (given <= EXP_GREATEST), given, np.float32(0))
    n = (inside * LOG2E + ROUND) - ROUND
    high, low = inside - n * LN2_HIGH, n * LN2_LOW
    r = high - low
    top = high + _ONE
    rest = high - (top - _ONE)
    y = top + (rest + (_horner(EXP_POLYNOMIAL, r) * (r * r) - low))
    whole = n.astype(np.int32)
    half = whole >> 1
    with np.errstate(under="ignore", over="ignore"):
        y = (y * _power_of_two(half)) * _power_of_two(whole - half)
    y = np.where(given > EXP_GREATEST, np.float32(np.inf), y)
    y = np.where(given < EXP_LEAST, np.float32(0), y)
    return np.asarray(np.where(np.isnan(given), given, y), np.float32)


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), float32 of any shape; a NaN comes back as it is.

    e = exp(-|x|) cannot overflow; below = 1 + e, rest = e - (below - 1), what that sum has lost.
    y = e / below and over = 1 - y where x is less than 0, else y = 1 / below and over = y; then
    y - y * (rest * over), over being close to 1 / below.
    """
    given = np.asarray(x, np.float32)
    e = exp(-np.abs(given))
    with np.errstate(under="ignore"):
        below = _ONE + e
        rest = e - (below - _ONE)
        y = np.where(given < 0, e, _ONE) / below
        y = y - y * (rest * np.where(given < 0, _ONE - y, y))
    return np.asarray(np.where(np.isnan(given), given, y), np.float32)


def tanh(x: Floats) -> Floats:
    """Hyperbolic tangent, float32 of any shape; a NaN comes back as it is, a zero as +0.

    For a = |x| below `TANH_CURVES`: z = x * x; y = (p * z) * x + x, with p by Horner's rule in z.
    Else y = 1 - 2 / (exp(a + a) + 1), which is 1 from `TANH_FLAT` on, with the sign of x.
    """
    given = np.asarray(x, np.float32)
    size = np.abs(given)
    near = np.where(size < TANH_CURVES, given, np.float32(0))
    with np.errstate(under="ignore"):
        z = near * near
        small = (_horner(TANH_POLYNOMIAL, z) * z) * near + near
    far = np.where(size < TANH_FLAT, size, TANH_FLAT)
    large = _ONE - _TWO / (exp(far + far) + _ONE)
    large = np.where(size < TANH_FLAT, large, _ONE)
    y = np.where(size < TANH_CURVES, small, np.copysign(large, given))
    return np.asarray(np.where(np.isnan(given), given, y), np.float32)


def _horner(coefficients: tuple[np.float32, ...], x: Floats) -> Floats:
    """((c[n] * x + c[n - 1]) * x + ...) + c[0]."""
    made = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        made = made * x + coefficient
    return made


def _power_of_two(exponent: NDArray[np.int32]) -> Floats:
    """2**exponent as float32, for exponents of normal numbers: made from its bits, as C does."""
    return ((exponent + np.int32(127)) << np.int32(23)).astype(np.int32).view(np.float32)
