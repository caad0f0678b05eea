"""C as text: names, numbers, strings, comments and tables, whatever the graph called its nodes."""

import math
import re
from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

WIDTH = 100
C_TYPES = {
    "float32": "float",
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
}
_RESERVED = """
    alignas alignof and asm auto bool break case catch char class const constexpr continue decltype
    default delete do double else enum explicit export extern false final float for friend goto if
    inline int long mutable namespace new noexcept not nullptr operator or override private
    protected public register restrict return short signed sizeof static struct switch template this
    throw true try typedef typeid typename typeof union unsigned using virtual void volatile while
    xor main ctx
"""
KEYWORDS = frozenset(_RESERVED.split())
"""Of C and C++, and what generated functions call their own."""

_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads
    time uchar wchar wctype arduino
"""
_TARGETS = "all clean help install package test"
FILES = frozenset((*_HEADERS.split(), *_TARGETS.split(), "entry"))
"""Names of headers, of a source of the project's own, and of what build systems make anyway."""

_JOINED = re.compile(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)")
"""Between characters that together begin or end a comment, or are a trigraph."""

_DECLARED = re.compile(r"static const (\w+) \w+((?:\[\d+\])+)")
_SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2}


def identifier(name: str, taken: Collection[str] = ()) -> str:
    """A C and C++ identifier that is like a name, and none of those taken, whatever their case."""
    made = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    if made[0].isdigit() or made in KEYWORDS:
        made = f"v_{made}"
    used = {one.casefold() for one in taken}
    unique, count = made, 2
    while unique.casefold() in used:
        unique, count = f"{made}_{count}", count + 1
    return unique


def program_name(name: str) -> str:
    """A name that a program's functions and files can have, like the one given."""
    made = identifier(name)
    taken = made.casefold() in FILES or made.casefold().split("_")[0] == "firnline"
    return f"model_{made}" if taken else made


def identifiers(names: Iterable[str], taken: Collection[str] = ()) -> tuple[str, ...]:
    """An identifier for every name, all different."""
    made: list[str] = []
    for name in names:
        made.append(identifier(name, [*taken, *made]))
    return tuple(made)


def words(text: str) -> str:
    """Text that can stand in a comment: printable ASCII that cannot end it."""
    plain = "".join(char if " " <= char <= "~" else "?" for char in text)
    return _JOINED.sub(" ", plain.replace("\\", "/"))


def quoted(text: str) -> str:
    """A C string literal of UTF-8 text."""
    made = []
    for byte in text.encode():
        char = chr(byte)
        made.append(char if 32 <= byte < 127 and char not in '"\\?' else f"\\{byte:03o}")
    return f'"{"".join(made)}"'


def number(value: float | int | np.generic) -> str:
    """A literal: floats with the nine digits that give binary32 back, least integers spelt out."""
    if isinstance(value, int | np.integer):
        return "(-2147483647 - 1)" if value == -(2**31) else str(int(value))
    single = float(np.float32(value))
    if math.isnan(single):
        return "FIRNLINE_NAN"
    if math.isinf(single):
        return "FIRNLINE_INFINITY" if single > 0 else "-FIRNLINE_INFINITY"
    text = f"{single:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def array(name: str, values: NDArray[np.generic]) -> str:
    """`static const` array of all elements in row-major order, aligned for wide loads."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.dtype.kind == "u":
        literals = [f"{value}u" for value in flat.tolist()]
    elif flat.dtype.kind == "i" and flat.size and flat.min() > -(2**31):
        literals = [str(value) for value in flat.tolist()]
    else:
        literals = [number(value) for value in flat]
    kind = C_TYPES[flat.dtype.name]
    return f"static const {kind} {name}[{flat.size}] FIRNLINE_ALIGNED = {{\n{rows(literals)}\n}};\n"


def rows(literals: list[str], indent: str = "    ") -> str:
    """Literals with commas, as many to a line as fit."""
    each = max((WIDTH - len(indent)) // (max(map(len, literals), default=1) + 2), 1)
    lines = (literals[start : start + each] for start in range(0, len(literals), each))
    return ",\n".join(indent + ", ".join(line) for line in lines)


def record(kind: str, name: str, fields: Mapping[str, str]) -> str:
    """`static const` structure with its fields named."""
    inner = ",\n".join(f"    .{field} = {value}" for field, value in fields.items())
    return f"static const {kind} {name} = {{\n{inner}\n}};\n"


def braces(fields: Mapping[str, str]) -> str:
    """A structure inside another one."""
    return "{" + ", ".join(f".{field} = {value}" for field, value in fields.items()) + "}"


def constant_bytes(data: str) -> int:
    """Bytes of the arrays that a text defines."""
    total = 0
    for kind, extents in _DECLARED.findall(data):
        total += _SIZES.get(kind, 4) * math.prod(map(int, re.findall(r"\d+", extents)))
    return total
