"""An image run by unicorn, in this process: the model alone, without the harness."""

import importlib.metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from unicorn import arm_const, riscv_const, unicorn_const

from edge.mcu.tools.image import STACK_BYTES, Image, Run, layers_between
from edge.mcu.tools.watch import UNICORN, Watch
from firnline.errors import DeliveryError

PAINT = b"\xa5"
FENCE = b"\x5a"
FENCE_BYTES = 16
SECONDS = 120
"""A call takes no longer."""


def run_unicorn(image: Image, rows: NDArray[np.uint8], checked: int = 1) -> Run:
    """Give every row to `firnline_entry` and count its instructions.

    Args:
        image: For a core that unicorn models.
        rows: uint8 [rows, in_bytes].
        checked: Rows, from the first, in which every access to memory is checked.

    Raises:
        DeliveryError: E45 when the code faults, does not end, or touches what it must not.
    """
    board = Board(image)
    outputs = np.zeros((len(rows), image.out_bytes), np.uint8)
    counts: list[int] = []
    layers: dict[str, int] = {}
    for place, row in enumerate(rows):
        if place == checked:
            board.watch.leave_accesses()
        before = board.watch.instructions
        outputs[place] = np.frombuffer(board.call(row.tobytes(), place), np.uint8)
        counts.append(board.watch.instructions - before)
        if place == 0:
            names = {address: name for name, address in image.marks}
            passed = [(names[address], done) for address, done in board.watch.passed]
            layers = layers_between(passed, counts[0])
    return Run(
        outputs,
        counts,
        board.stack_bytes(),
        f"unicorn {importlib.metadata.version('unicorn')}",
        layers,
    )


class Board:
    """A core with its memories and an image in them.

    Args:
        image: The image.
    """

    def __init__(self, image: Image) -> None:
        core = image.core
        self._image = image
        self.machine = _machine(core.unicorn or "", core.arm)
        for region in (core.boot, core.flash, core.ram):
            self.machine.mem_map(region.origin, region.length)
        for address, content in image.elf.loaded:
            self.machine.mem_write(address, content)
        symbols = image.elf.symbols
        self._back = symbols["firnline_returned"]
        self._top = symbols["firnline_stack_high"]
        self._in = symbols["firnline_io"]
        self._out = self._in + _padded(image.in_bytes) + FENCE_BYTES
        self.machine.mem_write(self._top - STACK_BYTES, PAINT * STACK_BYTES)
        self.machine.mem_write(self._in, FENCE * (self._out - self._in))
        own = (
            (self._top - STACK_BYTES, self._top, True),
            (symbols["firnline_data_start"], symbols["firnline_bss_end"], True),
            (self._in, self._in + _padded(image.in_bytes), False),
            (self._out, self._out + _padded(image.out_bytes), True),
        )
        self.watch = Watch(self.machine, image, own)

    def call(self, row: bytes, place: int) -> bytes:
        """Output of one row.

        Raises:
            DeliveryError: E45.
        """
        size = self._image.out_bytes
        arm = self._image.core.arm
        fenced = FENCE * (_padded(size) + FENCE_BYTES)
        self.machine.mem_write(self._in, row)
        self.machine.mem_write(self._out, fenced)
        values = (self._in, self._out, self._top, self._back | int(arm))
        for register, value in zip(_registers(arm), values, strict=True):
            self.machine.reg_write(register, value)
        entry = self._image.elf.symbols["firnline_entry"] | int(arm)
        try:
            self.machine.emu_start(entry, self._back, timeout=SECONDS * 1_000_000)
        except UNICORN.UcError as error:
            raise self._fault(f"{error} at {self._place():#x}", place) from error
        if self.watch.problem:
            raise self._fault(self.watch.problem, place)
        if self._place() != self._back:
            raise self._fault(f"no end after {SECONDS} s", place)
        found = bytes(self.machine.mem_read(self._out, len(fenced)))
        if found[size:] != fenced[size:]:
            raise self._fault("it wrote beyond its output", place)
        return found[:size]

    def stack_bytes(self) -> int:
        """Deepest use of the stack so far."""
        stack = bytes(self.machine.mem_read(self._top - STACK_BYTES, STACK_BYTES))
        return len(stack.lstrip(PAINT))

    def _place(self) -> int:
        register = arm_const.UC_ARM_REG_PC if self._image.core.arm else riscv_const.UC_RISCV_REG_PC
        return int(self.machine.reg_read(register))

    def _fault(self, found: str, place: int) -> DeliveryError:
        return DeliveryError(
            "E45",
            found=found,
            where=f"row {place} on {self._image.core.name} in unicorn",
            mend="correct the C that firnline_entry calls",
        )


def _machine(model: str, arm: bool) -> Any:
    if arm:
        mode = unicorn_const.UC_MODE_THUMB | unicorn_const.UC_MODE_MCLASS
        machine = UNICORN.Uc(unicorn_const.UC_ARCH_ARM, mode)
        machine.ctl_set_cpu_model(getattr(arm_const, model))
    else:
        machine = UNICORN.Uc(unicorn_const.UC_ARCH_RISCV, unicorn_const.UC_MODE_RISCV32)
        machine.ctl_set_cpu_model(getattr(riscv_const, model))
    return machine


def _registers(arm: bool) -> tuple[int, ...]:
    """The first two arguments, the stack pointer and the return address."""
    if arm:
        return (
            arm_const.UC_ARM_REG_R0,
            arm_const.UC_ARM_REG_R1,
            arm_const.UC_ARM_REG_SP,
            arm_const.UC_ARM_REG_LR,
        )
    return (
        riscv_const.UC_RISCV_REG_A0,
        riscv_const.UC_RISCV_REG_A1,
        riscv_const.UC_RISCV_REG_SP,
        riscv_const.UC_RISCV_REG_RA,
    )


def _padded(size: int) -> int:
    return (size + 15) // 16 * 16
