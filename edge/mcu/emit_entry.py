"""What the runners of `edge.mcu.tools` call: bytes in, bytes out, one context."""

from dataclasses import dataclass

from edge.mcu.emit_header import Port, ports
from edge.mcu.kernels import ALIGNMENT, padded
from edge.program import Program


@dataclass(frozen=True)
class _Side:
    """Inputs or outputs as bytes in a row.

    Attributes:
        arguments: For the run function.
        buffers: Declarations of arrays for those that would not lie on a boundary.
        moves: Copies between the row and these arrays.
        size: Bytes of the row.
    """

    arguments: tuple[str, ...]
    buffers: tuple[str, ...]
    moves: tuple[str, ...]
    size: int


def entry(program: Program) -> str:
    """`firnline_entry`: all inputs one after another, then all outputs one after another.

    Args:
        program: The model that the header and source are generated from.
    """
    inputs, outputs = ports(program)
    ins, outs = _side(inputs, "in"), _side(outputs, "out")
    body = "\n".join(
        f"    {line}"
        for line in (
            f"static {program.name}_context context;",
            *ins.buffers,
            *outs.buffers,
            "const uint8_t *const row_in = (const uint8_t *)in;",
            "uint8_t *const row_out = (uint8_t *)out;",
            *ins.moves,
            f"{program.name}_run({', '.join(('&context', *ins.arguments, *outs.arguments))});",
            *outs.moves,
        )
    )
    return f"""\
/* For emulators: every input and output by its bytes. */
#include "{program.name}.h"

extern const uint32_t firnline_in_bytes;
extern const uint32_t firnline_out_bytes;
void firnline_entry(const void *in, void *out);

const uint32_t firnline_in_bytes = {ins.size}u;
const uint32_t firnline_out_bytes = {outs.size}u;

void firnline_entry(const void *in, void *out)
{{
{body}
}}
"""


def _side(ports: tuple[Port, ...], row: str) -> _Side:
    arguments, buffers, moves, place = [], [], [], 0
    const = "const " if row == "in" else ""
    for index, port in enumerate(ports):
        size, array = port.value.bytes, f"{row}_{index}"
        if place % ALIGNMENT == 0:
            arguments.append(f"({const}{port.c_type} *)({const}void *)&row_{row}[{place}]")
        else:
            # Kernels read as far as the next boundary.
            length = padded(size) * port.value.size // size
            buffers.append(f"static {port.c_type} {array}[{length}] __attribute__((aligned(16)));")
            arguments.append(array)
            here, there = f"((uint8_t *)(void *){array})[i]", f"row_{row}[{place}u + i]"
            to, source = (here, there) if row == "in" else (there, here)
            moves.append(f"for (uint32_t i = 0u; i < {size}u; i++) {{ {to} = {source}; }}")
        place += size
    return _Side(tuple(arguments), tuple(buffers), tuple(moves), place)
