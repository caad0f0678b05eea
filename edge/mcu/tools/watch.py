"""Instructions counted and accesses checked while unicorn runs, by callbacks in native code."""

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

from unicorn import arm_const, riscv_const, unicorn_const
from unicorn.unicorn_py3 import unicorn as _unicorn

from edge.mcu.tools.host import library
from edge.mcu.tools.image import Image

# Its types are partial. Its library is called directly where its Python takes Python's callbacks
# alone.
UNICORN: Any = _unicorn
RANGES = 8
MARKS = 4096
PROBLEMS = {1: "a misaligned access", 2: "an access to memory that is not the model's"}
_U64 = ctypes.c_uint64


class _Range(ctypes.Structure):
    _fields_ = (("begin", _U64), ("end", _U64), ("writable", _U64))


class _Watch(ctypes.Structure):
    """As `struct watch` of target/watch.c."""

    _fields_ = (
        ("instructions", _U64),
        ("arm", _U64),
        ("strict", _U64),
        ("code_begin", _U64),
        ("code_size", _U64),
        ("code", ctypes.c_char_p),
        ("blocks", ctypes.c_void_p),
        ("ram_begin", _U64),
        ("ram_end", _U64),
        ("ranges", _Range * RANGES),
        ("problem", _U64),
        ("problem_place", _U64),
        ("problem_address", _U64),
        ("read_register", ctypes.c_void_p),
        ("place_register", _U64),
        ("block_begin", _U64),
        ("block_size", _U64),
        ("mark_count", _U64),
        ("mark_place", _U64 * MARKS),
        ("mark_instructions", _U64 * MARKS),
    )


class Watch:
    """Callbacks on one machine.

    Args:
        machine: With the image loaded.
        image: The image.
        ranges: Begin, end and whether it may be written, of all RAM that the model may touch.
    """

    def __init__(self, machine: Any, image: Image, ranges: Sequence[tuple[int, int, bool]]) -> None:
        core = image.core
        begin, code = _code(image)
        self._blocks = (ctypes.c_uint32 * (len(code) // 2 + 1))()
        place = arm_const.UC_ARM_REG_PC if core.arm else riscv_const.UC_RISCV_REG_PC
        self._state = _Watch(
            arm=core.arm,
            strict=core.aligned == "all",
            code_begin=begin,
            code_size=len(code),
            code=code,
            blocks=ctypes.addressof(self._blocks),
            ram_begin=core.ram.origin,
            ram_end=core.ram.origin + core.ram.length,
            ranges=(_Range * RANGES)(*(_Range(*found) for found in ranges)),
            read_register=ctypes.cast(UNICORN.uclib.uc_reg_read, ctypes.c_void_p),
            place_register=place,
        )
        self._hook(machine, unicorn_const.UC_HOOK_BLOCK, "watch_block")
        accesses = unicorn_const.UC_HOOK_MEM_READ | unicorn_const.UC_HOOK_MEM_WRITE
        self._accesses = self._hook(machine, accesses, "watch_access")
        self._machine = machine
        for address in {address for _, address in image.marks}:
            self._hook(machine, unicorn_const.UC_HOOK_CODE, "watch_mark", address, address)

    @property
    def instructions(self) -> int:
        """Executed so far."""
        return int(self._state.instructions)

    @property
    def passed(self) -> list[tuple[int, int]]:
        """Addresses of the marks that were passed, and how much had been executed before each."""
        state = self._state
        return [
            (state.mark_place[place], state.mark_instructions[place])
            for place in range(state.mark_count)
        ]

    @property
    def problem(self) -> str:
        """The first access that silicon or the model's contract forbids; empty when none."""
        state = self._state
        if not state.problem:
            return ""
        kind = PROBLEMS[int(state.problem)]
        return f"{kind}, {state.problem_address:#x}, by the code at {state.problem_place:#x}"

    def leave_accesses(self) -> None:
        """From here on accesses are not checked, which makes a run many times faster."""
        UNICORN.uclib.uc_hook_del(self._machine._uch, self._accesses)
        self._machine.ctl_flush_tb()

    def _hook(
        self, machine: Any, kind: int, name: str, begin: int = 1, end: int = 0
    ) -> ctypes.c_size_t:
        """Add a native callback; Python's own interface to unicorn takes Python's alone."""
        handle = ctypes.c_size_t()
        status = UNICORN.uclib.uc_hook_add(
            machine._uch,
            ctypes.byref(handle),
            kind,
            getattr(_callbacks(), name),
            ctypes.byref(self._state),
            _U64(begin),
            _U64(end),
        )
        if status != unicorn_const.UC_ERR_OK:
            raise UNICORN.UcError(status)
        return handle


@cache
def _callbacks() -> ctypes.CDLL:
    return ctypes.CDLL(str(library("watch")))


def _code(image: Image) -> tuple[int, bytes]:
    """Everything in flash from its origin on."""
    flash = image.core.flash
    inside = [
        (address - flash.origin, content)
        for address, content in image.elf.loaded
        if flash.origin <= address < flash.origin + flash.length
    ]
    code = bytearray(max(offset + len(content) for offset, content in inside))
    for offset, content in inside:
        code[offset : offset + len(content)] = content
    return flash.origin, bytes(code)
