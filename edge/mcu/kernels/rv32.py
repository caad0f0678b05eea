"""Dense layers and convolutions on RV32IMC: see edge/mcu/c/firnline_rv32_dot8.h."""

from edge.mcu.kernels.small import Small

KERNELS = Small("firnline_rv32_dot8.h")
