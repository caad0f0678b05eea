"""The cores that C is built for: compilers' names for them, and memories to run it in."""

from dataclasses import dataclass
from typing import Literal

from firnline.errors import HandshakeError

MIB = 1 << 20


@dataclass(frozen=True)
class Region:
    """A memory.

    Attributes:
        origin: Its first address.
        length: Bytes.
    """

    origin: int
    length: int


@dataclass(frozen=True)
class Core:
    """A processor core, and the emulated board that stands for it.

    Attributes:
        name: What a profile calls it.
        family: Which kernels suit it (a module of `edge.mcu.kernels`).
        zig_target: Zig's triple.
        zig_cpu: Zig's name of the core.
        gcc: The GNU compiler's command.
        gcc_flags: What names the core to it.
        unicorn: unicorn's model of the core; None where it has none.
        qemu: The QEMU system emulator's command.
        machine: QEMU's arguments for a board with this core.
        tick_ns: Of the clock that the harness reads.
        aligned: Accesses that silicon wants aligned though an emulator does not: `all`, or those of
            `vectors`.
        boot: Where the start-up code and the harness lie.
        flash: Where the model's code and constants lie.
        ram: Its stack, context, inputs and outputs.
    """

    name: str
    family: str
    zig_target: str
    zig_cpu: str
    gcc: str
    gcc_flags: tuple[str, ...]
    unicorn: str | None
    qemu: str
    machine: tuple[str, ...]
    tick_ns: float
    aligned: Literal["all", "vectors"]
    boot: Region
    flash: Region
    ram: Region

    @property
    def arm(self) -> bool:
        """Whether it is an Arm M-profile core; else it is RISC-V."""
        return self.zig_target.startswith("thumb")


def _arm(
    name: str,
    family: str,
    *,
    board: str,
    features: str = "",
    fpu: str = "",
    unicorn: bool = True,
    tick_ns: float = 40.0,
    origins: tuple[int, int, int] = (0, 0x10000, 0x20000000),
    lengths: tuple[int, int] = (4 * MIB - 0x10000, 4 * MIB),
) -> Core:
    """An Arm core on one of the MPS boards; origins and lengths are those of its memories.

    Zig's cores have no floating point unit of their own, as it is an option in silicon.
    """
    underscored = name.replace("-", "_")
    floats = ("-mfloat-abi=hard", *((f"-mfpu={fpu}",) if fpu else ())) if features else ()
    return Core(
        name=name,
        family=family,
        zig_target="thumb-freestanding-" + ("eabihf" if features else "eabi"),
        zig_cpu=underscored + features,
        gcc="arm-none-eabi-gcc",
        gcc_flags=("-mthumb", f"-mcpu={name}", *floats),
        unicorn=f"UC_CPU_ARM_{underscored.upper()}" if unicorn else None,
        qemu="qemu-system-arm",
        machine=("-M", board),
        tick_ns=tick_ns,
        aligned="all" if name == "cortex-m0" else "vectors",
        boot=Region(origins[0], 0x10000),
        flash=Region(origins[1], lengths[0]),
        ram=Region(origins[2], lengths[1]),
    )


CORES: dict[str, Core] = {
    core.name: core
    for core in (
        # No board of QEMU's has an M0 and room for a model: ARMv6-M code runs unchanged on an M3.
        _arm("cortex-m0", "m0", board="mps2-an385"),
        _arm("cortex-m3", "m3", board="mps2-an385"),
        _arm("cortex-m4", "dsp", board="mps2-an386", features="+vfp4d16sp", fpu="fpv4-sp-d16"),
        _arm("cortex-m7", "dsp", board="mps2-an500", features="+fp_armv8d16sp", fpu="fpv5-sp-d16"),
        _arm(
            "cortex-m33",
            "dsp",
            board="mps2-an505",
            features="+dsp+fp_armv8d16sp",
            fpu="fpv5-sp-d16",
            tick_ns=50.0,
            origins=(0x10000000, 0x10010000, 0x38000000),
            lengths=(3 * MIB, 2 * MIB),
        ),
        _arm(
            "cortex-m55",
            "mve",
            board="mps3-an547",
            features="+mve_fp",
            unicorn=False,
            tick_ns=31.25,
            origins=(0, 0x21000000, 0x20000000),
            lengths=(4 * MIB, MIB // 2),
        ),
        Core(
            name="rv32imc",
            family="rv32",
            zig_target="riscv32-freestanding-none",
            zig_cpu="generic_rv32+m+c",
            gcc="riscv64-unknown-elf-gcc",
            gcc_flags=("-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany"),
            unicorn="UC_CPU_RISCV32_SIFIVE_E31",
            qemu="qemu-system-riscv32",
            machine=("-M", "virt", "-bios", "none", "-cpu", "rv32,a=off,f=off,d=off"),
            tick_ns=1.0,
            aligned="all",
            boot=Region(0x80000000, 0x10000),
            flash=Region(0x80010000, 16 * MIB),
            ram=Region(0x82000000, 16 * MIB),
        ),
    )
}


def core(name: str) -> Core:
    """A core by name.

    Raises:
        HandshakeError: E40 when there is no such core.
    """
    if name not in CORES:
        raise HandshakeError(
            "E40",
            found=f"no core {name!r}",
            where="core",
            mend=f"name one of {', '.join(CORES)}",
        )
    return CORES[name]
