"""What is built, and what came of running it."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.mcu.tools.cores import Core
from edge.mcu.tools.elf import Elf, read

STACK_BYTES = 16384
MARK = "firnline_layer_"


@dataclass(frozen=True)
class Image:
    """A model linked for a core. The harness and the stack are in none of the figures.

    Attributes:
        core: What it is built for.
        path: The ELF file.
        toolchain: Compiler and version, such as `zig 0.17.1`.
        sha256: Of the ELF file; one source and one toolchain always give the same.
        text_bytes: Code, with what the compiler's own library adds.
        rodata_bytes: Constants: the weights.
        data_bytes: Variables that begin with a value, in flash and in RAM.
        bss_bytes: Variables that begin as zero: contexts.
        in_bytes: Of one input row.
        out_bytes: Of one output row.
    """

    core: Core
    path: Path
    toolchain: str
    sha256: str
    text_bytes: int
    rodata_bytes: int
    data_bytes: int
    bss_bytes: int
    in_bytes: int
    out_bytes: int

    @property
    def flash_bytes(self) -> int:
        """Bytes of the model in flash."""
        return self.text_bytes + self.rodata_bytes + self.data_bytes

    @property
    def ram_bytes(self) -> int:
        """Bytes of the model in RAM, without its stack."""
        return self.data_bytes + self.bss_bytes

    @cached_property
    def marks(self) -> tuple[tuple[str, int], ...]:
        """Layers by name, and where the code of each begins: symbols `firnline_layer_<name>`."""
        found = self.elf.symbols.items()
        return tuple(
            (name.removeprefix(MARK), address)
            for name, address in sorted(found, key=lambda item: item[1])
            if name.startswith(MARK)
        )

    @cached_property
    def elf(self) -> Elf:
        """The file, read."""
        return read(self.path)


@dataclass(frozen=True, eq=False)
class Run:
    """What `firnline_entry` did with every row.

    Attributes:
        outputs: uint8 [rows, out_bytes].
        instructions: Executed in every call.
        stack_bytes: Deepest use of the stack by any call.
        runner: Emulator and version, such as `unicorn 2.1.4`.
        layers: Instructions of the first call by mark: from where `firnline_layer_<name>` stands
            in the code to the next mark, or to the end.
    """

    outputs: NDArray[np.uint8]
    instructions: list[int]
    stack_bytes: int
    runner: str
    layers: dict[str, int] = field(default_factory=dict)


def layers_between(passed: list[tuple[str, int]], end: int) -> dict[str, int]:
    """Instructions by layer.

    Args:
        passed: Marks in the order of passing, and how much had been executed before each.
        end: How much in the whole call.
    """
    found: dict[str, int] = {}
    ends = [*(done for _, done in passed), end][1:]
    for (name, done), following in zip(passed, ends, strict=True):
        found[name] = found.get(name, 0) + following - done
    return found
