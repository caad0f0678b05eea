"""Dense layers and convolutions on RV32IMC: see edge/mcu/c/rv32_dot8.h."""

from edge.mcu.kernels.small import Small

KERNELS = Small("rv32_dot8.h")
