"""Dense layers and convolutions on Cortex-M3: see edge/mcu/c/firnline_m3_dot8.h."""

from edge.mcu.kernels.small import Small

KERNELS = Small("firnline_m3_dot8.h")
