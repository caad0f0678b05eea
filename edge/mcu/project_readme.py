"""README.md of a generated project: what an edge engineer needs, and nothing that can change."""

from edge.mcu.emit_header import Port, call, ports
from edge.mcu.emit_text import words
from edge.mcu.generate import Project
from edge.program import Program

CORES = {
    "portable": "any core",
    "m0": "Cortex-M0 and M0+ (Armv6-M)",
    "m3": "Cortex-M3 (Armv7-M)",
    "dsp": "Cortex-M4, M7 and M33 (the DSP extension)",
    "mve": "Cortex-M55 and others with Helium (MVE)",
    "rv32": "RISC-V cores with RV32IM and better",
}
"""Families of cores in words."""


def readme(program: Program, project: Project, tested: bool) -> str:
    """The text.

    Args:
        program: What the project was generated from.
        project: Its C.
        tested: Whether test vectors come with it.
    """
    name, upper = project.name, project.name.upper()
    inputs, outputs = ports(program)
    arguments = ["&context", *(port.parameter for port in (*inputs, *outputs))]
    buffers = "\n".join(
        f"static {upper}_BUFFER({port.c_type}, {port.parameter}, "
        f"{upper}_{port.name.upper()}_LENGTH);"
        for port in (*inputs, *outputs)
    )
    return f"""\
# {name}

A model as C99: {program.macs} multiply-accumulates an inference. No allocation, no library beyond
what the compiler itself calls (`memcpy`, `memset`, and arithmetic the core lacks), weights constant
in flash, no state but the context you declare. Made for {CORES[project.family]}.

```c
#include "{name}.h"

static {name}_context context;
{buffers}

{call(f"{name}_run", arguments)};
```

| | name | type | shape | bytes | scale | zero |
|---|---|---|---|---|---|---|
{_table("in", inputs)}
{_table("out", outputs)}

An int8 element stands for `scale * (stored - zero)`. Everything in these tables, and the versions
the model was made of, is a constant in `{name}.h`.

## Build

| | |
|---|---|
| CMake | `add_subdirectory({name})`, `target_link_libraries(app {name})` |
| Arduino | put this folder among the libraries; File > Examples > {name} |
| Zephyr | add this folder to `ZEPHYR_EXTRA_MODULES`; `CONFIG_FIRNLINE_{upper}=y` |
| IDE | add `src/{name}.c` to the sources and `src` to the include path |

Compile with optimisation, as C99 or later, with `-ffp-contract=off` and without `-ffast-math`. On
a core with Helium also with `-fno-tree-vectorize -fno-tree-slp-vectorize`: its vectors of floats
flush subnormals.

With `{upper}_IDENTITY` defined for `{name}.c`, `{name}_identity` hands over every constant as it
lies in flash, for a bootloader that holds them to the release's signed firmware manifest.

## Exact

Every result is defined to the bit, and is the same on every core, with every compiler that keeps
to IEEE 754: binary32, to nearest even, subnormals kept (leave flush-to-zero off).
{_tested(name, tested)}

## Rules

- Arrays and contexts are aligned to 16 bytes, arrays as long as the next multiple of 16:
  `{upper}_BUFFER` declares one so. What is past an array's end is read, never used, never written.
- Inputs and outputs do not overlap.
- One context computes one inference at a time. It keeps nothing from one to the next, so it may be
  used for something else in between. Different contexts compute at the same time.

## Memory

{project.arena_bytes} bytes of RAM for a context, beside inputs, outputs and the stack. Bytes of the
arena in use, and of constants in flash, by layer:

| layer | node | operation | multiply-accumulates | constants | arena in use | of these scratch |
|---|---|---|---|---|---|---|
{_layers(project)}
"""


def _table(kind: str, side: tuple[Port, ...]) -> str:
    rows = []
    for port in side:
        value = port.value
        shape = " x ".join(map(str, value.shape)) or "1"
        scaled = (f"{value.scale:.9g}", str(value.zero)) if value.dtype == "int8" else ("", "")
        cells = (kind, f"`{port.name}`", port.c_type, shape, str(value.bytes), *scaled)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _layers(project: Project) -> str:
    rows = []
    for layer in project.layers:
        node = words(layer.name).replace("|", "/").replace("`", "'")
        cells = (layer.mark, f"`{node}`", layer.kind, layer.macs, layer.constant_bytes)
        cells_after = (layer.live_bytes, layer.scratch_bytes)
        rows.append(f"| {' | '.join(map(str, (*cells, *cells_after)))} |")
    return "\n".join(rows)


def _tested(name: str, tested: bool) -> str:
    if not tested:
        return ""
    return (
        "`test/` holds rows with the results of the integer reference: on your board, with your\n"
        f"compiler and flags, `{name}_self_test(&context)` must return 0.\n"
    )
