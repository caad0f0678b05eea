"""A target profile: what it must hold, and what a build may take."""

import pytest

from firnline.contracts.target import Budget, over_budget, parse
from firnline.errors import DeliveryError

MCU = """
name = "pump-board"
kind = "mcu"
about = "the board in the pump"

[build]
core = "cortex-m4"

[memory]
flash_kib = 256
ram_kib = 32
"""
CPU = 'name = "box"\nkind = "cpu"\nabout = "a box"\n'
NPU = 'name = "npu"\nkind = "npu"\nabout = "an NPU"\n[npu]\naccelerator = "ethos-u55-128"\n'


def test_a_whole_profile_has_its_defaults():
    profile = parse(MCU, "pump-board.toml")
    assert profile.build.toolchain == "zig"
    assert (profile.memory.flash_kib, profile.memory.ram_kib) == (256, 32)
    assert profile.budget == Budget()
    assert profile.energy is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "not readable as TOML"),
        ("", "name: Field required"),
        (MCU.replace("cortex-m4", "cortex-m1"), "build.core: Input should be 'cortex-m0'"),
        (MCU.replace("flash_kib = 256", "flash_kib = 0"), "memory.flash_kib"),
        (MCU.replace("flash_kib = 256", 'flash_kib = "much"'), "memory.flash_kib"),
        (MCU.replace("ram_kib", "ram_kb"), "memory.ram_kb: Extra inputs"),
        (MCU + "[budget]\nmax_flsh = 1\n", "budget.max_flsh: Extra inputs"),
        (MCU + "[budget]\nmax_flash = -1\n", "budget.max_flash"),
        (MCU.partition("[memory]")[0], r"kind 'mcu' needs \[memory\]"),
        (MCU + '[cpu]\nmachine = "x86_64"\n', r"kind 'mcu' has no \[cpu\]"),
        (MCU.replace('"mcu"', '"gpu"'), "kind: Input should be"),
        (MCU.replace("pump-board", "../evil"), "name: String should match"),
        (CPU, r"kind 'cpu' needs \[cpu\]"),
        (CPU + '[cpu]\nmachine = "sparc"\n', "cpu.machine"),
        (NPU, "npu.system_config: Field required; npu.memory_mode: Field required"),
        (NPU.replace("ethos-u55-128", "ethos-n78"), "npu.accelerator"),
        (MCU + "[energy]\nmicrojoules = 0.0\ncycles = 1\nsource = 'a'\n", "energy.microjoules"),
        (MCU + "[energy]\nmicrojoules = inf\ncycles = 1\nsource = 'a'\n", "energy.microjoules"),
        (MCU + "[budget]\nmax_cycles = 1\n", "nothing measures max_cycles of kind 'mcu'"),
        (
            CPU + '[cpu]\nmachine = "x86_64"\n[budget]\nmax_ram = 1\nmax_flash = 1\n',
            "nothing measures max_ram of kind 'cpu'",
        ),
    ],
)
def test_a_wrong_profile_is_refused_field_by_field(text, told):
    with pytest.raises(DeliveryError, match=rf"\[E81\] here: .*{told}") as caught:
        parse(text, "here")
    assert "docs/reference/targets.md" in caught.value.mend


FIGURES = {"flash_bytes": 300_000, "ram_bytes": 40_000, "instructions": 900, "cycles": 70}


def test_what_passes_the_chip_or_its_budget_is_told_in_words():
    limits = (
        'system_config = "a"\nmemory_mode = "b"\n[memory]\nflash_kib = 256\nram_kib = 32\n'
        "[budget]\nmax_flash = 200000\nmax_ram = 40000\nmax_instructions = 899\nmax_cycles = 69"
    )
    profile = parse(NPU + limits, "npu.toml")
    assert over_budget(profile, FIGURES) == [
        "flash bytes 300,000 of 200,000 (max_flash)",
        "instructions 900 of 899 (max_instructions)",
        "cycles 70 of 69 (max_cycles)",
        "flash bytes 300,000 of 262,144 (the chip's flash)",
        "ram bytes 40,000 of 32,768 (the chip's RAM)",
    ]


def test_what_fits_or_is_unknown_is_not_over():
    profile = parse(MCU + "[budget]\nmax_flash = 262144\n", "pump-board.toml")
    fits = {"flash_bytes": 262_144, "ram_bytes": 32_768, "instructions": None, "cycles": None}
    assert over_budget(profile, fits) == []
    assert over_budget(profile, {}) == []
