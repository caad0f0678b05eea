"""Identity of a model's constants: one sha256 that Python and the device compute of the same bytes.

A device links the model into firmware that nobody here has seen, so what can be signed beforehand
is what must be in its flash whatever the linker did: the constant tables, in the order in which
they are defined, each after its length (32 bits, little-endian), so that no byte can move from one
to the next. Code, and numbers that are part of it, are the firmware's own signature's.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edge.mcu.emit_text import C_TYPES

_DTYPES = {c_type: np.dtype(name).newbyteorder("<") for name, c_type in C_TYPES.items()}
_TABLE = re.compile(
    r"^static const (\w+) (\w+)\[(\d+)\] FIRNLINE_ALIGNED = \{\n(.*?)\n\};$",
    re.MULTILINE | re.DOTALL,
)
_SPECIAL = {
    "FIRNLINE_NAN": np.nan,
    "FIRNLINE_INFINITY": np.inf,
    "-FIRNLINE_INFINITY": -np.inf,
    "(-2147483647 - 1)": -(2**31),
}


@dataclass(frozen=True)
class Table:
    """A constant array as it lies in flash.

    Attributes:
        name: In the C source.
        content: Its bytes.
    """

    name: str
    content: bytes


@dataclass(frozen=True)
class Identity:
    """What a device must find in its flash.

    Attributes:
        sha256: 64 hex digits.
        length: Bytes that go into it, the lengths of the tables among them.
    """

    sha256: str
    length: int


def tables(source: str) -> tuple[Table, ...]:
    """The constant arrays that C text defines, as `edge.mcu.emit_text.array` writes them."""
    found = []
    for c_type, name, count, literals in _TABLE.findall(source):
        values = [_number(text) for text in re.split(r",\s+", literals.strip())]
        array = np.array(values, np.float64).astype(_DTYPES[c_type])
        if len(array) != int(count):
            raise ValueError(f"{name} has {len(array)} elements, not {count}")
        found.append(Table(name, array.tobytes()))
    return tuple(found)


def identity(found: Iterable[Table]) -> Identity:
    """Digest and length of all that `<name>_identity` hands over, in its order."""
    sha, length = hashlib.sha256(), 0
    for table in found:
        for part in (len(table.content).to_bytes(4, "little"), table.content):
            sha.update(part)
            length += len(part)
    return Identity(sha.hexdigest(), length)


def declaration(name: str) -> str:
    """For the header: the function, where the firmware asks for it."""
    return f"""\
#if defined({name.upper()}_IDENTITY)
/* Hands every constant of the model to `update`, as it lies in flash, each after its length: their
 * sha256 is what the release's firmware manifest names. Define {name.upper()}_IDENTITY for {name}.c
 * as well; where it is not defined, nothing is compiled. */
void {name}_identity(void (*update)(void *context, const void *bytes, size_t length),
                     void *context);
#endif
"""


def definition(name: str, found: Sequence[Table]) -> str:
    """For the source, behind the tables: `<name>_identity`."""
    upper, body = name.upper(), _walk(found) if found else _NOTHING
    return f"""\
#if defined({upper}_IDENTITY)
void {name}_identity(void (*update)(void *context, const void *bytes, size_t length),
                     void *context)
{{
{body}}}
#endif
"""


_NOTHING = "    (void)update;\n    (void)context;\n"


def _walk(found: Sequence[Table]) -> str:
    rows = "".join(f"        {{{table.name}, {len(table.content)}u}},\n" for table in found)
    return f"""\
    static const struct {{
        const void *bytes;
        uint32_t length;
    }} tables[] = {{
{rows}\
    }};
    for (size_t i = 0u; i < (sizeof tables / sizeof tables[0]); i++) {{
        update(context, &tables[i].length, sizeof tables[i].length);
        update(context, tables[i].bytes, tables[i].length);
    }}
"""


def _number(text: str) -> float:
    return _SPECIAL[text] if text in _SPECIAL else float(text.rstrip("uf"))
