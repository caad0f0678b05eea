"""Vela: an int8 model compiled for an Arm Ethos-U, and what it will cost there.

The system configuration and the memory mode must be named: Vela's silent default differs from the
best by ten times. Figures are Vela's own model of the chip; the command stream cannot be run here.
"""

import csv
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from edge.npu.models import Format, Model
from edge.npu.process import command, work
from firnline.contracts.target import Npu
from firnline.errors import DeliveryError

_PACKAGE = "ethos-u-vela"
_NPU_OPERATOR = "ethos-u"
_KIB = 1024


@dataclass(frozen=True)
class Layer:
    """One operator as Vela schedules it.

    Attributes:
        name: The program's operation, or Vela's own name where it made the operator up.
        kind: Vela's name of the operator.
        cycles: Until it is done, memory included.
        npu_cycles: Of the multipliers and the rest of the NPU.
        macs: Multiply-accumulates.
        on_npu: Whether it runs there.
    """

    name: str
    kind: str
    cycles: int
    npu_cycles: int
    macs: int
    on_npu: bool


@dataclass(frozen=True)
class Compiled:
    """A model for an Ethos-U.

    Attributes:
        content: .tflite with the command stream as one custom operator.
        source: The format it was compiled from.
        accelerator: Vela's name of the chip.
        system_config: Clocks and memories it was compiled for.
        memory_mode: Where weights and the arena lie.
        version: Of Vela.
        cycles: Of one inference, memory included.
        npu_cycles: Of the NPU alone.
        clock_hz: Of the NPU in that system configuration.
        sram_bytes: Arena.
        dram_bytes: Arena and weights in DRAM, where the memory mode puts any there.
        flash_bytes: Command stream and weights, on chip or off.
        macs: As Vela counts them, with what it pads.
        layers: In the order they run.
        cpu_operators: What Vela has left to the processor, by kind and tensor.
    """

    content: bytes
    source: Format
    accelerator: str
    system_config: str
    memory_mode: str
    version: str
    cycles: int
    npu_cycles: int
    clock_hz: float
    sram_bytes: int
    dram_bytes: int
    flash_bytes: int
    macs: int
    layers: tuple[Layer, ...]
    cpu_operators: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Of one inference, by Vela's estimate."""
        return self.cycles / self.clock_hz

    @property
    def npu_share(self) -> float:
        """Share of the operators that run on the NPU, 0 to 1."""
        on = sum(layer.on_npu for layer in self.layers)
        return on / max(on + len(self.cpu_operators), 1)


def compile_model(model: Model, chip: Npu, config: Path | None = None) -> Compiled:
    """Compile a model for a chip.

    Args:
        model: As `edge.npu.models.write` made it.
        chip: Accelerator, system configuration and memory mode.
        config: A Vela .ini that holds them; Arm's own when None.

    Raises:
        DeliveryError: E64, the system configuration or memory mode is not named, or not in that
            file; E65, Vela refuses the model; E60, E61 or E63 of the NPU tools.
    """
    version = _checked(chip, config)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        file = folder / f"model.{model.format}"
        file.write_bytes(model.content)
        _vela(folder, file, chip, config)
        made = folder / "out" / "model_vela.tflite"
        (operators,) = work(folder, [{"do": "tflite-operators", "model": str(made)}])
        outside = [item for item in operators if item["kind"] != _NPU_OPERATOR]
        summary = _rows(next((folder / "out").glob("*_summary_*.csv")))[-1]
        rows = _rows(next((folder / "out").glob("*_per-layer.csv")))
        layers = tuple(_layer(row, model) for row in rows)
        compiled = _compiled(summary, layers, made.read_bytes(), model.format)
    return replace(
        compiled,
        accelerator=chip.accelerator,
        system_config=chip.system_config,
        memory_mode=chip.memory_mode,
        version=version,
        cpu_operators=tuple(f"{item['kind']} {item['output']}" for item in outside),
    )


def _checked(chip: Npu, config: Path | None) -> str:
    """See that the configuration file has what the profile names; Vela's version."""
    known, version = _known(str(config.resolve()) if config else None)
    family = chip.accelerator.split("-")[1].upper()
    for field, section, begins in (
        ("system_config", "System_Config", f"Ethos_{family}_"),
        ("memory_mode", "Memory_Mode", ""),
    ):
        name = getattr(chip, field)
        # Vela would take another family's clock and memories, and its figures would be of no chip.
        fitting = [other for other in known[section] if other.startswith(begins)]
        if name not in (known[section] if config else fitting):
            raise DeliveryError(
                "E64",
                found=f"{field} = {name!r}, which is no {section} for it in "
                f"{config or 'Arm/vela.ini'}",
                where=f"[npu] of the target for {chip.accelerator}",
                mend=f"name one of: {', '.join(fitting)}",
            )
    return version


@cache
def _known(config: str | None) -> tuple[dict[str, list[str]], str]:
    """What a configuration file names, and Vela's version."""
    steps: list[dict[str, Any]] = [
        {"do": "vela-configurations", "config": config},
        {"do": "versions", "packages": [_PACKAGE]},
    ]
    with tempfile.TemporaryDirectory() as place:
        found, versions = work(Path(place), steps)
    return found, str(versions[_PACKAGE])


def _vela(folder: Path, file: Path, chip: Npu, config: Path | None) -> None:
    options = {
        "--accelerator-config": chip.accelerator,
        "--config": str(config.resolve()) if config else "Arm/vela.ini",
        "--system-config": chip.system_config,
        "--memory-mode": chip.memory_mode,
        "--output-dir": str(folder / "out"),
    }
    arguments = [word for pair in options.items() for word in pair]
    try:
        command(
            "npu", ["-m", "ethosu.vela", str(file), "--verbose-performance", *arguments], folder
        )
    except DeliveryError as error:
        if error.code != "E63":
            raise
        raise DeliveryError(
            "E65",
            found=error.found.splitlines()[-1].replace(str(folder), ""),
            where=f"Vela, for {chip.accelerator}",
            mend="change the operator it names; `vela --supported-ops-report` lists the limits",
        ) from error


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _layer(row: dict[str, str], model: Model) -> Layer:
    # What Vela adds around an operator is called after its tensor, with an ending of its own.
    name, stem = row["Name"], row["Name"].rpartition("_")[0]
    return Layer(
        name=model.operations.get(name) or model.operations.get(stem, name),
        kind=row["NNG Operator"],
        cycles=int(float(row["Op Cycles"])),
        npu_cycles=int(float(row["NPU"])),
        macs=int(float(row["MAC Count"])),
        on_npu=row["Target"] == "NPU",
    )


def _compiled(
    summary: dict[str, str], layers: tuple[Layer, ...], content: bytes, source: Format
) -> Compiled:
    kib = {
        name: round(float(summary[f"{name}_memory_used"]) * _KIB)
        for name in ("sram", "dram", "on_chip_flash", "off_chip_flash")
    }
    return Compiled(
        content=content,
        source=source,
        accelerator="",
        system_config="",
        memory_mode="",
        version="",
        cycles=int(float(summary["cycles_total"])),
        npu_cycles=int(float(summary["cycles_npu"])),
        clock_hz=float(summary["core_clock"]),
        sram_bytes=kib["sram"],
        dram_bytes=kib["dram"],
        flash_bytes=kib["on_chip_flash"] + kib["off_chip_flash"],
        macs=int(float(summary["nn_macs"])),
        layers=layers,
        cpu_operators=(),
    )
