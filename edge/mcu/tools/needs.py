"""What a core needs on this machine: its compiler and its emulator."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from edge.mcu.tools.compile import Toolchain, compiler
from edge.mcu.tools.cores import Core
from edge.mcu.tools.qemu import emulator
from firnline.errors import DeliveryError


@dataclass(frozen=True)
class Need:
    """A tool.

    Attributes:
        name: What it does.
        found: The tool with its version, or what is missing.
        mend: How to get it; empty when it is here.
    """

    name: str
    found: str
    mend: str = ""


def needs(core: Core, toolchain: Toolchain = "zig") -> list[Need]:
    """The compiler and the emulator that `build` and `run` would take, here or missing."""
    runner = _unicorn if core.unicorn else lambda: emulator(core.qemu)[1]
    return [
        _look("compiler", lambda: compiler(core, toolchain)[1]),
        _look("emulator", runner),
    ]


def _look(name: str, find: Callable[[], str]) -> Need:
    try:
        return Need(name, find())
    except DeliveryError as error:
        return Need(name, error.found, error.mend)


def _unicorn() -> str:
    try:
        return f"unicorn {importlib.metadata.version('unicorn')}"
    except importlib.metadata.PackageNotFoundError as error:
        raise DeliveryError(
            "E42", found="unicorn is not installed", where="runner unicorn", mend="make setup"
        ) from error
