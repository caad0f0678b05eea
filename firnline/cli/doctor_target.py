"""What one target needs on this machine, and whether it is there."""

import importlib.metadata
import platform
import tempfile
from pathlib import Path

from firnline import wiring
from firnline.cli.doctor import Finding
from firnline.contracts.target import Build, Cpu, Profile
from firnline.errors import DeliveryError

_INT8 = ("avx512_vnni", "avx_vnni")
_CPUINFO = Path("/proc/cpuinfo")
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
    found += [_package(package) for package in ("onnx", "onnxruntime")]
    if profile.cpu is not None:
        found.append(_processor(profile.cpu))
    if profile.build is not None:
        found += _microcontroller(profile.build)
    if profile.npu is not None:
        found += _microcontroller(Build(core=profile.npu.host))
    if profile.npu is not None or profile.vendor is not None:
        found.append(_environment(profile))
    return found


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", "make setup")


def _processor(wanted: Cpu) -> Finding:
    """Whether this machine can prove what the target will compute."""
    here = platform.machine()
    if here != wanted.machine:
        mend = f"run the proof on a {wanted.machine} machine"
        return Finding("processor", False, f"{here}, not {wanted.machine}", mend)
    if here == "x86_64" and not wanted.reduce_range and _CPUINFO.is_file():
        flags = _CPUINFO.read_text(encoding="utf-8")
        if not any(flag in flags for flag in _INT8):
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
