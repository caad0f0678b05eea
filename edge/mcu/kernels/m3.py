"""Dense layers and convolutions on Cortex-M3: see edge/mcu/c/m3_dot8.h."""

from edge.mcu.kernels.small import Small

KERNELS = Small("m3_dot8.h")
