"""A target profile: one chip, what builds for it, what it holds and what it may cost, in TOML."""

import tomllib
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from firnline.errors import DeliveryError

Kind = Literal["cpu", "mcu", "npu", "qnn", "rknn", "qdq"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Build(_Part):
    """What makes a microcontroller's binary, and what runs it for the proof.

    Attributes:
        core: The core the C is written for.
        toolchain: `zig` compiles with clang from PyPI, `gcc` with Debian's arm gcc.
    """

    core: Literal[
        "cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "rv32imc"
    ]
    toolchain: Literal["zig", "gcc"] = "zig"


class Cpu(_Part):
    """An application processor that runs ONNX Runtime.

    Attributes:
        machine: As `platform.machine()` names it.
        reduce_range: Ship the variant with weights of seven bits, for x86 without VNNI.
    """

    machine: Literal["x86_64", "aarch64"]
    reduce_range: bool = False


class Npu(_Part):
    """An Arm Ethos-U; Vela must be told the system, as its defaults differ by ten times.

    Attributes:
        accelerator: Vela's name of it, such as `ethos-u55-128`.
        system_config: Vela's system configuration.
        memory_mode: Vela's memory mode.
        path: What is compiled: the TOSA graph or the .tflite.
        host: Core beside it, which computes what stays float.
    """

    accelerator: Annotated[str, Field(pattern=r"^ethos-u(55|65|85)-\d+$")]
    system_config: str
    memory_mode: str
    path: Literal["tosa", "tflite"] = "tosa"
    host: Literal["cortex-m4", "cortex-m33", "cortex-m55", "cortex-m7"] = "cortex-m55"


class Vendor(_Part):
    """A vendor's converter in an environment of its own.

    Attributes:
        platform: As the vendor's tool names the chip: `rk3588`, or an HTP architecture as `75`.
    """

    platform: str


class Memory(_Part):
    """What the chip has.

    Attributes:
        flash_kib: For code and weights.
        ram_kib: For everything that changes.
    """

    flash_kib: int = Field(ge=1)
    ram_kib: int = Field(ge=1)


class Budget(_Part):
    """What a model may take of it; over budget fails the export.

    Attributes:
        max_flash: Bytes of code and weights.
        max_ram: Bytes of context, working memory and stack.
        max_instructions: An inference.
        max_cycles: An inference, on an NPU.

    A limit of what the target's kind does not measure is refused: it would never be held.
    """

    max_flash: int | None = Field(default=None, ge=1)
    max_ram: int | None = Field(default=None, ge=1)
    max_instructions: int | None = Field(default=None, ge=1)
    max_cycles: int | None = Field(default=None, ge=1)


class Energy(_Part):
    """A published measurement that gives the energy of a clock cycle.

    Attributes:
        microjoules: Of one inference of the measured model on the measured part.
        cycles: Of that inference: clock over throughput.
        source: Where it was published, and on which part.
    """

    microjoules: float = Field(gt=0, allow_inf_nan=False)
    cycles: int = Field(ge=1)
    source: str


_MEASURED: dict[str, set[str]] = {
    "mcu": {"max_flash", "max_ram", "max_instructions"},
    "npu": {"max_flash", "max_ram", "max_instructions", "max_cycles"},
}
"""Kind -> limits that its figures are held to; of any other kind only the size is known."""


class Profile(_Part):
    """A whole target, checked.

    Attributes:
        name: What `--target` and `release.targets` call it.
        kind: Which module of `edge.compile` builds and runs it.
        about: One line for people.
        build: Of a microcontroller.
        cpu: Of an application processor.
        npu: Of an Ethos-U.
        vendor: Of a vendor's NPU.
        memory: What the chip has; a microcontroller's must be told.
        budget: What a model may take.
        energy: What energy is estimated from; without it none is told.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    kind: Kind
    about: str
    build: Build | None = None
    cpu: Cpu | None = None
    npu: Npu | None = None
    vendor: Vendor | None = None
    memory: Memory | None = None
    budget: Budget = Budget()
    energy: Energy | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        wanted = {
            "cpu": ("cpu",),
            "mcu": ("build", "memory"),
            "npu": ("npu",),
            "qnn": ("vendor",),
            "rknn": ("vendor",),
            "qdq": (),
        }[self.kind]
        parts = {name: getattr(self, name) for name in ("build", "cpu", "npu", "vendor", "memory")}
        missing = [name for name in wanted if parts[name] is None]
        if missing:
            raise ValueError(
                f"kind {self.kind!r} needs {', '.join(f'[{part}]' for part in missing)}"
            )
        foreign = [name for name in ("build", "cpu", "npu", "vendor") if parts[name] is not None]
        if extra := [name for name in foreign if name not in wanted]:
            raise ValueError(
                f"kind {self.kind!r} has no {', '.join(f'[{part}]' for part in extra)}"
            )
        measured = _MEASURED.get(self.kind, {"max_flash"})
        if loose := [name for name in self.budget.model_fields_set if name not in measured]:
            raise ValueError(
                f"nothing measures {', '.join(sorted(loose))} of kind {self.kind!r}, "
                "so [budget] cannot limit it"
            )
        return self


def parse(text: str, where: str) -> Profile:
    """Read and check a profile.

    Args:
        text: TOML.
        where: What an error calls it.

    Raises:
        DeliveryError: E81, it is not TOML or does not fit the schema.
    """
    try:
        return Profile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise _refused(f"not readable as TOML: {error}", where) from error
    except ValidationError as error:
        breaches = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']) or 'profile'}: {item['msg']}"
            for item in error.errors()
        )
        raise _refused(breaches, where) from error


def over_budget(profile: Profile, figures: Mapping[str, int | float | None]) -> list[str]:
    """What a build takes beyond its budget or the chip, in words; empty when it fits.

    Args:
        profile: The chip and its budget.
        figures: `flash_bytes`, `ram_bytes`, `instructions`, `cycles`; None where unknown.
    """
    chip = profile.memory
    limits = [
        ("flash_bytes", profile.budget.max_flash, "max_flash"),
        ("ram_bytes", profile.budget.max_ram, "max_ram"),
        ("instructions", profile.budget.max_instructions, "max_instructions"),
        ("cycles", profile.budget.max_cycles, "max_cycles"),
        ("flash_bytes", chip.flash_kib * 1024 if chip else None, "the chip's flash"),
        ("ram_bytes", chip.ram_kib * 1024 if chip else None, "the chip's RAM"),
    ]
    told = []
    for name, limit, called in limits:
        taken = figures.get(name)
        if limit is not None and taken is not None and taken > limit:
            told.append(f"{name.replace('_', ' ')} {taken:,} of {limit:,} ({called})")
    return told


def _refused(found: str, where: str) -> DeliveryError:
    mend = "docs/reference/targets.md lists every field"
    return DeliveryError("E81", found=found, where=where, mend=mend)
