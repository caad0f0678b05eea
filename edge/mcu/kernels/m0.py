"""Dense layers and convolutions on Cortex-M0: see edge/mcu/c/firnline_m0_dot8.h."""

from edge.mcu.kernels.small import Small

KERNELS = Small("firnline_m0_dot8.h")
