"""C to an image, by Zig's compiler from PyPI or by the GNU one."""

import hashlib
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Literal

from edge.mcu.tools.cores import Core
from edge.mcu.tools.elf import Elf, read
from edge.mcu.tools.image import STACK_BYTES, Image
from firnline.errors import DeliveryError

Toolchain = Literal["zig", "gcc"]

TARGET = Path(__file__).parent / "target"
HARNESS = ("harness.c", "runtime.c")
FLAGS = (
    "-std=c99",
    "-ffreestanding",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffp-contract=off",
    "-fno-tree-vectorize",
    "-fno-tree-slp-vectorize",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
)
"""For both compilers: C99 without a library, warnings are errors, no fused products.

Nor vectors of the compiler's own making: Helium's float flushes subnormals, and the kernels that
gain by vectors are written with them.
"""
_LINES_SHOWN = 12


def build(
    core: Core,
    files: Mapping[str, str],
    folder: Path,
    toolchain: Toolchain = "zig",
    *,
    optimise: str = "-O2",
    defines: Sequence[str] = (),
) -> Image:
    """Compile and link C into an image that the runners take.

    Args:
        core: What to build for.
        files: Text by path; every `.c` and `.S` file is compiled, every folder of a `.h` searched.
            Together they define `firnline_entry`, `firnline_in_bytes` and `firnline_out_bytes`.
        folder: Where to write them and the image.
        toolchain: Whose compiler.
        optimise: Level of optimisation.
        defines: Macros, as `NAME` or `NAME=VALUE`.

    Raises:
        DeliveryError: E42 when the compiler is not installed, E43 when it refuses the code, E41
            when a path leads out of the folder or the harness's contract is not met.
    """
    command, version = compiler(core, toolchain)
    sources, searched = _write(files, folder)
    harness = folder / "harness"
    harness.mkdir(parents=True, exist_ok=True)
    for name in HARNESS:
        shutil.copyfile(TARGET / name, harness / name)
    (harness / "link.ld").write_text(_link_script(core), encoding="utf-8")
    arguments = [
        *command,
        optimise,
        *FLAGS,
        *(f"-D{name}" for name in defines),
        *(f"-I{name}" for name in searched),
        *sources,
        *(f"harness/{name}" for name in HARNESS),
        "-Wl,--gc-sections,--entry=firnline_start,--build-id=none",
        "-Tharness/link.ld",
        "-oimage.part",
        *(("-nostdlib", "-lgcc") if toolchain == "gcc" else ()),
    ]
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DeliveryError(
            "E43",
            found=_shown(done.stderr) or f"exit code {done.returncode}",
            where=f"{version} for {core.name}",
            mend="correct the C, or the memories of the core where they are too small",
        )
    (folder / "image.part").replace(folder / "image.elf")
    return _image(core, folder / "image.elf", version)


@cache
def compiler(core: Core, toolchain: Toolchain) -> tuple[tuple[str, ...], str]:
    """The command that compiles for a core, and its name with its version.

    Raises:
        DeliveryError: E42 when it is not installed.
    """
    if toolchain == "zig":
        # When it optimises for size, Zig drops the symbols too unless it is asked to debug; what
        # that adds besides, the link script leaves out.
        target = ("-target", core.zig_target, f"-mcpu={core.zig_cpu}", "-fno-sanitize=all", "-g1")
        return (str(zig()), "cc", *target), f"zig {importlib.metadata.version('ziglang')}"
    found = shutil.which(core.gcc)
    if found is None:
        raise DeliveryError(
            "E42",
            found=f"{core.gcc} is not installed",
            where=f"toolchain gcc for {core.name}",
            mend=f"apt-get install gcc-{core.gcc.removesuffix('-gcc')}, or use toolchain zig",
        )
    asked = subprocess.run([found, "-dumpfullversion"], capture_output=True, text=True, check=True)
    return (found, *core.gcc_flags), f"{core.gcc} {asked.stdout.strip()}"


def zig() -> Path:
    """Zig's command.

    Raises:
        DeliveryError: E42 when it is not installed.
    """
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise DeliveryError(
            "E42", found="ziglang is not installed", where="toolchain zig", mend="make setup"
        )
    return Path(found.origin).parent / "zig"


def _write(files: Mapping[str, str], folder: Path) -> tuple[list[str], list[str]]:
    """Write the sources; those to compile, and the folders to search for headers."""
    for name, text in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.parts[:1] in ((), ("harness",)):
            raise DeliveryError(
                "E41", found=f"the path {name!r}", where="files to build", mend="name it otherwise"
            )
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    # As paths, since compilers take names that begin with - or @ for something else.
    compiled = sorted(f"./{name}" for name in files if name.endswith((".c", ".S")))
    headers = {str(PurePosixPath(name).parent) for name in files if name.endswith(".h")}
    return compiled, sorted(headers)


def _link_script(core: Core) -> str:
    values = {"stack_bytes": STACK_BYTES}
    for name, region in (("boot", core.boot), ("flash", core.flash), ("ram", core.ram)):
        values |= {f"{name}_origin": region.origin, f"{name}_length": region.length}
    text = (TARGET / "link.ld").read_text(encoding="utf-8")
    return re.sub(r"@(\w+_\w+)@", lambda found: f"{values[found[1]]:#x}", text)


def _image(core: Core, path: Path, version: str) -> Image:
    elf = read(path)
    size = elf.sizes.get
    return Image(
        core=core,
        path=path,
        toolchain=version,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        text_bytes=size(".text", 0),
        rodata_bytes=size(".rodata", 0),
        data_bytes=size(".data", 0),
        bss_bytes=size(".bss", 0),
        in_bytes=_word(elf, "firnline_in_bytes"),
        out_bytes=_word(elf, "firnline_out_bytes"),
    )


def _word(elf: Elf, name: str) -> int:
    place = elf.symbols.get(name, -1)
    for address, content in elf.loaded:
        if address <= place <= address + len(content) - 4:
            return int.from_bytes(content[place - address :][:4], "little")
    raise DeliveryError(
        "E41", found=f"{name} has no value", where="image", mend="define it as const uint32_t"
    )


def _shown(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_LINES_SHOWN])
