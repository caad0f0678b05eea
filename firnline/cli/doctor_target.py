"""What one target needs on this machine, and whether it is there."""

import tempfile
from pathlib import Path

from firnline import wiring
from firnline.cli.doctor import Finding, package
from firnline.contracts.target import Build, Cpu, Profile
from firnline.errors import DeliveryError

# As little as a compiler, a linker and an emulator can be asked for.
_PROBE = """
#include <stdint.h>
void firnline_entry(const void *in, void *out);
extern const uint32_t firnline_in_bytes, firnline_out_bytes;
const uint32_t firnline_in_bytes = 1U;
const uint32_t firnline_out_bytes = 1U;
void firnline_entry(const void *in, void *out) {
    *(uint8_t *)out = (uint8_t)(*(const uint8_t *)in + 1U);
}
"""


def of_target(name: str) -> list[Finding]:
    """Everything that an export for a target uses.

    Raises:
        DeliveryError: E80 there is no such target, E81 its profile does not fit the schema.
    """
    from edge.targets import load

    profile = load(name, wiring.settings().project)
    found = [Finding("target", True, f"{profile.name}: {profile.about}")]
    found += [package(name) for name in ("onnx", "onnxruntime")]
    if profile.cpu is not None:
        found.append(_processor(profile.cpu))
    if profile.build is not None:
        found += _microcontroller(profile.build)
    if profile.npu is not None:
        found += _microcontroller(Build(core=profile.npu.host))
    if profile.npu is not None or profile.vendor is not None:
        found.append(_environment(profile))
    return found


def _processor(wanted: Cpu) -> Finding:
    """Whether this machine can prove what the target will compute."""
    from edge.compile.cpu import machine
    from edge.session import exact_in_eight_bits

    here = machine()
    if here != wanted.machine:
        mend = f"run the proof on a {wanted.machine} machine"
        return Finding("processor", False, f"{here}, not {wanted.machine}", mend)
    if not wanted.reduce_range and not exact_in_eight_bits():
        mend = "export cpu-x86_64-7bit, whose weights cannot saturate it"
        return Finding("processor", False, f"{here} without VNNI", mend)
    return Finding("processor", True, here)


def _microcontroller(wanted: Build) -> list[Finding]:
    """Compiler and emulator, and a small program that goes through both."""
    import numpy as np

    from edge.mcu.tools import build, core, needs, run

    chosen = core(wanted.core)
    found = [
        Finding(part.name, not part.mend, part.found, part.mend)
        for part in needs(chosen, wanted.toolchain)
    ]
    if not all(finding.good for finding in found):
        return found
    name = f"C on {chosen.name}"
    try:
        with tempfile.TemporaryDirectory(prefix="firnline-doctor-") as folder:
            image = build(chosen, {"probe.c": _PROBE}, Path(folder), wanted.toolchain)
            ran = run(image, np.array([[41]], np.uint8))
    except DeliveryError as error:
        return [*found, Finding(name, False, error.found, error.mend)]
    good = ran.outputs.tolist() == [[42]]
    told = f"built and run, {ran.instructions[0]} instructions"
    return [*found, Finding(name, good, told, "" if good else "another version of the emulator")]


def _environment(profile: Profile) -> Finding:
    """The tools that live in an environment of their own."""
    from edge.toolchains import environment

    name = f"{profile.kind} tools"
    try:
        return Finding(name, True, str(environment(profile.kind)))
    except DeliveryError as error:
        return Finding(name, False, error.found, error.mend)
