/* The two bridges: float to int8, and int8 to float. */
#ifndef FIRNLINE_QUANTIZE_H
#define FIRNLINE_QUANTIZE_H

#include "firnline_base.h"

/* clip(rint(x / scale) + zero, low, high); y may be the memory of x. */
FIRNLINE_KERNEL void firnline_quantize(float scale, int32_t zero, int32_t low, int32_t high,
                                       uint32_t length, const float *x, int8_t *y)
{
    for (uint32_t i = 0u; i < length; i++) {
        y[i] = firnline_to_int8(x[i] / scale, zero, low, high);
    }
}

/* float(x - zero) * scale, the last element first: y may be the memory of x. */
FIRNLINE_KERNEL void firnline_dequantize(float scale, int32_t zero, uint32_t length,
                                         const int8_t *x, float *y)
{
    for (uint32_t i = length; i > 0u; i--) {
        y[i - 1u] = (float)((int32_t)x[i - 1u] - zero) * scale;
    }
}

#endif
