"""C built and run for a core: the compilers, the emulators, and what they count."""

from edge.mcu.tools.compile import Toolchain, build
from edge.mcu.tools.cores import CORES, Core, core
from edge.mcu.tools.image import Image, Run
from edge.mcu.tools.needs import Need, needs
from edge.mcu.tools.runner import Runner, run

__all__ = [
    "CORES",
    "Core",
    "Image",
    "Need",
    "Run",
    "Runner",
    "Toolchain",
    "build",
    "core",
    "needs",
    "run",
]
