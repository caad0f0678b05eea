"""An image run on a board that QEMU emulates: every row in one run, read and written as files."""

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.mcu.tools.host import library, linux
from edge.mcu.tools.image import STACK_BYTES, Image, Run, layers_between
from firnline.errors import DeliveryError

SECONDS = 600
_SHIFT = 6  # QEMU's clock moves 2**6 ns an instruction
_LOST = _OVERFLOWED = 0xFFFFFFFF  # the clock went round; the stack met its end
_SHOWN = 400
_LOCKUP = "Lockup"
_EXITS = {2: "it faulted", 3: "inputs and outputs do not fit its RAM"}


def run_qemu(image: Image, rows: NDArray[np.uint8], *, plugin: bool | None = None) -> Run:
    """Give every row to `firnline_entry`.

    Args:
        image: What to run.
        rows: uint8 [rows, in_bytes].
        plugin: Count by a plugin of our own, exactly; else by the board's clock, to about one
            instruction. By default a plugin where QEMU takes one.

    Raises:
        DeliveryError: E42 when QEMU is not installed, E45 when the code faults, does not end, or
            writes where it must not, E46 when instructions cannot be counted.
    """
    command, version = emulator(image.core.qemu)
    counted = takes_plugins(command) if plugin is None else plugin
    with tempfile.TemporaryDirectory(prefix="firnline-qemu-") as name:
        folder = Path(name)
        (folder / "in.bin").write_bytes(rows.tobytes())
        extra = _plugin_arguments(image) if counted else ("-icount", f"shift={_SHIFT}")
        _execute(image, (command, *_board(image), *extra), folder)
        outputs = np.fromfile(folder / "out.bin", np.uint8)
        if outputs.size != len(rows) * image.out_bytes:
            raise _fault(image, f"{outputs.size} bytes came out for {len(rows)} rows")
        stack, beyond = np.fromfile(folder / "report.bin", "<u4")
        if beyond == _OVERFLOWED:
            raise _fault(image, f"the stack of {STACK_BYTES} bytes overflowed")
        if beyond:
            raise _fault(image, f"it wrote beyond its output in row {int(beyond) - 1}")
        counts, layers = _from_log(image, folder) if counted else (_from_clock(image, folder), {})
    return Run(outputs.reshape(len(rows), -1), counts, int(stack), version, layers)


@cache
def emulator(name: str) -> tuple[str, str]:
    """QEMU's command, and its name with its version.

    Raises:
        DeliveryError: E42 when it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        package = "qemu-system-arm" if name.endswith("arm") else "qemu-system-misc"
        raise DeliveryError(
            "E42",
            found=f"{name} is not installed",
            where="runner qemu",
            mend=f"apt-get install {package}",
        )
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"version (\S+)", asked)
    return found, f"{name} {version[1] if version else 'of unknown version'}"


@cache
def takes_plugins(command: str) -> bool:
    """Whether this QEMU was built to load plugins, on a system where we build them."""
    if not linux():
        return False
    shown = subprocess.run([command, "-help"], capture_output=True, text=True, check=True).stdout
    return "-plugin" in shown


def _board(image: Image) -> tuple[str, ...]:
    return (
        *image.core.machine,
        *("-display", "none", "-monitor", "none", "-serial", "none"),
        *("-semihosting-config", "enable=on,target=native"),
        *("-kernel", str(image.path.resolve())),
    )


def _plugin_arguments(image: Image) -> tuple[str, ...]:
    symbols = image.elf.symbols
    places = [
        f"entry={symbols['firnline_entry']:x}",
        f"back={symbols['firnline_returned']:x}",
        f"aligned={1 if image.core.aligned == 'all' else 2}",
        *(f"mark={address:x}" for _, address in image.marks),
    ]
    path = str(library("counter")).replace(",", ",,")
    return ("-plugin", ",".join([path, *places]), *("-d", "plugin", "-D", "counts.log"))


def _execute(image: Image, arguments: tuple[str, ...], folder: Path) -> None:
    try:
        done = subprocess.run(
            arguments,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _fault(image, f"no end after {SECONDS} s") from error
    if done.returncode == 0 and (folder / "report.bin").exists():
        return
    told = done.stderr.strip()[:_SHOWN]
    found = _EXITS.get(done.returncode) or f"{told} (exit code {done.returncode})"
    if _LOCKUP in done.stderr:
        found = "it faulted, and left no stack to tell where"
    if (folder / "fault.bin").exists():
        found += f" at {int.from_bytes((folder / 'fault.bin').read_bytes(), 'little'):#x}"
    raise _fault(image, found)


def _from_log(image: Image, folder: Path) -> tuple[list[int], dict[str, int]]:
    """Instructions of every call and, of the first, between marks."""
    counts, passed = [], []
    for line in (folder / "counts.log").read_text(encoding="ascii").splitlines():
        kind, first, second = line.split()
        if kind == "C":
            counts.append(int(second))
        elif kind == "A":
            found = f"a misaligned access, {int(first):#x}, by the code at {int(second):#x}"
            raise _fault(image, found)
        else:
            passed.append((image.marks[int(first)][0], int(second)))
    return counts, layers_between(passed, counts[0]) if counts else {}


def _from_clock(image: Image, folder: Path) -> list[int]:
    """Instructions by the board's clock, less what an empty call of one instruction takes."""
    ticks = np.fromfile(folder / "ticks.bin", "<u4").astype(np.int64)
    if image.core.arm and (ticks == _LOST).any():
        raise DeliveryError(
            "E46",
            found="a call took longer than the board's clock can tell",
            where=f"{image.core.name} in QEMU",
            mend="use a QEMU that loads plugins",
        )
    of_one = image.core.tick_ns / (1 << _SHIFT)
    return [round(taken * of_one) + 1 for taken in (ticks[1:] - ticks[0]).tolist()]


def _fault(image: Image, found: str) -> DeliveryError:
    return DeliveryError(
        "E45",
        found=found,
        where=f"{image.core.name} in QEMU",
        mend="correct the C that firnline_entry calls",
    )
