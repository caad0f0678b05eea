"""Dense layers and convolutions on Cortex-M0: see edge/mcu/c/m0_dot8.h."""

from edge.mcu.kernels.small import Small

KERNELS = Small("m0_dot8.h")
